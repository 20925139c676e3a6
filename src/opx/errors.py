# SPDX-License-Identifier: Apache-2.0

"""Every error opx raises on purpose, as one tree. The docstring is the default message.

OpxError                     .code for the wire, .retryable says whether trying again can help
+- BadInput                  somebody's input is wrong
|  +- DocumentError          with file, line and a hint
|  +- ExpressionError        a CEL expression does not compile or cannot be evaluated
|  +- NoETag                 an If-Match where nothing has an ETag
|  +- TooLarge               more than is taken at once
+- NotAllowed                not with that role
|  +- NotLoggedIn            nobody opx knows
+- NotFound
+- Conflict                  somebody else was first: read again and decide again
+- Stale                     it is not any more what the asker said that they had read
+- Refused                   a gate said no
|  +- IllegalChange          an incident cannot change like that from where it is
+- Failed                    it was tried, and it certainly did not work
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


class NoETag(BadInput):
    """What this changes has no ETag, so no If-Match can hold for it: nothing was done."""

    code = "no_etag"


class TooLarge(BadInput):
    """That is more than is taken at once."""

    code = "too_large"


class NotAllowed(OpxError):
    """You may not do that."""

    code = "not_allowed"


class NotLoggedIn(NotAllowed):
    """Say who you are: send a token that is in force."""

    code = "not_logged_in"


class NotFound(OpxError):
    """There is no such thing."""

    code = "not_found"


class Conflict(OpxError):
    """Somebody else changed it first: read it again."""

    code = "conflict"
    retryable = True


class Stale(OpxError):
    """It was changed since you read it: read it again."""

    code = "stale"


class Refused(OpxError):
    """A gate refused it."""

    code = "refused"


class IllegalChange(Refused):
    """That change is not possible from here."""

    code = "illegal_change"


class Failed(OpxError):
    """It did not work."""

    code = "failed"


class Unavailable(OpxError):
    """A part of opx that is needed does not answer now."""

    code = "unavailable"
    retryable = True


class Damaged(OpxError):
    """Stored data is not what was written."""

    code = "damaged"
