# SPDX-License-Identifier: Apache-2.0

"""Reads ``Runbook`` and ``Policy`` documents, strictly.

Before the gate: what is bound here is all that can ever be proposed. A runbook must say
what it is for, how its success is verified and how it is undone or why it cannot be; a
promise that a reader could only hope for is an error here. It must never accept an action
that is not registered.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from opx.core.base import addresses
from opx.core.base.documents import NAME, Document, Node
from opx.core.base.expressions import Pattern
from opx.core.base.reads import Probe, ProbeKind
from opx.core.base.time import DAY, HOUR, MINUTE, SECOND
from opx.core.decide.actions import ActionSpec, Undo
from opx.core.decide.case import Autonomy, Limits, Policy
from opx.core.decide.proposals import FACTS
from opx.core.decide.runbooks import (
    ANSWERED,
    REFERENCE,
    Check,
    Input,
    InputType,
    Precondition,
    Runbook,
    Step,
)
from opx.core.ingest.signals import Severity
from opx.errors import ExpressionError

MOST_STEPS = 50
MOST_INPUTS = 32
_LIMITS = (
    "ceiling", "cooldown", "breakerAfter", "approvalTtl", "calibratedAfter", "minPFix",
    "environments", "serviceRunsPerHour", "environmentRunsPerHour", "blastRadius", "blindness",
    "changeWindow", "freezes", "predictions",
)  # fmt: skip
_INPUT = re.compile(r"[a-z][a-z0-9_]{0,62}")


def bind_runbook(document: Document, actions: Mapping[str, ActionSpec]) -> Runbook:
    """The runbook in ``document``. ``DocumentError`` naming file, line and, often, the fix."""
    _kind(document, "Runbook")
    spec = document.spec.fields(
        ("purpose", "when", "steps", "verify"),
        ("inputs", "preconditions", "rollback", "irreversible"),
    )
    inputs = _inputs(spec["inputs"]) if "inputs" in spec else {}
    steps = _steps(spec["steps"], inputs, actions, ("undo",))
    rollback = _steps(spec["rollback"], inputs, actions, ()) if "rollback" in spec else ()
    irreversible = spec["irreversible"].text().strip() if "irreversible" in spec else ""
    _unique(spec["steps"], [step.id for step in (*steps, *rollback)])
    _undoable(spec["steps"], steps, rollback, irreversible, actions)
    if not steps:
        raise spec["steps"].wrong("a runbook needs at least one step")
    if not spec["when"].items():
        raise spec["when"].wrong("without a condition it would be proposed for everything")
    return Runbook(
        name=document.name,
        hash=document.hash,
        purpose=_said(spec["purpose"]),
        when=tuple(node.expression(FACTS) for node in spec["when"].items()),
        inputs=inputs,
        steps=steps,
        verify=_check(spec["verify"]),
        preconditions=_preconditions(spec["preconditions"]) if "preconditions" in spec else (),
        rollback=rollback,
        irreversible=irreversible,
    )


def bind_policy(document: Document) -> Policy:
    """The policy in ``document``; what it does not mention keeps its default."""
    _kind(document, "Policy")
    spec = document.spec.fields((), _LIMITS)
    usual = Policy()
    return Policy(
        name=document.name,
        hash=document.hash,
        ceiling=spec["ceiling"].choice(Severity) if "ceiling" in spec else usual.ceiling,
        cooldown=spec["cooldown"].duration() if "cooldown" in spec else usual.cooldown,
        breaker_after=_whole(spec, "breakerAfter", 100, usual.breaker_after),
        approval_ttl=(
            spec["approvalTtl"].duration(SECOND, 7 * DAY)
            if "approvalTtl" in spec
            else usual.approval_ttl
        ),
        calibrated_after=_whole(spec, "calibratedAfter", 100_000, usual.calibrated_after),
        min_p_fix=_share(spec["minPFix"]) if "minPFix" in spec else usual.min_p_fix,
        environments=_environments(spec["environments"]) if "environments" in spec else {},
        service_runs_per_hour=_whole(
            spec, "serviceRunsPerHour", 10_000, usual.service_runs_per_hour
        ),
        environment_runs_per_hour=_whole(
            spec, "environmentRunsPerHour", 10_000, usual.environment_runs_per_hour
        ),
        blast_radius=_whole(spec, "blastRadius", 100_000, usual.blast_radius),
        blindness=_share(spec["blindness"]) if "blindness" in spec else usual.blindness,
        change_window=_name(spec["changeWindow"]) if "changeWindow" in spec else "",
        freezes=_names(spec["freezes"]) if "freezes" in spec else (),
        held_back=_held_back(spec["predictions"]) if "predictions" in spec else usual.held_back,
    )


def _held_back(node: Node) -> float:
    fields = node.fields((), ("heldBack",))
    return _share(fields["heldBack"]) if "heldBack" in fields else Policy().held_back


def _environments(node: Node) -> dict[str, Limits]:
    usual, found = Limits(), {}
    for name, entry in node.entries().items():
        if not NAME.fullmatch(name):
            raise entry.wrong(f"{name!r} is not a name for an environment")
        fields = entry.fields((), ("ceiling", "autonomy"))
        found[name] = Limits(
            ceiling=fields["ceiling"].choice(Severity) if "ceiling" in fields else usual.ceiling,
            autonomy=fields["autonomy"].choice(Autonomy)
            if "autonomy" in fields
            else usual.autonomy,
        )
    return found


def _name(node: Node) -> str:
    return node.text(NAME.pattern, 100)


def _names(node: Node) -> tuple[str, ...]:
    names = tuple(_name(entry) for entry in node.items())
    if len(set(names)) < len(names):
        raise node.wrong("one of them is named twice")
    return names


def _kind(document: Document, kind: str) -> None:
    if document.kind != kind:
        raise document.at("kind").wrong(f"a {kind} is expected here, not a {document.kind}")


def _said(node: Node) -> str:
    text = node.text().strip()
    if not text:
        raise node.wrong("say it in a few words")
    return text


def _share(node: Node) -> float:
    share = node.number()
    if not 0 <= share <= 1:
        raise node.wrong(f"{share} is not within 0 to 1")
    return share


def _whole(fields: dict[str, Node], name: str, most: int, usual: int) -> int:
    return fields[name].integer(1, most) if name in fields else usual


def _unique(node: Node, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise node.wrong(f"the id {name!r} is used twice")
        seen.add(name)


def _inputs(node: Node) -> dict[str, Input]:
    inputs, entries = {}, node.entries()
    if len(entries) > MOST_INPUTS:
        raise node.wrong(f"a runbook has at most {MOST_INPUTS} inputs", "make two of it")
    for name, entry in entries.items():
        if not _INPUT.fullmatch(name):
            raise entry.wrong(f"{name!r} is not a name for an input", "write it like_this")
        inputs[name] = _input(entry)
    return inputs


def _input(node: Node) -> Input:
    fields = node.fields((), ("type", "pattern", "required", "default"))
    kind = fields["type"].choice(InputType) if "type" in fields else InputType.STRING
    pattern = _pattern(fields["pattern"], kind) if "pattern" in fields else None
    default = None
    if "default" in fields:
        default = _default(fields["default"], kind, pattern)
    required = fields["required"].boolean() if "required" in fields else True
    text = pattern.text if pattern else ""
    return Input(type=kind, pattern=text, required=required, default=default)


def _pattern(node: Node, kind: InputType) -> Pattern | None:
    text = node.text()
    if not text:
        return None
    if kind is not InputType.STRING:
        raise node.wrong(f"only text has a pattern, this is of type {kind}")
    try:
        return Pattern(text)
    except ExpressionError as error:
        raise node.wrong(str(error)) from error


def _default(node: Node, kind: InputType, pattern: Pattern | None) -> str | int | bool:
    if kind is InputType.INTEGER:
        return node.integer(-(2**53), 2**53)
    if kind is InputType.BOOLEAN:
        return node.boolean()
    text = node.text()
    if pattern and not pattern.matches(text):
        raise node.wrong(f"{text!r} does not match {pattern.text}")
    return text


def _steps(
    node: Node,
    inputs: Mapping[str, Input],
    actions: Mapping[str, ActionSpec],
    more: tuple[str, ...],
) -> tuple[Step, ...]:
    entries = node.items()
    if len(entries) > MOST_STEPS:
        raise node.wrong(f"a runbook has at most {MOST_STEPS} steps")
    return tuple(_step(entry, inputs, actions, more) for entry in entries)


def _step(
    node: Node,
    inputs: Mapping[str, Input],
    actions: Mapping[str, ActionSpec],
    more: tuple[str, ...],
) -> Step:
    fields = node.fields(("id", "uses"), ("with", "timeout", "retries", *more))
    uses = fields["uses"].text()
    action = actions.get(uses)
    if action is None:
        known = ", ".join(sorted(actions)) or "none"
        raise fields["uses"].wrong(f"there is no action {uses!r}", f"registered: {known}")
    given = fields["with"] if "with" in fields else Node({}, node.line, node.source)
    filled = given.fields(action.required, action.optional)
    return Step(
        id=fields["id"].text(NAME.pattern, 100),
        uses=uses,
        inputs={name: _template(value, inputs) for name, value in filled.items()},
        timeout=fields["timeout"].duration(SECOND, HOUR) if "timeout" in fields else 30 * SECOND,
        retries=fields["retries"].integer(0, 10) if "retries" in fields else 0,
        undo=_undo(fields["undo"]) if "undo" in fields else (),
        blast=action.blast,
    )


def _template(node: Node, inputs: Mapping[str, Input]) -> str:
    """A step's input as text; every ``${{ }}`` in it names an input that will have a value, or
    a parameter that a service may have."""
    if isinstance(node.value, bool):
        return str(node.value).lower()
    text = str(node.value) if isinstance(node.value, int) else node.text()
    for name in [name for source, name in REFERENCE.findall(text) if source == "inputs"]:
        known = ", ".join(inputs) or "none"
        if name not in inputs:
            raise node.wrong(f"there is no input {name!r}", f"declared: {known}")
        if not inputs[name].required and inputs[name].default is None:
            raise node.wrong(f"the input {name!r} may have no value", "give it a default")
    if "${{" in REFERENCE.sub("", text):
        raise node.wrong(
            f"{text!r} is not understood", "write ${{ inputs.NAME }} or ${{ service.NAME }}"
        )
    return text


def _undo(node: Node) -> tuple[str, ...]:
    """One id, or several in a list."""
    return node.texts() if isinstance(node.value, list) else (node.text(),)


def _undoable(
    node: Node,
    steps: tuple[Step, ...],
    rollback: tuple[Step, ...],
    irreversible: str,
    actions: Mapping[str, ActionSpec],
) -> None:
    """Every step is undone by one of the rollback's, needs no undoing, or says why not."""
    undoing = {step.id for step in rollback}
    for step in steps:
        undo = actions[step.uses].undo
        for unknown in (one for one in step.undo if one not in undoing):
            raise node.wrong(f"{step.id!r} is undone by {unknown!r}, which is not in the rollback")
        if irreversible or undo is Undo.NOT_NEEDED or (step.undo and undo is Undo.ROLLBACK):
            continue
        if undo is Undo.IRREVERSIBLE:
            raise node.wrong(f"nothing undoes {step.id!r}", "say why under 'irreversible'")
        raise node.wrong(
            f"nothing undoes {step.id!r}",
            "name a rollback step under 'undo', or say why not under 'irreversible'",
        )
    for spare in sorted(undoing - {one for step in steps for one in step.undo}):
        raise node.wrong(f"the rollback step {spare!r} undoes nothing", "name it under 'undo'")


def _check(node: Node) -> Check:
    usual = Check()
    fields = node.fields((), ("probe", "passes", "of", "every", "within"))
    check = Check(
        probe=_probe(fields["probe"]) if "probe" in fields else None,
        passes=_whole(fields, "passes", 100, usual.passes),
        of=_whole(fields, "of", 100, usual.of),
        every=fields["every"].duration(50, HOUR) if "every" in fields else usual.every,
        within=fields["within"].duration(SECOND, DAY) if "within" in fields else usual.within,
    )
    if check.passes > check.of:
        raise node.wrong(f"{check.passes} of {check.of} can never pass")
    if (check.of - 1) * check.every > check.within:
        raise node.wrong(f"{check.of} answers do not fit into the time", "raise 'within'")
    return check


def _preconditions(node: Node) -> tuple[Precondition, ...]:
    found = []
    for entry in node.items():
        fields = entry.fields(("id", "probe", "expect"))
        found.append(
            Precondition(
                id=fields["id"].text(NAME.pattern, 100),
                probe=_probe(fields["probe"]),
                expect=fields["expect"].expression(ANSWERED),
            )
        )
    _unique(node, [precondition.id for precondition in found])
    return tuple(found)


def _probe(node: Node) -> Probe:
    kinds = tuple(kind.value for kind in ProbeKind)
    fields = node.fields((), (*kinds, "timeout"))
    named = [kind for kind in ProbeKind if kind.value in fields]
    if len(named) != 1:
        raise node.wrong("a probe asks exactly one thing", f"one of {', '.join(kinds)}")
    kind = named[0]
    return Probe(
        kind=kind,
        address=addresses.probe(fields[kind.value], kind),
        timeout=fields["timeout"].duration(10, MINUTE) if "timeout" in fields else SECOND,
    )
