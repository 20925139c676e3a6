# SPDX-License-Identifier: Apache-2.0

"""``Webhook``: a notice as one JSON POST to somebody's URL.

The last thing a notice meets. The notice's id is its ``Idempotency-Key``, so that a
receiver can tell a repeat from news. It tries once; whether that can be tried again is in
the error it raises. It follows no redirect and reads no answer beyond its status.
"""

from __future__ import annotations

import asyncio

import httpx

from opx.core.base import canonical
from opx.core.base.time import SECOND, Ms, to_wire
from opx.core.notify.notice import Notice
from opx.errors import Refused, Unavailable

TIMEOUT: Ms = 5 * SECOND
LOCAL = ("all://127.0.0.1", "all://localhost", "all://[::1]")


class Webhook:
    """``Receiver`` for ``url``. Proxies of the environment are used, but not for this machine."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._url = url
        self._client = httpx.AsyncClient(
            timeout=TIMEOUT / SECOND, mounts=dict.fromkeys(LOCAL), follow_redirects=False
        )

    async def deliver(self, notice: Notice) -> None:
        """``Unavailable``: too busy, broken, too slow or not there. ``Refused``: it said no."""
        headers = {"Idempotency-Key": notice.id, "Content-Type": "application/json"}
        body = canonical.dumps({**canonical.plain(notice), "at": to_wire(notice.at)})
        try:
            async with (
                asyncio.timeout(TIMEOUT / SECOND),
                self._client.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                status = answer.status_code
        except TimeoutError as error:
            raise Unavailable(f"{self.name} did not answer within {TIMEOUT} ms") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
            raise Refused(f"{self.name} has no valid URL: {error}") from error
        except httpx.HTTPError as error:
            raise Unavailable(f"{self.name} cannot be reached: {error}") from error
        if status == 429 or status >= 500:
            raise Unavailable(f"{self.name} answered {status}")
        if not 200 <= status < 300:
            raise Refused(f"{self.name} answered {status}")

    async def close(self) -> None:
        await self._client.aclose()
