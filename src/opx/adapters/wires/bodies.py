# SPDX-License-Identifier: Apache-2.0

"""A JSON body into its items, each judged by itself.

Beneath the JSON wires. A body in which every item has the right shape is decoded in one
go; only when that fails is it cut into items and each decoded alone, so that one bad item
costs its neighbours nothing but time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from opx.core.ingest import checks
from opx.core.ingest.checks import Reason, Refusal, Unfit
from opx.core.ingest.signals import Item
from opx.engine.intake import Incoming, Parsed
from opx.engine.ports import Batch
from opx.errors import BadInput, TooLarge

MAX_ITEMS = 10_000

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_one_raw = msgspec.json.Decoder(msgspec.Raw)
_many_raws = msgspec.json.Decoder(list[msgspec.Raw])
# What msgspec raises: its own errors and UnicodeDecodeError are ValueErrors, and nesting
# that the C stack should not follow is a RecursionError.
_UNREADABLE = (ValueError, RecursionError)
_BACKSLASH = rb"\\"
_SURROGATE = re.compile(rb"\\\\|\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
"""Or a backslash, so that what follows one is not taken for an escape."""


class Found(NamedTuple, Generic[T]):
    """``numbers``: the place in the body of each of ``items``; the rest are in ``refusals``."""

    numbers: Sequence[int]
    items: list[T]
    refusals: list[Refusal]


class Shape(Generic[T]):
    """Reads items of one type, alone or in a list. ``most``: the bytes one item may have."""

    def __init__(self, item: type[T], most: int = checks.MAX_ITEM_BYTES) -> None:
        self._one = msgspec.json.Decoder(item)
        self._many = msgspec.json.Decoder(list[item])  # type: ignore[valid-type]
        self._most = most

    def items(self, body: bytes) -> Found[T]:
        """The items of the body, and which of them have another shape.

        ``BadInput`` when the body is not JSON, ``TooLarge`` beyond ``MAX_ITEMS``.
        """
        items = self.whole(body)
        return self.each(raws(body)) if items is None else Found(range(len(items)), items, [])

    def whole(self, body: bytes) -> list[T] | None:
        """Every item of the body, decoded in one go; None unless all have this shape."""
        if len(body) > self._most:
            return None
        try:
            return bounded([self._one.decode(body)] if _alone(body) else self._many.decode(body))
        except _UNREADABLE:
            return None  # which item it is, and whether it is JSON at all, is found out later

    def each(self, raws: Iterable[msgspec.Raw | bytes]) -> Found[T]:
        """The items of which these are the bytes, each read alone."""
        numbers: list[int] = []
        items: list[T] = []
        refusals: list[Refusal] = []
        for number, raw in enumerate(raws):
            item = bytes(raw)
            try:
                items.append(self.read(item))
            except Unfit as error:
                refusals.append(refusal(number, error, item))
            else:
                numbers.append(number)
        return Found(numbers, items, refusals)

    def read(self, item: bytes) -> T:
        """One item. ``Unfit`` when it is too large, too deep or of another shape."""
        if len(item) > self._most:
            raise Unfit(Reason.TOO_LARGE, f"an item has at most {self._most} bytes")
        try:
            return self._one.decode(item)
        except RecursionError:
            raise Unfit(Reason.TOO_DEEP, "the item is nested too deep") from None
        except ValueError as error:
            raise Unfit(Reason.MALFORMED, str(error)[:200]) from None


def raws(body: bytes) -> Sequence[msgspec.Raw | bytes]:
    """The bytes of each item of a JSON body, a list of them or one alone. ``BadInput`` when it
    is not JSON, ``TooLarge`` beyond ``MAX_ITEMS``."""
    try:
        return bounded([_one_raw.decode(body)] if _alone(body) else _many_raws.decode(body))
    except RecursionError:
        raise BadInput("the body is nested too deep") from None
    except ValueError as error:
        passable = _SURROGATE.sub(_replaced, body)
        if passable == body:
            raise BadInput(f"the body is not JSON: {error}") from None
        return _cut(body, passable)


def _cut(body: bytes, passable: bytes) -> list[bytes]:
    """The items of a body in which half of a pair of surrogates stands alone: JSON, but no text,
    so the decoder does not even pass over it. ``passable`` is as long and has none."""
    items, place = [], 0
    for raw in raws(passable):
        item = bytes(raw)
        place = passable.index(item, place)  # only commas and spaces are in between
        items.append(body[place : place + len(item)])
        place += len(item)
    return items


def _replaced(found: re.Match[bytes]) -> bytes:
    return found[0] if found[0] == _BACKSLASH else rb"\ufffd"


def _alone(body: bytes) -> bool:
    return not body.lstrip(b" \t\r\n").startswith(b"[")


def bounded(items: list[T]) -> list[T]:
    if len(items) > MAX_ITEMS:
        raise TooLarge(f"a request holds at most {MAX_ITEMS} items, not {len(items)}")
    return items


def refusal(index: int, error: Unfit, item: bytes) -> Refusal:
    return Refusal(index=index, reason=error.reason, detail=error.detail, item=item)


def parse(
    shape: Shape[T], build: Callable[[T, Incoming], Item], body: bytes, incoming: Incoming
) -> Parsed:
    """A body whose items each become one item of the log."""
    numbers, found, refusals = shape.items(body)
    items: list[Item] = []
    for number, item in zip(numbers, found, strict=True):
        try:
            items.append(build(item, incoming))
        except Unfit as error:
            refusals.append(refusal(number, error, _encode(item)))
    refusals.sort(key=lambda refused: refused.index)
    return Parsed(batch=Batch(items=tuple(items)), accepted=len(items), refusals=refusals)
