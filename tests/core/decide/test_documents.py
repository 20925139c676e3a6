# SPDX-License-Identifier: Apache-2.0

"""Runbook and Policy documents: what is read, and every error that is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from opx.core.base.documents import Document
from opx.core.base.reads import Probe, ProbeKind
from opx.core.decide.actions import ActionSpec, Blast, Undo
from opx.core.decide.case import Policy
from opx.core.decide.documents import bind_policy, bind_runbook
from opx.core.decide.runbooks import Check, Input, InputType, Step
from opx.core.ingest.signals import Severity
from opx.errors import DocumentError

Read = Callable[[dict[str, Any]], Document]


def spec(name: str, undo: Undo, **inputs: tuple[str, ...]) -> ActionSpec:
    return ActionSpec(name=name, undo=undo, blast=Blast.SERVICE, **inputs)


ACTIONS = {
    one.name: one
    for one in (
        spec("process.restart", Undo.NOT_NEEDED, optional=("grace",)),
        spec("queue.drain", Undo.ROLLBACK, required=("queue",)),
        spec("queue.fill", Undo.NOT_NEEDED, required=("queue",)),
        spec("queue.purge", Undo.IRREVERSIBLE),
    )
}
RESTART = {"id": "restart", "uses": "process.restart"}
DRAIN = {"id": "drain", "uses": "queue.drain", "with": {"queue": "${{ inputs.queue }}"}}
FILL = {"id": "fill", "uses": "queue.fill", "with": {"queue": "q-${{inputs.queue}}"}}
SPEC = {
    "purpose": "Bring it back",
    "when": ["insight.type == 'process_down'"],
    "steps": [RESTART],
    "verify": {},
}
FULL = {
    "purpose": "Drain, restart and fill again",
    "when": ["insight.risk > 50", "service.target != ''"],
    "inputs": {
        "queue": {"pattern": "[a-z]+", "default": "jobs"},
        "grace": {"type": "integer", "required": False, "default": 5},
    },
    "preconditions": [{"id": "store-up", "probe": {"tcp": "127.0.0.1:5432"}, "expect": "ok"}],
    "steps": [
        {**DRAIN, "undo": "fill", "timeout": "1m"},
        {**RESTART, "with": {"grace": 3}, "timeout": "20s", "retries": 1},
    ],
    "rollback": [FILL],
    "verify": {
        "probe": {"http": "http://127.0.0.1:9101/deep", "timeout": "2s"},
        "passes": 2,
        "of": 3,
        "every": "1s",
        "within": "10s",
    },
}


def runbook(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "opx/v1",
        "kind": "Runbook",
        "metadata": {"name": "repair"},
        "spec": spec,
    }


def policy(spec: dict[str, Any]) -> dict[str, Any]:
    return {**runbook(spec), "kind": "Policy"}


def test_a_whole_runbook(document: Read) -> None:
    """Every field of the document arrives in the runbook, in our units."""
    read = document(runbook(FULL))
    book = bind_runbook(read, ACTIONS)
    assert (book.name, book.hash, book.purpose) == (
        "repair",
        read.hash,
        "Drain, restart and fill again",
    )
    assert [when.text for when in book.when] == ["insight.risk > 50", "service.target != ''"]
    assert book.inputs == {
        "queue": Input(type=InputType.STRING, pattern="[a-z]+", default="jobs"),
        "grace": Input(type=InputType.INTEGER, required=False, default=5),
    }
    assert book.steps == (
        Step(
            id="drain",
            uses="queue.drain",
            inputs={"queue": "${{ inputs.queue }}"},
            timeout=60_000,
            undo=("fill",),
            blast=Blast.SERVICE,
        ),
        Step(
            id="restart",
            uses="process.restart",
            inputs={"grace": "3"},
            timeout=20_000,
            retries=1,
            blast=Blast.SERVICE,
        ),
    )
    assert book.rollback == (
        Step(
            id="fill",
            uses="queue.fill",
            inputs={"queue": "q-${{inputs.queue}}"},
            blast=Blast.SERVICE,
        ),
    )
    deep = Probe(kind=ProbeKind.HTTP, address="http://127.0.0.1:9101/deep", timeout=2_000)
    assert book.verify == Check(probe=deep, passes=2, of=3, every=1_000, within=10_000)
    (wanted,) = book.preconditions
    assert (wanted.id, wanted.expect.text) == ("store-up", "ok")
    assert wanted.probe == Probe(kind=ProbeKind.TCP, address="127.0.0.1:5432")


def test_the_smallest_runbook(document: Read) -> None:
    """A restart needs no undo; an empty ``verify`` is three of three of the health probe."""
    book = bind_runbook(document(runbook(SPEC)), ACTIONS)
    assert book.verify == Check(probe=None, passes=3, of=3, every=500, within=60_000)
    assert (book.rollback, book.preconditions, book.irreversible) == ((), (), "")
    assert book.steps == (
        Step(id="restart", uses="process.restart", timeout=30_000, blast=Blast.SERVICE),
    )


def test_a_reason_covers_what_cannot_be_undone(document: Read) -> None:
    """An irreversible action is accepted with a reason."""
    purge = {"id": "purge", "uses": "queue.purge"}
    book = bind_runbook(
        document(runbook({**SPEC, "steps": [purge], "irreversible": "stale jobs only"})), ACTIONS
    )
    assert book.irreversible == "stale jobs only"


def but(path: str, value: Any) -> dict[str, Any]:
    """The full spec with one place changed; ``None`` takes the field away."""
    spec: Any = copy.deepcopy(FULL)
    *outer, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    inner = spec
    for part in outer:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    result: dict[str, Any] = spec
    return result


ERRORS = [
    ("purpose", None, "the field 'purpose' is missing"),
    ("purpose", "  ", "say it in a few words"),
    ("verify", None, "the field 'verify' is missing"),
    ("when", [], "without a condition"),
    ("when", ["insight.type =="], "is not a CEL expression"),
    ("when", ["1 + 1"], "is not a yes or no but 2"),
    ("when", ["insight.risk > 50", "insight.typ == 'x'"], "(did you mean 'type'?)"),
    ("when", ["service.parameters.x == ''"], "(known: name, environment, target, owner)"),
    ("when", ["incident.severity"], "is not a yes or no"),
    ("when", ["event.data.x == 1"], "there is no 'event' (known: insight, incident, service)"),
    ("steps", [], "undoes nothing"),
    ("steps", [RESTART] * 51, "at most 50 steps"),
    ("stepz", [], "did you mean 'steps'?"),
    ("steps.1.uses", "process.restrat", "registered: process.restart, queue.drain"),
    ("steps.1.with", {"grase": 3}, "did you mean 'grace'?"),
    ("steps.0.with", {}, "the field 'queue' is missing"),
    ("steps.0.with", {"queue": "${{ inputs.qeue }}"}, "there is no input 'qeue'"),
    ("steps.0.with", {"queue": "${{ incident.title }}"}, "write ${{ inputs.NAME }}"),
    ("steps.0.with", {"queue": "${{ inputs.queue"}, "write ${{ inputs.NAME }}"),
    ("steps.0.with", {"queue": ["a"]}, "text is expected"),
    ("steps.1.id", "drain", "the id 'drain' is used twice"),
    ("steps.1.id", "fill", "the id 'fill' is used twice"),
    ("steps.1.id", "Re Start", "does not match"),
    ("steps.0.undo", "refill", "not in the rollback"),
    ("steps.0.undo", None, "nothing undoes 'drain'"),
    ("steps.1.undo", 7, "text is expected"),
    ("steps.0.undo", ["fill", "refill"], "undone by 'refill', which is not in the rollback"),
    ("steps.1.timeout", "2h", "is not within"),
    ("steps.1.retries", 11, "is not within 0 to 10"),
    ("rollback.0.undo", "drain", "unknown field 'undo'"),
    ("rollback", None, "not in the rollback"),
    ("inputs.queue.default", None, "NOT AN ERROR"),
    ("inputs.queue.default", "Jobs", "does not match"),
    ("inputs.queue.pattern", "[", "is not a regular expression"),
    ("inputs.queue.pattern", "x" * 201, "at most 200 characters"),
    ("inputs.grace.pattern", "x", "only text has a pattern"),
    ("inputs", {f"i{n}": {"required": False} for n in range(33)}, "at most 32 inputs"),
    ("inputs.grace.default", "five", "a whole number is expected"),
    ("inputs.grace.type", "float", "one of string, integer, boolean"),
    ("inputs.Grace", {}, "write it like_this"),
    ("inputs.queue", {"required": False}, "give it a default"),
    ("verify.passes", 4, "4 of 3 can never pass"),
    ("verify.passes", 0, "is not within 1 to 100"),
    ("verify.within", "1s", "3 answers do not fit"),
    ("verify.probe", {}, "a probe asks exactly one thing"),
    ("verify.probe", {"http": "http://a", "tcp": "a:1"}, "a probe asks exactly one thing"),
    ("preconditions.0.expect", None, "the field 'expect' is missing"),
    ("preconditions.0.expect", "latency < 5.0", "there is no 'latency'"),
    ("preconditions.0.expect", "latency_ms", "is not a yes or no but 1.0"),
    ("preconditions.0.expect", "insight.risk > 5", "(known: ok, latency_ms)"),
    ("preconditions.0.probe", {"icmp": "a"}, "unknown field 'icmp'"),
    ("irreversible", True, "text is expected"),
]


@pytest.mark.parametrize(("path", "value", "message"), ERRORS)
def test_errors(document: Read, path: str, value: Any, message: str) -> None:
    """Each mistake is refused with the file, a line and what to do about it."""
    read = document(runbook(but(path, value)))
    if message == "NOT AN ERROR":
        assert bind_runbook(read, ACTIONS).inputs["queue"].default is None
        return
    with pytest.raises(DocumentError) as caught:
        bind_runbook(read, ACTIONS)
    assert message in str(caught.value)
    assert caught.value.source == "book.yaml"
    assert caught.value.line > 0


def test_a_runbook_without_steps(document: Read) -> None:
    """A runbook that does nothing is refused."""
    with pytest.raises(DocumentError, match="at least one step"):
        bind_runbook(document(runbook({**SPEC, "steps": []})), ACTIONS)


def test_two_preconditions_of_one_name(document: Read) -> None:
    """Answers are told apart by the precondition's id, so it is unique."""
    wanted = {"id": "up", "probe": {"tcp": "127.0.0.1:1"}, "expect": "ok"}
    with pytest.raises(DocumentError, match="'up' is used twice"):
        bind_runbook(document(runbook({**SPEC, "preconditions": [wanted, wanted]})), ACTIONS)


def test_irreversible_without_a_reason(document: Read) -> None:
    """An irreversible action needs the reason, and blanks are none."""
    purge = [{"id": "purge", "uses": "queue.purge"}]
    for reason in ({}, {"irreversible": " "}):
        with pytest.raises(DocumentError, match="say why under 'irreversible'"):
            bind_runbook(document(runbook({**SPEC, "steps": purge, **reason})), ACTIONS)


def test_a_rollback_does_not_undo_the_irreversible(document: Read) -> None:
    """Naming a rollback step is no excuse where the action says that nothing undoes it."""
    steps = [{"id": "purge", "uses": "queue.purge", "undo": "fill"}]
    rollback = [{"id": "fill", "uses": "queue.fill", "with": {"queue": "jobs"}}]
    with pytest.raises(DocumentError, match="nothing undoes 'purge'"):
        bind_runbook(document(runbook({**SPEC, "steps": steps, "rollback": rollback})), ACTIONS)


def test_truth_values_become_text(document: Read) -> None:
    """An action's inputs are text; true and 3 are written as in YAML."""
    steps = [{**RESTART, "with": {"grace": True}}]
    book = bind_runbook(document(runbook({**SPEC, "steps": steps})), ACTIONS)
    assert book.steps[0].inputs == {"grace": "true"}


def test_a_policy(document: Read) -> None:
    """Every limit of the gate can be set."""
    read = document(
        policy(
            {
                "ceiling": "sev2",
                "cooldown": "30s",
                "breakerAfter": 5,
                "approvalTtl": "1h",
                "calibratedAfter": 10,
                "minPFix": 0.5,
                "predictions": {"heldBack": 0.2},
            }
        )
    )
    assert bind_policy(read) == Policy(
        name="repair",
        hash=read.hash,
        ceiling=Severity.SEV2,
        cooldown=30_000,
        breaker_after=5,
        approval_ttl=3_600_000,
        calibrated_after=10,
        min_p_fix=0.5,
        held_back=0.2,
    )


def test_an_empty_policy_is_the_default(document: Read) -> None:
    """What a policy does not mention stays as it was."""
    read = document(policy({}))
    assert bind_policy(read) == Policy(name="repair", hash=read.hash)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("ceiling", "sev9"),
        ("cooldown", "soon"),
        ("cooldown", "0s"),
        ("breakerAfter", 0),
        ("breakerAfter", True),
        ("approvalTtl", "8d"),
        ("calibratedAfter", 0),
        ("minPFix", 1.1),
        ("minPFix", -0.1),
        ("minPfix", 0.5),
        ("predictions", {"heldBack": 1.1}),
        ("predictions", {"heldback": 0.1}),
    ],
)
def test_a_policy_out_of_range(document: Read, field: str, value: object) -> None:
    """A limit outside its range, or an unknown one, is refused."""
    with pytest.raises(DocumentError):
        bind_policy(document(policy({field: value})))


def test_the_kind_must_match(document: Read) -> None:
    """A document of another kind is not read as if it were this one."""
    with pytest.raises(DocumentError, match="a Policy is expected here, not a Runbook"):
        bind_policy(document(runbook(SPEC)))
    with pytest.raises(DocumentError, match="a Runbook is expected here, not a Policy"):
        bind_runbook(document(policy({})), ACTIONS)
