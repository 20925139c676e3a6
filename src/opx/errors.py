# SPDX-License-Identifier: Apache-2.0

"""Every error opx raises on purpose, as one tree. The docstring is the default message.

OpxError                     .code for the wire, .retryable says whether trying again can help
+- BadInput                  somebody's input is wrong
|  +- DocumentError          with file, line and a hint
|  +- ExpressionError        a CEL expression does not compile or cannot be evaluated
+- NotAllowed                not logged in, or not with that role
+- NotFound
+- Conflict                  somebody else was first: read again and decide again
+- Refused                   a gate said no
+- Unavailable               a part that is needed does not answer now
+- Damaged                   stored data is not what was written
"""

from __future__ import annotations


class OpxError(Exception):
    """Something opx did not expect."""

    code = "internal"
    retryable = False

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        super().__init__(message or self.__class__.__doc__ or "")
        self.hint = hint


class BadInput(OpxError):
    """The input is not valid."""

    code = "bad_input"


class DocumentError(BadInput):
    """The document is not valid."""

    code = "bad_document"

    def __init__(self, message: str, *, source: str = "", line: int = 0, hint: str = "") -> None:
        place = f"{source}:{line}: " if source else ""
        super().__init__(f"{place}{message}" + (f" ({hint})" if hint else ""), hint=hint)
        self.source = source
        self.line = line


class ExpressionError(BadInput):
    """The expression is not valid."""

    code = "bad_expression"


class NotAllowed(OpxError):
    """You may not do that."""

    code = "not_allowed"


class NotFound(OpxError):
    """There is no such thing."""

    code = "not_found"


class Conflict(OpxError):
    """Somebody else changed it first: read it again."""

    code = "conflict"
    retryable = True


class Refused(OpxError):
    """A gate refused it."""

    code = "refused"


class Unavailable(OpxError):
    """A part of opx that is needed does not answer now."""

    code = "unavailable"
    retryable = True


class Damaged(OpxError):
    """Stored data is not what was written."""

    code = "damaged"
