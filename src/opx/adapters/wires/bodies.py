# SPDX-License-Identifier: Apache-2.0

"""A JSON body into its items, each judged by itself.

Beneath the JSON wires. A body in which every item has the right shape is decoded in one
go; only when that fails is it cut into items and each decoded alone, so that one bad item
costs its neighbours nothing but time.
"""

from __future__ import annotations

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
        alone = not body.lstrip(b" \t\r\n").startswith(b"[")
        if len(body) <= self._most:
            try:
                items = [self._one.decode(body)] if alone else self._many.decode(body)
                return Found(range(len(items)), bounded(items), [])
            except _UNREADABLE:
                pass  # which item it is, and whether it is JSON at all, is found out below
        try:
            raws = [_one_raw.decode(body)] if alone else _many_raws.decode(body)
        except RecursionError:
            raise BadInput("the body is nested too deep") from None
        except ValueError as error:
            raise BadInput(f"the body is not JSON: {error}") from None
        return self._each(bounded(raws))

    def _each(self, raws: Iterable[msgspec.Raw]) -> Found[T]:
        numbers: list[int] = []
        items: list[T] = []
        refusals: list[Refusal] = []
        for number, raw in enumerate(raws):
            item = bytes(raw)
            try:
                items.append(self._read(item))
            except Unfit as error:
                refusals.append(refusal(number, error, item))
            else:
                numbers.append(number)
        return Found(numbers, items, refusals)

    def _read(self, item: bytes) -> T:
        if len(item) > self._most:
            raise Unfit(Reason.TOO_LARGE, f"an item has at most {self._most} bytes")
        try:
            return self._one.decode(item)
        except RecursionError:
            raise Unfit(Reason.TOO_DEEP, "the item is nested too deep") from None
        except ValueError as error:
            raise Unfit(Reason.MALFORMED, str(error)[:200]) from None


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
