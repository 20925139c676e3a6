# SPDX-License-Identifier: Apache-2.0

"""Log lines as JSON: one object on each line (NDJSON), a list of them, or one alone.

``POST /logs``. The parts of a line go by the names that loggers use:

    message    message, msg, log, body          text, and must be there
    level      level, severity, lvl             a word or a number; without one it is INFO
    timestamp  timestamp, time, ts, @timestamp, at    RFC 3339, or s, ms, µs or ns since 1970
    labels     labels, fields                   an object

The first name that is there counts. Everything else in the object is a field too, without
the ``@`` that some put before a name; objects within it are flattened (``kubernetes.pod``),
lists kept as their JSON, and long texts cut, as the message is. A line that has
neither time nor level of its own continues the one before it, as a stack trace does, if
that one has either and both come from one sender: the fields are the same or left out.
A line must never keep a secret, so lines are masked once they are joined.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from opx.adapters.wires import bodies
from opx.core.base.time import Ms
from opx.core.ingest import checks, identity, levels, masking
from opx.core.ingest.checks import Reason, Unfit
from opx.core.ingest.signals import MESSAGE_KEPT, LogLevel, LogLine
from opx.engine.intake import Incoming, Parsed
from opx.engine.ports import Batch
from opx.errors import BadInput, TooLarge

MESSAGE = ("message", "msg", "log", "body")
LEVEL = ("level", "severity", "lvl")
TIME = ("timestamp", "time", "ts", "@timestamp", "at")
LABELS = ("labels", "fields")

_shape = bodies.Shape(dict[str, Any])
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class _Line:
    """A line with those that continue it. ``size``: characters of ``messages``."""

    messages: list[str]
    at: Ms | None
    level: LogLevel | None
    fields: dict[str, str]
    size: int

    @property
    def begins(self) -> bool:
        return self.at is not None or self.level is not None

    def continues(self, first: _Line | None) -> bool:
        if first is None or not first.begins or self.begins:
            return False
        return not self.fields or self.fields == first.fields

    def join(self, line: _Line) -> None:
        """Go on with ``line``; what is longer than any item may be would be cut anyway."""
        if self.size < checks.MAX_ITEM_BYTES:
            self.messages += line.messages
            self.size += line.size


def parse(body: bytes, incoming: Incoming) -> Parsed:
    """``(body, incoming) -> Parsed`` with a ``LogLine`` for each line that begins something;
    a line that continues another is accepted with it."""
    numbers, objects, refusals = _objects(body)
    taken: list[_Line] = []
    accepted, place = 0, -1
    first: _Line | None = None
    for number, wire in zip(numbers, objects, strict=True):
        # What was refused in between may be what this line would go on with.
        before, first = (first if number == place + 1 else None), None
        place = number
        try:
            line = _line(wire, incoming.now)
            if before is not None and line.continues(before):
                before.join(line)
                first = before
            else:
                checks.scope(identity.resolve(line.fields, incoming.mapping), incoming.services)
                taken.append(line)
                first = line
        except Unfit as error:
            refusals.append(bodies.refusal(number, error, _encode(wire)))
        else:
            accepted += 1
    refusals.sort(key=lambda refused: refused.index)
    items = tuple(_kept(line, incoming) for line in taken)
    return Parsed(batch=Batch(items=items), accepted=accepted, refusals=refusals)


def _objects(body: bytes) -> bodies.Found[dict[str, Any]]:
    """The objects of a JSON body, or else of its lines. ``BadInput`` when none is one."""
    try:
        return _shape.items(body)
    except TooLarge:
        raise
    except BadInput as error:
        lines = bodies.bounded([line for line in body.splitlines() if line.strip()])
        found = _shape.each(lines)
        if not found.items:
            raise BadInput(f"no line of it is a JSON object, and {error}") from None
        return found


def _line(wire: dict[str, Any], now: Ms) -> _Line:
    checks.data(wire)
    rest = dict(wire)
    message, level, when = _first(rest, MESSAGE), _first(rest, LEVEL), _first(rest, TIME)
    if not isinstance(message, str):
        raise Unfit(Reason.MALFORMED, f"a line has a text under one of {', '.join(MESSAGE)}")
    labels: dict[str, Any] = {}
    for name in LABELS:
        given = rest.pop(name, None)
        if given is not None and not isinstance(given, dict):
            raise Unfit(Reason.MALFORMED, f"{name} must be an object")
        labels |= given or {}
    # Masked as a tree, where all that stands under a secret's name can be told.
    fields = {**_flat(masking.fields(rest)), **_flat(masking.fields(labels))}
    return _Line(
        messages=[message],
        at=None if when is None else checks.recent(checks.moment(when), now),
        level=None if level is None else _level(level),
        fields=checks.labels(fields, "field"),
        size=len(message),
    )


def _first(wire: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Take the first of ``names`` that is there; what else is there stays a field."""
    for name in names:
        value = wire.pop(name, None)
        if value is not None:
            return value
    return None


def _level(value: object) -> LogLevel:
    level = levels.read(value)
    if level is None:
        raise Unfit(Reason.UNKNOWN_SEVERITY, "the level is a word or number that no logger uses")
    return level


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """``tree`` on one level, as texts of at most ``MAX_VALUE`` characters."""
    flat: dict[str, str] = {}
    for name, value in tree.items():
        place = prefix + name.removeprefix("@")
        if isinstance(value, dict):
            flat |= _flat(value, f"{place}.")
        elif value is not None:
            text = value if isinstance(value, str) else _encode(value).decode()
            flat[place] = text[: checks.MAX_VALUE]
    return flat


def _kept(line: _Line, incoming: Incoming) -> LogLine:
    message = masking.text("\n".join(line.messages)).encode()
    return LogLine(
        identity=identity.resolve(line.fields, incoming.mapping),
        at=incoming.now if line.at is None else line.at,
        received_at=incoming.now,
        level=LogLevel.INFO if line.level is None else line.level,
        message=message[:MESSAGE_KEPT].decode("utf-8", "ignore"),
        fields=line.fields,
    )
