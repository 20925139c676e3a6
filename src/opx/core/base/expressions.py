# SPDX-License-Identifier: Apache-2.0

"""CEL expressions: the one language of every ``when`` and ``expect``.

Beneath all stages. Compiled once when a document is read, evaluated over plain facts.
An expression has no side effects and no access to anything but its facts. It must never
turn an error into an answer: a fact that is missing raises, and who asked decides.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opx.core.base import celext
from opx.errors import ExpressionError

MAX_LENGTH = 2_000
_BETWEEN = r"(?:\s|//[^\n]*\n)*"
"""What may stand between two words: blanks, and remarks, each up to the end of its line."""
_LOOPS = re.compile(rf"\.{_BETWEEN}(?:all|exists|exists_one|existsOne|map|filter){_BETWEEN}\(")
"""Macros that walk a list, by each name the evaluator knows them by: what stands within one is
done for each entry, so that a few of them, one in another, never come to an end."""
_cel = celext.load()


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression, equal by its text. ``ExpressionError`` when it is not one."""

    text: str
    _program: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.text) > MAX_LENGTH:
            raise ExpressionError(f"an expression has at most {MAX_LENGTH} characters")
        if _LOOPS.search(self.text):
            raise ExpressionError(f"{self.text!r} walks a list, which an expression may not")
        try:
            program = _cel.compile(self.text)
        except ValueError as error:
            raise ExpressionError(f"{self.text!r} is not a CEL expression: {error}") from error
        object.__setattr__(self, "_program", program)

    def holds(self, facts: Mapping[str, Any]) -> bool:
        """True or False. ``ExpressionError`` when it is neither, a fact is missing or of
        another shape, or whatever else stands in the way: facts are what somebody sent."""
        try:
            value = self._program.execute(dict(facts))
        except Exception as error:  # the evaluator does not say what it raises
            raise ExpressionError(f"{self.text!r} could not be evaluated: {error}") from error
        if not isinstance(value, bool):
            raise ExpressionError(f"{self.text!r} is not a yes or no but {value!r}")
        return value


_MATCHES = _cel.compile("text.matches(pattern)")


def matches(text: str, pattern: str) -> bool:
    """Whether all of ``text`` matches a pattern that a document brought along, in time
    linear in both. ``ExpressionError`` when it is not a regular expression (RE2's syntax)."""
    return _run(text, f"^(?:{pattern})$")


def found(text: str, pattern: str) -> bool:
    """Whether a pattern is found anywhere in ``text``; else as ``matches``."""
    return _run(text, f"(?:{pattern})")


def _run(text: str, pattern: str) -> bool:
    try:
        return bool(_MATCHES.execute({"text": text, "pattern": pattern}))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ExpressionError(f"{pattern!r} is not a regular expression: {error}") from error
