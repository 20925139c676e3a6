# SPDX-License-Identifier: Apache-2.0

"""``flag.set`` {path, flag, value}: one value in a file that is a JSON object of flags.

``value`` is JSON: ``true``, ``0.5``, ``"blue"``. The flag must be there, and keep its kind
(a boolean, a number, a text), so that a slip of the pen makes no new flag and breaks no
reader; one that has the value already is refused, so that a step that changed nothing is
never undone. Setting the former value undoes it. Nothing else in the file is changed, not
even a space, and it is replaced as a whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from io import BytesIO
from typing import Any, BinaryIO

from opx.adapters.actions import swaps
from opx.adapters.actions.roots import Roots
from opx.adapters.actions.swaps import GivenUp
from opx.core.decide.actions import ActionSpec, Blast, Undo
from opx.core.ingest import masking
from opx.engine.ports import EffectKnown, Say, silent
from opx.errors import BadInput, NotFound, OpxError, Refused, TooLarge, Unavailable

LARGEST = 1024 * 1024
"""Bytes of a file of flags."""
LONGEST = 1_000
"""Characters of a value."""
_SPACE = re.compile(r"[ \t\n\r]*")


class Set:
    spec = ActionSpec(
        name="flag.set",
        undo=Undo.ROLLBACK,
        blast=Blast.SERVICE,
        required=("path", "flag", "value"),
    )

    def __init__(self, roots: Roots) -> None:
        self._roots = roots

    async def observe(self, target: str, inputs: dict[str, str]) -> dict[str, str]:
        """``{value, wanted}`` as JSON; of what looks like a secret only a hash.
        ``Unavailable``: it may not be touched, or there is no such flag to see."""
        try:
            return await swaps.apart(lambda _: self._look(inputs))
        except OpxError as error:
            raise Unavailable(str(error)) from error

    def happened(self, before: dict[str, str], now: dict[str, str]) -> EffectKnown:
        """YES: it has the value that was wanted. UNKNOWN: it has a third."""
        if now["value"] == before["value"]:
            return EffectKnown.NO
        return EffectKnown.YES if now["value"] == before["wanted"] else EffectKnown.UNKNOWN

    async def apply(self, target: str, inputs: dict[str, str], key: str, say: Say = silent) -> str:
        """Set it. ``Refused``: it may not be touched, has the value already, or has another
        kind of value. ``Unavailable``: it is done, and the disk did not confirm it. Any other
        error: the file is as it was."""
        return await swaps.apart(lambda given_up: self._set(inputs, given_up))

    def dry_run(self, target: str, inputs: dict[str, str]) -> str:
        said = _said(inputs["flag"], _value(inputs["value"]))
        return f"would set {inputs['flag']!r} in {inputs['path']!r} to {said}"

    def _look(self, inputs: dict[str, str]) -> dict[str, str]:
        path, flag = inputs["path"], inputs["flag"]
        with self._roots.beside(path) as (folder, name), swaps.plain(folder, name) as file:
            value, _, _ = _flag(_text(file, path), flag, path)
        return {"value": _said(flag, value), "wanted": _said(flag, _value(inputs["value"]))}

    def _set(self, inputs: dict[str, str], given_up: GivenUp) -> str:
        path, flag, wanted = inputs["path"], inputs["flag"], _value(inputs["value"])
        with (
            self._roots.beside(path) as (folder, name),
            swaps.turn(folder),
            swaps.plain(folder, name) as file,
        ):
            was, text = swaps.state(file), _text(file, path)
            value, start, end = _flag(text, flag, path)
            if _kind(value) != _kind(wanted):
                raise Refused(f"{flag!r} is {_kind(value)}, not {_kind(wanted)}")
            if value == wanted:
                raise Refused(f"{flag!r} is {_said(flag, wanted)} already")
            changed = f"{text[:start]}{json.dumps(wanted)}{text[end:]}".encode()
            swaps.replace(folder, name, was, file, BytesIO(changed), given_up)
        return f"{flag!r} in {path}: {_said(flag, value)} -> {_said(flag, wanted)}"


def _text(file: BinaryIO | None, path: str) -> str:
    if file is None:
        raise NotFound(f"{path} is not there")
    read = file.read(LARGEST + 1)
    if len(read) > LARGEST:
        raise TooLarge(f"{path} is larger than {LARGEST >> 20} MiB")
    try:
        return read.decode()
    except UnicodeDecodeError as error:
        raise Refused(f"{path} is not UTF-8") from error


def _flag(text: str, flag: str, path: str) -> tuple[Any, int, int]:
    """The value of ``flag``, and where in ``text`` it begins and ends."""
    try:
        flags = _flags(text)
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path} is not one JSON object of flags") from error
    if flag not in flags:
        raise NotFound(f"there is no flag {flag!r} in {path}")
    return flags[flag]


def _flags(text: str) -> dict[str, tuple[Any, int, int]]:
    """Every member of the object ``text``, with its place. ``ValueError``: it is not one, or
    names a flag twice."""
    decoder = json.JSONDecoder(parse_constant=_no_constant)
    found: dict[str, tuple[Any, int, int]] = {}
    at = _past("{", text, 0)
    more = not text.startswith("}", _skip(text, at))
    while more:
        name, at = decoder.raw_decode(text, _past('"', text, at) - 1)
        start = _skip(text, _past(":", text, at))
        value, at = decoder.raw_decode(text, start)
        if name in found:
            raise ValueError(f"{name!r} stands twice in it")
        found[name] = (value, start, at)
        more = text.startswith(",", _skip(text, at))
        at = _past(",", text, at) if more else at
    if _skip(text, _past("}", text, at)) != len(text):
        raise ValueError("something follows it")
    return found


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _past(mark: str, text: str, at: int) -> int:
    at = _skip(text, at)
    if not text.startswith(mark, at):
        raise ValueError(f"{mark} is missing at {at}")
    return at + 1


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _value(text: str) -> bool | int | float | str:
    """What a flag is to be. ``BadInput``: it is not JSON, or no value of a flag."""
    try:
        value = json.loads(text[: LONGEST + 1], parse_constant=_no_constant)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            f"{text[:50]!r} is not JSON", hint="true, 0.5, or a text in quotes of its own"
        ) from error
    if len(text) > LONGEST or not isinstance(value, (bool, int, float, str)):
        raise BadInput("a flag is a boolean, a number or a short text")
    return value


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    return "a text" if isinstance(value, str) else "no flag"


def _said(flag: str, value: Any) -> str:
    """The value as JSON, or its hash: of a secret, and of what is long."""
    text = json.dumps(value)
    if len(text) <= LONGEST and masking.fields({flag: value}) == {flag: value}:
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
