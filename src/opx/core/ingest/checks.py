# SPDX-License-Identifier: Apache-2.0

"""What an item must be to be taken, and why it was not.

Stage 1. Every limit stands here once and every refusal has a ``Reason``. The checks
raise ``Unfit``, the wire parser turns it into a ``Refusal`` of that one item, and the
items beside it are kept. An item is never repaired in silence, with one exception that
every metric system makes: an empty label is no label.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from opx.core.base import time as opx_time
from opx.core.base.time import DAY, MINUTE, Ms
from opx.core.ingest import masking
from opx.core.ingest.signals import Identity, Rejected
from opx.errors import BadInput

MAX_LABELS = 64
MAX_NAME = 200
MAX_VALUE = 4_096
MAX_ITEM_BYTES = 65_536
MAX_DEPTH = 16
MAX_FUTURE: Ms = 10 * MINUTE
MAX_AGE: Ms = 7 * DAY
KEPT_TEXT = 4_096
"""How much of a refused item the quarantine keeps, in characters."""

# A number's size says its unit: in each, the numbers below the bound end in the year 5138,
# and those from the bound of the unit before begin in 1973 at the latest.
_SIZES = ((10**11, 1_000, 1), (10**14, 1, 1), (10**17, 1, 1_000), (10**20, 1, 1_000_000))
"""Seconds, milliseconds, microseconds, nanoseconds: below what, and how it becomes ``Ms``."""
_NUMBER = re.compile(r"-?[0-9]{1,20}", re.ASCII)
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:/-]*", re.ASCII)
_INT64 = 1 << 63
_LETTER = re.compile(r"\\u00([2-7][0-9a-fA-F])", re.ASCII)
_BENEATH = re.compile(r'"([^"\\\n]{1,200})\\{0,2}"\s{0,8}:\s{0,8}(?=[\[{])', re.ASCII)
"""A name in JSON whose value is not one text."""


class Reason(StrEnum):
    """Every reason for which an item is not taken."""

    MALFORMED = "malformed"
    BAD_NAME = "bad_name"
    NO_LABELS = "no_labels"
    TOO_MANY_LABELS = "too_many_labels"
    TOO_LONG = "too_long"
    TOO_LARGE = "too_large"
    TOO_DEEP = "too_deep"
    OUT_OF_RANGE = "out_of_range"
    BAD_TIME = "bad_time"
    TOO_OLD = "too_old"
    IN_FUTURE = "in_future"
    ENDS_BEFORE_START = "ends_before_start"
    UNKNOWN_SEVERITY = "unknown_severity"
    TOO_MANY_SERIES = "too_many_series"
    OUT_OF_SCOPE = "out_of_scope"
    AND_MORE = "and_more"


class Unfit(BadInput):
    """The item cannot be taken."""

    code = "unfit"

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One item of a request that was not taken. ``item``: its bytes, not masked yet."""

    index: int
    reason: Reason
    detail: str
    item: bytes = b""


def rejected(refusal: Refusal, *, id: str, at: Ms, wire: str, source: str) -> Rejected:
    """The refusal as the quarantine keeps it: masked, and cut to ``KEPT_TEXT``."""
    # Masked before the last cut, so that a cut cannot hide a secret's end from the mask.
    item = _masked_json(refusal.item)
    if item is None:
        item = _masked_text(refusal.item[: 4 * KEPT_TEXT].decode("utf-8", "replace"))
    reason, item = refusal.reason.value, item[:KEPT_TEXT]
    return Rejected(id=id, at=at, wire=wire, reason=reason, item=item, source=source)


def _masked_json(item: bytes) -> str | None:
    """JSON masked as what is taken is, and as it came where it has no secret. None when it is
    no JSON, or too large or too deep to be looked into, or says something twice."""
    if len(item) > MAX_ITEM_BYTES:
        return None
    try:
        text = item.decode()
        read = {"": json.loads(text, object_pairs_hook=_each_once)}
        masked = masking.fields(read)
    except (ValueError, RecursionError):
        return None
    if masked == read:
        return text
    # A half of a character cannot be kept: it has no UTF-8.
    said = json.dumps(masked[""], ensure_ascii=False, separators=(",", ":"))
    return said.encode("utf-8", "replace").decode()


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("of two values of one name, only one would be seen")
    return found


def _masked_text(text: str) -> str:
    """A text masked. It may be JSON in part: what stands beneath a secret's name goes with all
    that follows, and a letter that is written as its number is read as a letter."""
    read = _LETTER.sub(lambda found: chr(int(found[1], 16)), text)
    masked = masking.text(read)
    for found in _BENEATH.finditer(read):
        if masking.mapping({found[1]: "x"})[found[1]] == masking.MASK:
            masked = masking.text(read[: found.end()]) + masking.MASK
            break
    return text if masked == read else masked


@lru_cache(maxsize=8_192)
def name(value: str) -> str:
    """A metric's or a label's name. ``Unfit`` unless it is one."""
    if len(value) > MAX_NAME:
        raise Unfit(Reason.TOO_LONG, f"a name has at most {MAX_NAME} characters")
    if not NAME.fullmatch(value):
        raise Unfit(Reason.BAD_NAME, "a name is letters, digits and _ . : / -, no digit first")
    if masking.is_token(value):
        raise Unfit(Reason.BAD_NAME, "a name is no token: it is kept and shown as it is")
    return value


def labels(values: dict[str, str], what: str = "label") -> dict[str, str]:
    """Labels or annotations within the limits and masked; the empty ones are left out."""
    taken = {}
    for label, value in values.items():
        name(label)
        if len(value) > MAX_VALUE:
            raise Unfit(Reason.TOO_LONG, f"the {what} {label} is longer than {MAX_VALUE}")
        if value:
            taken[label] = value
    if len(taken) > MAX_LABELS:
        raise Unfit(Reason.TOO_MANY_LABELS, f"more than {MAX_LABELS} {what}s")
    return masking.mapping(taken)


def data(value: object, depth: int = 0) -> None:
    """``Unfit`` unless plain JSON values are not too deep and their whole numbers have 64 bits."""
    if depth > MAX_DEPTH:
        raise Unfit(Reason.TOO_DEEP, f"data is nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for item in value.values():
            data(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            data(item, depth + 1)
    elif isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise Unfit(Reason.OUT_OF_RANGE, "a whole number in data needs more than 64 bits")


def instant(text: str) -> Ms:
    """An RFC 3339 instant. ``Unfit`` when it is not one."""
    try:
        return opx_time.from_wire(text)
    except (ValueError, OverflowError):
        raise Unfit(Reason.BAD_TIME, "a time is written 2026-01-01T00:00:00.000Z") from None


def moment(value: object) -> Ms:
    """An instant as loggers and samplers write it: RFC 3339, or the s, ms, µs or ns since 1970
    as a number or its digits. ``Unfit`` when it is none of them."""
    if isinstance(value, str):
        return _since_1970(int(value)) if _NUMBER.fullmatch(value) else instant(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _since_1970(value)
    raise Unfit(Reason.BAD_TIME, "a time is a text or a number")


def _since_1970(number: float) -> Ms:
    for bound, times, parts in _SIZES:
        if abs(number) < bound:
            whole = number * times
            return whole // parts if isinstance(whole, int) else round(whole / parts)
    raise Unfit(Reason.BAD_TIME, "no unit makes this number a time")


def recent(at: Ms, now: Ms) -> Ms:
    """An instant near enough to ``now`` to be believed."""
    if at > now + MAX_FUTURE:
        raise Unfit(Reason.IN_FUTURE, "the time is more than 10 minutes ahead of this clock")
    if at < now - MAX_AGE:
        raise Unfit(Reason.TOO_OLD, "the time is more than 7 days ago (milliseconds are expected)")
    return at


def scope(identity: Identity, services: frozenset[str]) -> None:
    """``Unfit`` unless ``services`` is empty (any) or holds the identity's service."""
    if services and identity.service not in services:
        whose = identity.service or "an unmapped service"
        raise Unfit(Reason.OUT_OF_SCOPE, f"this token may not send for {whose[:MAX_NAME]}")
