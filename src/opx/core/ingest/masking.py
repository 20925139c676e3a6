# SPDX-License-Identifier: Apache-2.0

"""Secrets are taken out of what comes in before anything keeps it.

Stage 1, on every label, annotation, event and quarantined text. Linear in the length of
the text; masking twice is masking once. It errs on the side of hiding: a harmless word
that looks like a secret's value is lost. It must never let a private key, a bearer
token, a password in a URL, an AWS key or the value of a field named like a secret pass.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

MASK = "[masked]"

# One of these is in every text that a pattern below could match, so most texts are left
# after a few substring searches.
_MARKERS = (
    "secret", "token", "pass", "pwd", "bearer", "authorization", "credential", "-----begin",
    "apikey", "api_key", "api-key", "accesskey", "access_key", "access-key",
    "privatekey", "private_key", "private-key", "akia", "asia",
)  # fmt: skip

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)",
    re.ASCII | re.DOTALL,
)
_BEARER = re.compile(r"\b(bearer\s{1,8})[a-z0-9._~+/=-]{8,}", re.ASCII | re.IGNORECASE)
_AWS_KEY = re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", re.ASCII)
_URL_PASSWORD = re.compile(r"(://[^\s/:@]*:)(?!\[masked\]@)[^\s/]+(?=@)", re.ASCII)
_ASSIGNMENT = re.compile(
    r"""
    (   (?: pass(?:word|wd|phrase) | pwd | secret | token | credentials? | authorization
          | api[_-]?key | (?:access|private)[_-]?key )
        \\{0,2}["']? \s{0,8} [=:] \s{0,8} )
    (?!\[masked\])
    (?: (?:bearer|basic|token) \s{1,8} )?
    (?: \\{1,2}["'] [^"'\n]* ["']?
      | " (?: [^"\\\n] | \\. )* "?
      | ' (?: [^'\\\n] | \\. )* '?
      | [^\s,;&"']+ )
    """,
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_NOT_ALNUM = re.compile(r"[^a-z0-9]+")
_SECRET_NAMES = (
    "password", "passwd", "passphrase", "pwd", "secret", "token", "credential", "credentials",
    "authorization", "apikey", "accesskey", "privatekey", "secretkey",
)  # fmt: skip
_ROUNDS = 8


def text(value: str) -> str:
    """``value`` with every secret in it replaced by ``[masked]``."""
    if not _suspicious(value):
        return value
    # One pattern's replacement may uncover another's match, so until nothing changes.
    for _ in range(_ROUNDS):
        masked = _once(value)
        if masked == value:
            return value
        value = masked
    return MASK


def mapping(values: Mapping[str, str]) -> dict[str, str]:
    """Labels or annotations with their secrets masked, whole where the name is a secret's."""
    if not _suspicious("\n".join((*values, *values.values()))):
        return dict(values)
    return {
        name: MASK if value and _names_a_secret(name) else text(value)
        for name, value in values.items()
    }


def fields(values: Mapping[str, object], *, secret: bool = False) -> dict[str, object]:
    """Plain JSON values with their secrets masked; everything under a secret's name goes."""
    return {
        text(name): _tree(value, secret or _names_a_secret(name)) for name, value in values.items()
    }


def _suspicious(value: str) -> bool:
    lower = value.lower()
    for marker in _MARKERS:
        if marker in lower:
            return True
    return "@" in lower and "://" in lower


def _tree(value: object, secret: bool) -> object:
    if isinstance(value, dict):
        return fields(value, secret=secret)
    if isinstance(value, list):
        return [_tree(item, secret) for item in value]
    if secret and value not in (None, ""):
        return MASK
    return text(value) if isinstance(value, str) else value


def _names_a_secret(name: str) -> bool:
    lower = name.lower()
    if not _suspicious(lower):
        return False
    return _NOT_ALNUM.sub("", lower).endswith(_SECRET_NAMES)


def _once(value: str) -> str:
    value = _PRIVATE_KEY.sub(MASK, value)
    value = _AWS_KEY.sub(MASK, value)
    value = _ASSIGNMENT.sub(rf"\1{MASK}", value)
    value = _BEARER.sub(rf"\1{MASK}", value)
    return _URL_PASSWORD.sub(rf"\1{MASK}", value)
