# SPDX-License-Identifier: Apache-2.0

"""The few pages for browsers: status, login, logout.

The status page is plain HTML without scripts; everything in it is escaped, because names
and texts come from other systems.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    RedirectResponse,
)

from opx.api import access
from opx.api.errors import POLICY
from opx.api.front import Front
from opx.api.routes.health import processes
from opx.api.wire import Reader, TheFront, answer, timed
from opx.core.base.time import SECOND
from opx.core.decide.roles import Permission
from opx.engine import queries
from opx.engine.access import NOBODY, SESSION_TTL
from opx.engine.people import Ask
from opx.errors import NotLoggedIn

router = APIRouter(tags=["pages"])

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;"
    "color:#1b1f24}table{border-collapse:collapse;width:100%;margin:.5rem 0 2rem}"
    "th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #dde1e6}"
    ".bad{color:#b3261e;font-weight:600}.good{color:#1a7f37;font-weight:600}"
    "@media(prefers-color-scheme:dark){body{background:#14171a;color:#e3e6ea}}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
PAGE_HEADERS = {"Content-Security-Policy": f"{POLICY}; style-src 'sha256-{_STYLE_HASH}'"}
INCIDENTS = ("Id", "Severity", "Service", "Title", "Since", "What opx does")
SILENCES = ("Environment", "Service", "Rule", "Reason", "By", "Until")


@router.get("/login", status_code=303, response_class=RedirectResponse)
async def login(
    request: Request, front: TheFront, code: Annotated[str, Query(max_length=100)]
) -> RedirectResponse:
    """Trade a one-time code for a session, and go to the status page."""
    try:
        session = await front.access.redeem(code)
    except NotLoggedIn as error:
        await front.refusals.add(NOBODY, "login", request.url.path, str(error))
        raise
    return _home(request, front, session, SESSION_TTL // SECOND)


@router.post("/logout", status_code=303, response_class=RedirectResponse)
async def logout(request: Request, front: TheFront, by: Reader) -> RedirectResponse:
    """End this session; asked with a token, every session that was opened with it."""
    await front.people.log_out(Ask(by=by))
    return _home(request, front, "", 0)


def _home(request: Request, front: Front, session: str, max_age: int) -> RedirectResponse:
    """To the status page, with this session in a cookie that scripts and other sites lack."""
    response = RedirectResponse("/", 303)
    response.set_cookie(
        access.COOKIE,
        session,
        max_age=max_age,
        httponly=True,
        samesite="strict",
        secure=front.behind_proxy or request.url.scheme == "https",
    )
    return response


@router.get("/api/v1/status")
async def status(front: TheFront, by: Reader) -> JSONResponse:
    """opx at a glance."""
    return answer(await _status(front))


async def _status(front: Front) -> dict[str, Any]:
    knowledge, now = await front.knowledge(), front.clock.now()
    seen = await front.store.read(lambda tx: queries.status(tx, knowledge, now))
    return {**seen, **await processes(front)}


@router.get(
    "/",
    response_class=HTMLResponse,
    responses={401: {"description": "Not logged in", "content": {"text/html": {}}}},
)
async def page(request: Request, front: TheFront) -> HTMLResponse:
    """The status page; without a login, how to get one."""
    try:
        access.authorise(request, Permission.READ)
    except NotLoggedIn:
        hint = "<p>Run <code>opx login</code> on its machine and open the link it prints.</p>"
        return _html("opx: not logged in", hint, 401)
    seen = timed(await _status(front))
    return _html("opx", _body(seen))


def _body(seen: dict[str, Any]) -> str:
    tone = "good" if seen["automation"] == "running" else "bad"
    states = {"alive": "good", "dead": "bad"}
    processes = " ".join(
        f'<span class="{states[state]}">{escape(name)} {escape(state)}</span>'
        for name, state in seen["processes"].items()
    )
    mode = f'<span class="{tone}">{escape(seen["automation"])}</span>'
    services = [[row["name"], row["environment"], row["state"]] for row in seen["services"]]
    opened = [
        [
            row["id"][:8],
            f"SEV{row['severity']}",
            row["group"]["service"],
            row["title"],
            row["opened_at"],
            row["doing"],
        ]
        for row in seen["incidents"]
    ]
    asks = [
        [row["id"][:8], (row["proposal"] or {}).get("runbook", ""), row["expires_at"]]
        for row in seen["approvals"]
    ]
    quiet = [
        [row["environment"], row["service"], row["rule"], row["reason"], row["by"], row["ends_at"]]
        for row in seen["silences"]
    ]
    return (
        f"<p>Automation is {mode}. {processes}</p>"
        f"<h2>Incidents</h2>{_table(INCIDENTS, opened)}{_expected(seen['predictions'])}"
        f"<h2>Waiting for approval</h2>{_table(('Run', 'Runbook', 'Until'), asks)}"
        f"<h2>Silences</h2>{_table(SILENCES, quiet)}"
        f"<h2>Services</h2>{_table(('Service', 'Environment', 'State'), services)}"
        '<form method="post" action="/logout"><button>Log out</button></form>'
    )


def _expected(rows: list[dict[str, Any]]) -> str:
    """The open predictions in one line, if there are any."""
    said = [
        f"{row['identity']['environment']}/{row['identity']['service']} ({row['kind']},"
        f" {row['probability']:.0%}, until {row['expires_at']})"
        for row in rows
    ]
    return f"<p>Expected to fail: {escape('; '.join(said))}.</p>" if said else ""


def _table(heads: tuple[str, ...], rows: list[list[str]]) -> str:
    if not rows:
        return "<p>None.</p>"
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _html(title: str, body: str, status: int = 200) -> HTMLResponse:
    whole = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="refresh" content="5">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return HTMLResponse(whole, status, PAGE_HEADERS)
