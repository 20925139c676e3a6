# SPDX-License-Identifier: Apache-2.0

"""How the ``opx`` command talks to opx: plain HTTP with the token from the data folder.

Turns problems into exit codes: 1 failed, 3 refused by a gate, 4 cannot be reached. It
knows nothing that the API does not say, so whatever it does, another client can do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from opx import settings as opx_settings

PREFIX = "/api/v1"
FAILED, REFUSED, UNREACHABLE = 1, 3, 4
GATES = frozenset({"refused", "illegal_change"})
TIMEOUT_S = 35.0


class CommandFailed(Exception):
    """The command ends here, with this exit code and these words."""

    def __init__(self, code: int, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


class Client:
    """One command's connection. ``data``: the data folder, None for the usual one."""

    def __init__(self, data: Path | None) -> None:
        self.settings = opx_settings.load({"data": data})
        self.url = _address(self.settings)
        self._auth = {"Authorization": f"Bearer {_token(self.settings)}"}

    def get(self, path: str, **params: Any) -> Any:
        given = {name: value for name, value in params.items() if value not in (None, "")}
        return self._ask("GET", PREFIX + path, params=given)

    def post(self, path: str, body: object, version: int | None = None) -> Any:
        """``version``: what the thing must still be at, as it was read; None for any."""
        headers = {} if version is None else {"If-Match": f'"{version}"'}
        return self._ask("POST", PREFIX + path, json=body, headers=headers)

    def post_yaml(self, path: str, text: str, source: str) -> Any:
        headers = {"Content-Type": "application/yaml"}
        return self._ask(
            "POST", PREFIX + path, content=text.encode(), headers=headers, params={"source": source}
        )

    def delete(self, path: str) -> Any:
        return self._ask("DELETE", PREFIX + path)

    def log_out(self) -> None:
        """End every session that was opened with this token."""
        self._ask("POST", "/logout")

    def stream(self, last: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Live journal entries after ``last`` ("" for from now on), each with its id, until
        the connection ends. An empty one tells the place alone."""
        headers = {**self._auth, "Last-Event-ID": last}
        url = f"{self.url}{PREFIX}/stream"
        try:
            with httpx.stream(
                "GET", url, headers=headers, timeout=TIMEOUT_S, trust_env=False
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _failure(answer)
                yield from _events(answer.iter_lines())
        except httpx.TransportError as error:
            raise _unreachable(self.url, error) from error

    def _ask(self, method: str, path: str, **what: Any) -> Any:
        headers = {**self._auth, **what.pop("headers", {})}
        try:
            answer = httpx.request(
                method, self.url + path, headers=headers, timeout=TIMEOUT_S, trust_env=False, **what
            )
        except httpx.TransportError as error:
            raise _unreachable(self.url, error) from error
        if answer.is_error:
            raise _failure(answer)
        return answer.json() if answer.is_success else None


def _address(settings: opx_settings.Settings) -> str:
    try:
        return str(json.loads(settings.front_file.read_text())["url"])
    except (OSError, ValueError, KeyError) as error:
        raise CommandFailed(
            UNREACHABLE, f"opx does not run in {settings.data}", "start it: opx up"
        ) from error


def _token(settings: opx_settings.Settings) -> str:
    try:
        return settings.admin_token.read_text().strip()
    except OSError as error:
        raise CommandFailed(
            FAILED, f"{settings.admin_token} cannot be read", "opx up makes it on its first start"
        ) from error


def _unreachable(url: str, error: Exception) -> CommandFailed:
    return CommandFailed(UNREACHABLE, f"{url} does not answer ({error})", "start it: opx up")


def _failure(answer: httpx.Response) -> CommandFailed:
    """What a problem means for whoever typed the command."""
    try:
        problem = answer.json()
        code, detail = str(problem["code"]), str(problem["detail"])
    except (ValueError, KeyError, TypeError):
        return CommandFailed(FAILED, f"opx answered {answer.status_code}")
    hint = "" if str(problem.get("hint", "")) in detail else str(problem["hint"])
    if code in GATES:
        return CommandFailed(REFUSED, detail, hint)
    return CommandFailed(UNREACHABLE if answer.status_code == 503 else FAILED, detail, hint)


def _events(lines: Iterator[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Server-sent events: their ids and their JSON, {} where there is none."""
    id = data = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "id":
            id = value
        elif name == "data":
            data += value
        elif not line and id:
            yield id, json.loads(data or "{}")
            data = ""
