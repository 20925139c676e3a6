# SPDX-License-Identifier: Apache-2.0

"""What comes in, once it is checked: the nouns of stage 1.

The wire parsers (``opx.adapters.wires``) build these; the write-ahead log keeps them;
``detect`` reads them. They never hold a secret: masking comes before them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias

from opx.core.base import ids
from opx.core.base.time import Ms

if TYPE_CHECKING:  # `hands` needs these nouns and not 20 MB of arrays
    import numpy as np
    from numpy.typing import NDArray


MESSAGE_KEPT = 8_192
"""Bytes of a log line's message that are kept."""


ACCEPTED = "accepted"
"""What became of an item that was taken, where others have the reason why not."""


class Severity(IntEnum):
    """How bad. Lower is worse: SEV1 is a disaster, SEV5 a remark."""

    SEV1 = 1
    SEV2 = 2
    SEV3 = 3
    SEV4 = 4
    SEV5 = 5


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose signal it is. ``service == ""``: nobody's yet (unmapped), never correlated."""

    environment: str
    service: str
    resource: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One metric stream. ``sid`` numbers it within one data folder, from 0."""

    sid: int
    metric: str
    labels: dict[str, str]
    identity: Identity


@dataclass(slots=True, kw_only=True)
class MetricBatch:
    """Points of many series, as three columns of one length.

    ``sid`` int32, ``at`` int64 (``Ms``), ``value`` finite float64.
    """

    sid: NDArray[np.int32]
    at: NDArray[np.int64]
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.sid)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """What another system says is wrong, in Alertmanager's terms.

    ``fingerprint`` is derived from the labels. ``ends_at`` in the past of ``received_at``
    means resolved; in its future it is when the alert expires unless it is sent again.
    ``timeout``: whether it was filled in here, since the sender named no end.
    """

    fingerprint: str
    identity: Identity
    severity: Severity
    labels: dict[str, str]
    annotations: dict[str, str] = field(default_factory=dict)
    starts_at: Ms
    ends_at: Ms
    received_at: Ms
    timeout: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened: a CloudEvent. ``id`` and ``source`` identify it."""

    id: str
    source: str
    type: str
    subject: str
    identity: Identity
    severity: Severity | None
    at: Ms
    received_at: Ms
    data: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEvent:
    """An event as it was received. ``id``: of this telling; told again later it is another."""

    id: str
    event: Event

    @classmethod
    def of(cls, event: Event) -> StoredEvent:
        told = event.identity, event.source, event.id, event.received_at
        return cls(id=ids.timed(event.received_at, "event", *told), event=event)


class LogLevel(IntEnum):
    """How loud a line is. Higher is worse, the other way round than ``Severity``."""

    TRACE = 1
    DEBUG = 2
    INFO = 3
    WARN = 4
    ERROR = 5
    FATAL = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line that a program wrote. ``message``: masked, at most ``MESSAGE_KEPT`` bytes of it.
    ``fields``: masked too, and within the bounds of labels."""

    identity: Identity
    at: Ms
    received_at: Ms
    level: LogLevel
    message: str
    fields: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """An item that was not taken, kept with the reason (the quarantine).

    ``replayed_at``, ``replayed_by``: when it was last sent through its wire again, and who had
    it sent. ``result``: ``ACCEPTED``, or the reason for which it was refused once more.
    """

    id: str
    at: Ms
    wire: str
    reason: str
    item: str
    source: str = ""
    replayed_at: Ms | None = None
    replayed_by: str = ""
    result: str = ""


@dataclass(frozen=True, slots=True)
class Tick:
    """The clock, as it stands in the log. One a second."""

    at: Ms


Item: TypeAlias = Alert | Event | LogLine | Rejected | Tick
