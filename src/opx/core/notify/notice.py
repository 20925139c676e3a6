# SPDX-License-Identifier: Apache-2.0

"""``Notice``: one thing people must be told, once. The noun of stage 10."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from opx.core.base.time import Ms
from opx.core.ingest.signals import Severity


class Edge(StrEnum):
    OPENED = "opened"
    ASKS = "asks"
    RECOVERED = "recovered"
    RESOLVED = "resolved"
    BREAKER = "breaker"
    MERGED = "merged"
    PREDICTED = "predicted"


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    GAVE_UP = "gave_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """``id``: derived from (incident, edge, ``cause``): one edge, one notice. What is about a
    ``prediction`` is about no incident, which is empty then."""

    id: str
    incident: str
    edge: Edge
    severity: Severity
    title: str
    text: str
    at: Ms
    prediction: str = ""

    @property
    def about(self) -> str:
        """The id of the incident or the prediction."""
        return self.incident or self.prediction


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One notice on its way to one receiver. ``due_at`` None: no more tries."""

    id: str
    notice: str
    receiver: str
    status: DeliveryStatus
    tries: int
    due_at: Ms | None
    error: str = ""
    version: int = 1
