# SPDX-License-Identifier: Apache-2.0

"""Binding what is kept, good or bad, and telling all that is wrong with a text."""

from __future__ import annotations

from dataclasses import replace

import pytest

from opx import packs
from opx.app import documents
from opx.core.decide.case import STRICTEST, Policy
from opx.core.ingest.signals import Severity
from opx.engine.documents import stored
from opx.engine.ports import StoredDocument

HEAD = "apiVersion: opx/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
SERVICE = HEAD.format(kind="Service", name="orders") + "spec: {environment: shop}\n"
POLICY = HEAD.format(kind="Policy", name="default") + "spec: {ceiling: sev2}\n"
RUNBOOK = packs.texts()["restart-process.yaml"]


def kept(text: str) -> StoredDocument:
    [checked] = documents.check(text, "shop.yaml", [])
    return stored(checked, "ann", 0)


def edited(document: StoredDocument, old: str, new: str) -> StoredDocument:
    """As if somebody had changed the row by hand, or a newer opx read more strictly."""
    assert old in document.text
    return replace(document, text=document.text.replace(old, new))


def test_what_is_well_has_no_problems() -> None:
    """Every document holds."""
    known = documents.bind([kept(SERVICE), kept(POLICY), kept(RUNBOOK)])

    assert known.problems == ()
    assert (len(known.catalogue.services), len(known.runbooks)) == (1, 1)
    assert known.policy.ceiling is Severity.SEV2


@pytest.mark.parametrize(
    ("text", "old", "new", "line", "error", "means"),
    [
        (SERVICE, "shop}", "shop, colour: red}", 4, "unknown field 'colour'", "not watched"),
        (SERVICE, "shop}", "shop, target: 'http://u:p@h:1#x'}", 4, "a login", "not watched"),
        (SERVICE, "environment: shop", "environment: prod", 0, "Service/prod/orders", "not wat"),
        (SERVICE, SERVICE, SERVICE + "---\n" + SERVICE, 0, "2 documents", "not watched"),
        (SERVICE, SERVICE, "", 0, "0 documents", "not watched"),
        (SERVICE, "spec:", "spec: [", 5, "not YAML", "not watched"),
        (RUNBOOK, "uses: process.restart", "uses: process.gone", 11, "no action", "neither"),
    ],
)
def test_a_bad_document_costs_only_itself(
    text: str, old: str, new: str, line: int, error: str, means: str
) -> None:
    """It is left out and told with its line, with what is wrong, and with what that means."""
    bad = edited(kept(text), old, new)
    known = documents.bind([bad, kept(POLICY), kept(SERVICE.replace("orders", "store"))])

    [problem] = known.problems
    assert (problem.id, problem.hash, problem.line) == (bad.id, bad.hash, line)
    assert error in problem.error
    assert means in problem.means
    assert "u:p" not in problem.error
    assert set(known.catalogue.services) == {("shop", "store")}
    assert known.policy.ceiling is Severity.SEV2


def test_without_its_policy_opx_asks_before_everything() -> None:
    """A policy that cannot be read is not replaced by laxer defaults."""
    known = documents.bind([edited(kept(POLICY), "sev2", "sev9"), kept(SERVICE)])

    assert known.policy == STRICTEST
    assert known.policy.ceiling is None
    assert "nothing without asking" in known.problems[0].means
    assert documents.bind([kept(SERVICE)]).policy == Policy()


def test_every_mistake_in_a_text_is_told() -> None:
    """Each bad document is one finding with its line; the good one between them is well."""
    text = "---\n".join(
        (
            SERVICE.replace("environment", "enviroment"),
            POLICY,
            HEAD.format(kind="Servce", name="x") + "spec: {}\n",
            POLICY,
        )
    )
    checked, wrong = documents.examine(text, "a.yaml", [])

    assert [one.id for one in checked] == ["Policy/default"]
    assert [error.line for error in wrong] == [4, 12, 18]
    assert [str(error).partition(" ")[2][:24] for error in wrong] == [
        "unknown field 'enviromen",
        "there is no kind 'Servce",
        "Policy/default stands tw",
    ]


LONG = """\
apiVersion: opx/v1
kind: {kind}
metadata:
  name: {name}
spec:
  {spec}
"""


@pytest.mark.parametrize(
    ("text", "line", "error"),
    [
        (LONG.format(kind="Servce", name="x", spec="{}"), 2, "there is no kind 'Servce'"),
        (LONG.format(kind="Policy", name="x", spec="{}"), 4, "there is one policy"),
        (
            "---\n".join([LONG.format(kind="Service", name="x", spec="environment: e")] * 2),
            11,
            "Service/e/x stands twice in this text",
        ),
        (
            "---\n".join(LONG.format(kind="Mapping", name=name, spec="{}") for name in "ab"),
            9,
            "there is a Mapping already and it is named 'a'",
        ),
        (
            RUNBOOK.replace("service.target", "service.taget"),
            9,
            "there is no 'service.taget' (did you mean 'target'?)",
        ),
        (f"# ours\n{SERVICE}...\n%YAML 1.2\n---\n{POLICY}", 2, "this document cannot stand alone"),
    ],
)
def test_what_is_wrong_with_a_document_is_told_where_it_stands(
    text: str, line: int, error: str
) -> None:
    """By the line of its kind, its name, its beginning or a condition, whichever it is."""
    [wrong] = documents.examine(text, "a.yaml", [])[1]

    assert str(wrong).startswith(f"a.yaml:{line}: {error}")


def test_what_a_service_needs_must_be_there() -> None:
    """In the same text or known before, and in its own environment."""
    web = (
        HEAD.format(kind="Service", name="web") + "spec: {environment: shop, dependsOn: [orders]}\n"
    )

    for text, known, missing in (
        (web, [], 1),
        (web, [kept(SERVICE)], 0),
        (f"{web}---\n{SERVICE}", [], 0),
        (web, [kept(SERVICE.replace("shop", "prod"))], 1),
    ):
        assert len(documents.examine(text, "a.yaml", known)[1]) == missing
