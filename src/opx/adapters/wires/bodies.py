# SPDX-License-Identifier: Apache-2.0

"""A JSON body into its items, each judged by itself.

Beneath the JSON wires. A body in which every item has the right shape is decoded in one
go; only when that fails is it cut into items and each decoded alone, so that one bad item
costs its neighbours nothing but time. Two things are JSON that the decoder does not even pass
over: half of a pair of surrogates, and what is nested deeper than its stack should follow. It
is then shown a body of the same length without them, and the items are cut out of the one that
was sent, at the places that it found. What is no JSON must not become some by that; only what
stands so deep in an item that is refused anyway is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec
import numpy as np

from opx.core.ingest import checks
from opx.core.ingest.checks import Reason, Refusal, Unfit
from opx.core.ingest.signals import Item
from opx.engine.intake import Incoming, Parsed
from opx.engine.ports import Batch
from opx.errors import BadInput, TooLarge

MAX_ITEMS = 10_000
TOO_DEEP = "the item is nested too deep"

T = TypeVar("T")

_encode = msgspec.json.Encoder().encode
_one_raw = msgspec.json.Decoder(msgspec.Raw)
_many_raws = msgspec.json.Decoder(list[msgspec.Raw])
# What msgspec raises: its own errors and UnicodeDecodeError are ValueErrors, and nesting
# that the C stack should not follow is a RecursionError.
_UNREADABLE = (ValueError, RecursionError)
_SHOWN = 32
"""How many brackets within each other the decoder is shown then."""
_ESCAPE = re.compile(rb'\\(?:["\\]|u(?=[dD][89a-fA-F][0-9a-fA-F]{2}))')
"""A quote or a backslash within a text, or the beginning of half of a pair of surrogates."""
_HARMLESS = b".."
_BRACKET = re.compile(rb'"[^"]*"|([\[{])|([\]}"])')
"""Where no quote is escaped: a text, or an opening bracket, or a closing one or a quote that
nothing closes."""
_CLOSER = {ord("["): ord("]"), ord("{"): ord("}")}


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

    def each(self, raws: Iterable[bytes]) -> Found[T]:
        """The items of which these are the bytes, each read alone."""
        numbers: list[int] = []
        items: list[T] = []
        refusals: list[Refusal] = []
        for number, raw in enumerate(raws):
            try:
                items.append(self.read(raw))
            except Unfit as error:
                refusals.append(unread(number, error, raw))
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
            raise Unfit(Reason.TOO_DEEP, TOO_DEEP) from None
        except ValueError as error:
            raise Unfit(Reason.MALFORMED, str(error)[:200]) from None


def raws(body: bytes) -> list[bytes]:
    """The bytes of each item of a JSON body, a list of them or one alone. ``BadInput`` when it
    is not JSON, ``TooLarge`` beyond ``MAX_ITEMS``."""
    if _alone(body):
        one, sent = decoded(_one_raw, body)
        return [sent(one)]
    many, sent = decoded(_many_raws, body)
    return [sent(raw) for raw in bounded(many)]


def decoded(
    decoder: msgspec.json.Decoder[T], body: bytes, what: str = "JSON"
) -> tuple[T, Callable[[msgspec.Raw], bytes]]:
    """What the decoder makes of a body, and what gives the bytes of a ``Raw`` in it as they were
    sent. ``BadInput`` when the body is not ``what`` is expected."""
    try:
        return decoder.decode(body), bytes
    except _UNREADABLE:
        shown = _ESCAPE.sub(_HARMLESS, body)
    try:
        try:
            found = decoder.decode(shown)
        except RecursionError:
            shown = _shallow(shown)
            found = decoder.decode(shown)
    except _UNREADABLE as error:
        raise BadInput(f"the body is not {what}: {error}") from None
    begin = _place(shown)

    def sent(raw: msgspec.Raw) -> bytes:
        at = _place(raw) - begin
        return body[at : at + memoryview(raw).nbytes]

    return found, sent


def _place(part: msgspec.Raw | bytes) -> int:
    """Where it is in memory. A ``Raw`` is a view into what was decoded."""
    return np.frombuffer(part, np.uint8).ctypes.data


def _shallow(body: bytes) -> bytes:
    """``body``, as long, with an empty text for all that is in more than ``_SHOWN`` brackets.
    ``ValueError`` when its brackets or quotes do not match. No quote in it is escaped."""
    shallow, closers, start = bytearray(body), bytearray(), 0
    for found in _BRACKET.finditer(body):
        at, kind = found.start(), found.lastindex
        if kind == 1:
            if len(closers) == _SHOWN:
                start = at
            closers.append(_CLOSER[body[at]])
        elif kind == 2:
            if not closers or closers.pop() != body[at]:
                raise ValueError("its brackets or quotes do not match")
            if len(closers) == _SHOWN:
                shallow[start : at + 1] = b'""'.ljust(at + 1 - start)
    if closers:
        raise ValueError("it ends before its brackets do")
    return bytes(shallow)


def _alone(body: bytes) -> bool:
    return not body.lstrip(b" \t\r\n").startswith(b"[")


def bounded(items: list[T]) -> list[T]:
    if len(items) > MAX_ITEMS:
        raise TooLarge(f"a request holds at most {MAX_ITEMS} items, not {len(items)}")
    return items


def refusal(index: int, error: Unfit, item: bytes) -> Refusal:
    return Refusal(index=index, reason=error.reason, detail=error.detail, item=item)


def unread(index: int, error: Unfit, item: bytes) -> Refusal:
    """The refusal of an item that could not be read: too deep, if it is, whatever else is wrong
    with it and whichever of that was met first."""
    try:
        _one_raw.decode(_ESCAPE.sub(_HARMLESS, item))
    except RecursionError:
        error = Unfit(Reason.TOO_DEEP, TOO_DEEP)
    except ValueError:
        pass
    return refusal(index, error, item)


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
