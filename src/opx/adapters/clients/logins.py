# SPDX-License-Identifier: Apache-2.0

"""The logins of supervisords: ``supervisors.toml`` in the data folder, and nowhere else.

A table for each supervisord, named by its URL, with ``user`` and ``password``. Read anew
whenever the file has changed. A file that others can read is refused as a whole, like a
key; what is wrong with it is said without saying what is in it.
"""

from __future__ import annotations

import base64
import os
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from opx.errors import BadInput, Refused

FIELDS = {"user", "password"}


@dataclass(slots=True)
class Logins:
    """``path`` None, or a file that is not there: nobody needs one."""

    path: Path | None = None
    _read: tuple[int, int, int] | None = field(init=False, default=None)
    _headers: dict[str, str] = field(init=False, default_factory=dict)

    def header(self, url: str) -> str:
        """The ``Authorization`` of the supervisord at ``url``; "" when the file names none.

        ``Refused``: others can read the file. ``BadInput``: it is not what it should be.
        """
        self._learn()
        return self._headers.get(_place(url), "")

    def _learn(self) -> None:
        if self.path is None:
            return
        try:
            with self.path.open("rb") as file:
                seen = os.fstat(file.fileno())
                if stat.S_IMODE(seen.st_mode) & 0o077:
                    raise Refused(f"others can read {self.path}", hint=f"chmod 600 {self.path}")
                version = (seen.st_ino, seen.st_mtime_ns, seen.st_size)
                if version != self._read:
                    self._headers = _headers(file.read(), self.path)
                    self._read = version
        except FileNotFoundError:
            self._read, self._headers = None, {}
        except OSError as error:
            raise Refused(f"{self.path} cannot be read: {error.strerror}") from error


def _headers(text: bytes, path: Path) -> dict[str, str]:
    try:
        tables = tomllib.loads(text.decode())
    except ValueError:  # what it says of its place may quote the text
        raise BadInput(f"{path} is not TOML") from None
    headers = {}
    for url, login in tables.items():
        if not isinstance(login, dict) or login.keys() != FIELDS or "@" in url:
            raise BadInput(f"{path} needs a table for each URL, with user and password")
        if not all(isinstance(value, str) for value in login.values()):
            raise BadInput(f"{path}: a user and a password are text")
        said = f"{login['user']}:{login['password']}".encode()
        headers[_place(url)] = "Basic " + base64.b64encode(said).decode()
    return headers


def _place(url: str) -> str:
    """The URL of a supervisord in one spelling."""
    try:
        parts = urlsplit(url)
        port = parts.port or (80 if parts.scheme == "http" else "")
    except ValueError:
        return url
    if parts.scheme == "unix":
        return f"unix://{parts.path}"
    return f"{parts.scheme}://{parts.hostname}:{port}"
