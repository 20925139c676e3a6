# SPDX-License-Identifier: Apache-2.0

"""The addresses that documents may name: what a probe asks, and what an action acts on.

Beneath all stages. Whoever may read may read documents, so no login stands in one. And none
names the link itself (169.254.0.0/16, fe80::/10), where clouds hand a machine's credentials
to whoever asks from it; a name that leads there is refused when it is looked up. An error
here must never repeat what it refuses.
"""

from __future__ import annotations

import ipaddress
import re

from opx.core.base.documents import Node
from opx.core.base.reads import ProbeKind

FORMS: dict[ProbeKind, tuple[str, str]] = {
    ProbeKind.HTTP: (r"https?://[^\s/?#]+([/?][^\s#]*)?", "http://127.0.0.1:8080/health"),
    ProbeKind.TCP: (r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):[0-9]{1,5}", "127.0.0.1:5432"),
    ProbeKind.PROCESS: (r"[a-z][a-z0-9+.-]*://[^\s#]+#[^\s#]+", "http://127.0.0.1:9001#web"),
}
"""What an address of each kind looks like, and one to learn it from."""
LINK = "an address of the link itself (169.254.0.0/16, fe80::/10)"


def probe(node: Node, kind: ProbeKind) -> str:
    """The address of a probe. ``DocumentError`` when it is not one, or is one of the refused."""
    text = node.text()
    authority = re.split(r"[/?#]", text.partition("://")[2] or text, maxsplit=1)[0]
    if "@" in authority:
        raise node.wrong("a login stands in this address, where everybody can read it", _hint(kind))
    form, example = FORMS[kind]
    if not re.fullmatch(form, text):
        raise node.wrong(f"this is no address for {kind.value}", f"write it like {example}")
    if link_local(_host(authority)):
        raise node.wrong(f"this is {LINK}, which opx does not ask")
    return text


def target(node: Node) -> str:
    """The address of a program that an action may act on, as a process probe has it."""
    return probe(node, ProbeKind.PROCESS)


def link_local(host: str) -> bool:
    """Whether ``host`` is a literal address of the link itself. A name is not."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_link_local or (mapped is not None and mapped.is_link_local)


def _host(authority: str) -> str:
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def _hint(kind: ProbeKind) -> str:
    if kind is ProbeKind.PROCESS:
        return "put it into supervisors.toml in opx's data folder, or use a Unix socket"
    return "have a health check that needs none"
