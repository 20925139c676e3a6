# SPDX-License-Identifier: Apache-2.0

"""How a service is named on the command line: ``shop/orders``, or ``orders`` alone."""

from __future__ import annotations

from opx.cli.client import FAILED, Client, CommandFailed


def split(text: str) -> tuple[str, str]:
    """Environment and service; the environment is empty where ``text`` names none."""
    first, slash, rest = text.partition("/")
    return (first, rest) if slash else ("", text)


def place(client: Client, text: str) -> tuple[str, str]:
    """The one environment and service that ``text`` can mean. ``CommandFailed`` when it names no
    environment and opx was taught no service of that name, or several."""
    environment, service = split(text)
    if environment or not service:
        return environment, service
    ids = [one["id"] for one in client.get("/documents")["items"] if one["kind"] == "Service"]
    known = [id.removeprefix("Service/") for id in ids]
    fit = [id for id in known if split(id)[1] == service]
    if len(fit) != 1:
        what = f"which {service} is it" if fit else f"there is no service {service!r}"
        raise CommandFailed(FAILED, what, f"known are {', '.join(fit or known) or 'none'}")
    return split(fit[0])
