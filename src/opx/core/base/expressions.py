# SPDX-License-Identifier: Apache-2.0

"""CEL expressions: the one language of every ``when`` and ``expect``.

Beneath all stages. Compiled once when a document is read, evaluated over plain facts.
An expression has no side effects and no access to anything but its facts. It must never
turn an error into an answer: a fact that is missing raises, and who asked decides. What could
not hold over any facts is found when the document is read (``unknown``, ``never``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from opx.core.base import celext
from opx.errors import ExpressionError

MAX_LENGTH = 2_000
MAX_PATTERN = 200
_BETWEEN = r"(?:\s|//[^\n]*\n)*"
"""What may stand between two words: blanks, and remarks, each up to the end of its line."""
_LOOPS = re.compile(rf"\.{_BETWEEN}(?:all|exists|exists_one|existsOne|map|filter){_BETWEEN}\(")
"""Macros that walk a list, by each name the evaluator knows them by: what stands within one is
done for each entry, so that a few of them, one in another, never come to an end."""
_TOKEN = re.compile(
    r"""(?P<blank>\s+|//[^\n]*)
    |(?P<text>[bB]?[rR](?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"[^"\n]*"|'[^'\n]*')
      |[bB]?(?:\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}
      |"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?[uU]?)
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>[\s\S])""",
    re.VERBOSE | re.ASCII,
)
"""The words of an expression that compiles."""
_KEY = re.compile(r"""(["'])([^"'\\]*)\1""")
_OWN = {
    "bool", "bytes", "double", "int", "list", "map", "null_type", "optional", "string", "type",
    "uint",
}  # fmt: skip
"""Names that the evaluator brings along."""
_NO_FUNCTION = "Undefined variable or function"
"""How the evaluator's error begins for a function that is not there, or not for such values."""
_cel = celext.load()
_ERRORS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What the evaluator raises over facts of another shape. It does not say so itself."""


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
        except _ERRORS as error:
            raise ExpressionError(f"{self.text!r} could not be evaluated: {error}") from error
        if not isinstance(value, bool):
            raise ExpressionError(f"{self.text!r} is not a yes or no but {value!r}")
        return value

    @property
    def limits(self) -> bool:
        """Whether something is to be above or below a number that is written beside the sign."""
        tokens = _tokens(self.text)
        for at, (kind, word) in enumerate(tokens):
            if kind == "sign" and word in "<>":
                after = (other for other, sign in tokens[at + 1 :] if sign not in ("=", "-"))
                if "number" in (tokens[at - 1][0], next(after, "")):
                    return True
        return False

    def unknown(self, facts: Mapping[str, Any]) -> tuple[str, tuple[str, ...]] | None:
        """The first name in it that facts of this shape can never have, and those that they have
        there. In an empty mapping of ``facts`` anything may stand."""
        for name in self._program.variables():
            if name not in facts and name not in _OWN:
                return name, tuple(facts)
        for path in _paths(self.text):
            here: Any = facts if path[0] in facts else {}
            for depth, name in enumerate(path, 1):
                if here == {}:
                    break
                known = tuple(here) if isinstance(here, Mapping) else ()
                if name not in known:
                    return ".".join(path[:depth]), known
                here = here[name]
        return None

    def never(self, facts: Mapping[str, Any]) -> str:
        """Why it is neither true nor false over facts of these types, whatever their values; ""
        when it may be, as far as these tell."""
        try:
            value = self._program.execute(dict(facts))
        except _ERRORS as error:
            if not isinstance(error, TypeError) and not str(error).startswith(_NO_FUNCTION):
                return ""
            why = str(error).partition(". ")[0]
            return f"{self.text!r} can never be evaluated: {why}"
        return "" if isinstance(value, bool) else f"{self.text!r} is not a yes or no but {value!r}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern that somebody brought along, compiled once however many texts are held against
    it; equal by its text. ``ExpressionError`` when it is not a regular expression (RE2's
    syntax) or too large. CEL has the same engine, but compiles at every question, and a few
    signs such as ``[\\pL\\pN]{200}`` take a tenth of a second."""

    text: str
    _engine: Any = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if len(self.text) > MAX_PATTERN:
            raise ExpressionError(f"a pattern has at most {MAX_PATTERN} characters")
        engines = import_module("pydantic_core")  # 5 MB: not before there is a pattern
        whole = {"type": "str", "pattern": f"^(?:{self.text})$", "regex_engine": "rust-regex"}
        try:
            engine = engines.SchemaValidator(whole)
        except (engines.SchemaError, ValueError) as error:
            raise ExpressionError(f"{self.text!r} is not a regular expression: {error}") from error
        object.__setattr__(self, "_engine", engine)

    def matches(self, text: str) -> bool:
        """Whether all of ``text`` matches, in time linear in both."""
        return bool(self._engine.isinstance_python(text))


def _tokens(text: str) -> list[tuple[str, str]]:
    """The words of an expression with their kinds, blanks and remarks left out."""
    found = ((str(word.lastgroup), word[0]) for word in _TOKEN.finditer(text))
    return [(kind, word) for kind, word in found if kind != "blank"]


def _paths(text: str) -> Iterator[list[str]]:
    """What is looked up in what: ``a.b['c'].size()`` is a, b, c."""
    tokens = [*_tokens(text), ("", ""), ("", ""), ("", "")]
    at = 0
    while tokens[at][0]:
        kind, word = tokens[at]
        if kind == "name" and tokens[at - 1][1] != "." and tokens[at + 1][1] != "(":
            path = [word]
            while True:
                (_, opens), (_, inner), (_, after) = tokens[at + 1 : at + 4]
                key = _KEY.fullmatch(inner)
                if opens == "." and after != "(":
                    path.append(inner)
                    at += 2
                elif opens == "[" and key and after == "]":
                    path.append(key[2])
                    at += 3
                else:
                    break
            yield path
        at += 1


_FOUND = _cel.compile("text.matches(pattern)")


def found(text: str, pattern: str) -> bool:
    """Whether a pattern is found anywhere in ``text``, in time linear in both.
    ``ExpressionError`` when it is not a regular expression (RE2's syntax)."""
    try:
        return bool(_FOUND.execute({"text": text, "pattern": f"(?:{pattern})"}))
    except (RuntimeError, TypeError, ValueError) as error:
        raise ExpressionError(f"{pattern!r} is not a regular expression: {error}") from error
