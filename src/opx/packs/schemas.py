# SPDX-License-Identifier: Apache-2.0

"""The JSON Schema of each kind of document, for editors and for whoever writes them.

What a schema refuses opx refuses; opx also refuses what only it can know (an expression
that does not compile, an action that is not registered, a dependency that is not there).
The readers of the stages decide; a test holds the fields named here against theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opx.core.base import calendars
from opx.core.base.addresses import FORMS
from opx.core.base.calendars import Day
from opx.core.base.documents import API_VERSION, NAME
from opx.core.base.reads import ProbeKind, Stat
from opx.core.decide.case import Autonomy
from opx.core.decide.runbooks import InputType
from opx.core.detect.finding import FindingKind
from opx.core.detect.rules import BLOCKS, Signal
from opx.core.ingest import checks, mapping
from opx.core.ingest.signals import LogLevel, Severity

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _object(required: Iterable[str] = (), /, **properties: Schema) -> Schema:
    """A mapping with these fields and no other; ``_`` at the end of a name is left out."""
    return {
        "type": "object",
        "properties": {name.rstrip("_"): each for name, each in properties.items()},
        "required": list(required),
        "additionalProperties": False,
    }


def _text(pattern: str = "", most: int = 2_000) -> Schema:
    return {
        "type": "string",
        "maxLength": most,
        **({"pattern": f"^({pattern})$"} if pattern else {}),
    }


def _whole(least: int, most: int) -> Schema:
    return {"type": "integer", "minimum": least, "maximum": most}


def _list(items: Schema, least: int = 0) -> Schema:
    return {"type": "array", "items": items, "minItems": least}


def _words(words: Iterable[str]) -> Schema:
    """One of ``words``, in any case."""
    any_case = (
        "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in word) for word in words
    )
    return _text("|".join(any_case))


def _of(schema: Schema) -> Schema:
    """A mapping with any keys."""
    return {"type": "object", "additionalProperties": schema}


ANY: Schema = {}
NAMED = _text(NAME.pattern, 100)
SPAN = _text(r"[0-9]{1,16}(ms|s|m|h|d)")
TEXT = _text()
SAID = _text(r"[\s\S]*\S[\s\S]*")
NUMBER: Schema = {"type": "number"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
TRUTH: Schema = {"type": "boolean"}
SEVERITY: Schema = {
    "anyOf": [_words(each.name for each in Severity), {"enum": [int(each) for each in Severity]}]
}
ADDRESSES = {kind.value: _text(FORMS[kind][0]) for kind in ProbeKind}
ONE_QUESTION: Schema = {"oneOf": [{"required": [kind.value]} for kind in ProbeKind]}
PROBE = {**_object(timeout=SPAN, **ADDRESSES), **ONE_QUESTION}
EXPRESSION = _text()
UNDO: Schema = {"anyOf": [TEXT, _list(TEXT, 1)]}
LABELS = {
    **_list(_text(checks.NAME.pattern, checks.MAX_NAME), 1),
    "maxItems": mapping.MOST_LABELS,
    "uniqueItems": True,
}
_SERIES: dict[str, Schema] = {"metric": _text(r"\S+", 200), "labels": _of(_text(most=200))}
_SIDES: dict[str, Schema] = {"above": NUMBER, "below": NUMBER}
_ONE_SIDE: Schema = {"oneOf": [{"required": [side]} for side in _SIDES]}
_STEP: dict[str, Schema] = {
    "id": NAMED,
    "uses": TEXT,
    "with_": _of({"type": ["string", "integer", "boolean"]}),
    "timeout": SPAN,
    "retries": _whole(0, 10),
}

SPECS: dict[str, Schema] = {
    "Service": _object(
        ["environment"],
        environment=NAMED,
        owner=_text(most=200),
        health={
            **_object(
                interval=SPAN, timeout=SPAN, failures=_whole(1, 100), severity=SEVERITY, **ADDRESSES
            ),
            **ONE_QUESTION,
        },
        target=ADDRESSES[ProbeKind.PROCESS.value],
        dependsOn={**_list(NAMED), "uniqueItems": True},
        parameters=_of(_text(most=1_000)),
        limits=_of(NUMBER),
    ),
    "DetectionRule": {
        **_object(
            ["severity"],
            severity=SEVERITY,
            kind=_words(each.value for each in FindingKind),
            signal=_words(each.value for each in Signal),
            justification=SAID,
            for_=SPAN,
            threshold={
                **_object(
                    ["metric", "stat", "window"],
                    **_SERIES,
                    stat=_words(each.value for each in Stat),
                    window=SPAN,
                    **_SIDES,
                ),
                **_ONE_SIDE,
            },
            ratio={
                **_object(
                    ["part", "whole", "window", "atLeast"],
                    part=_object(["metric"], **_SERIES),
                    whole=_object(["metric"], **_SERIES),
                    window=SPAN,
                    atLeast=NUMBER,
                    **_SIDES,
                ),
                **_ONE_SIDE,
            },
            absence=_object(["metric", "after"], **_SERIES, after=SPAN),
            event=_object(
                ["type", "expires"],
                type=_text(r"\S+", 200),
                source=_text(r"\S+", 1_000),
                when=_list(EXPRESSION),
                expires=SPAN,
                clears=_object(["type"], type=_text(r"\S+", 200), when=_list(EXPRESSION)),
            ),
            logs=_object(
                ["level", "window", "above", "atLeast"],
                level={
                    "anyOf": [
                        _words(each.name for each in LogLevel),
                        {"enum": [int(each) for each in LogLevel]},
                    ]
                },
                window=SPAN,
                above={"type": "number", "minimum": 1},
                atLeast=_whole(1, 1_000_000_000),
                matches=_text(most=500),
            ),
        ),
        "oneOf": [{"required": [block]} for block in BLOCKS],
    },
    "Calendar": {
        **_object(
            zone=_text(calendars.ZONE, 100),
            weekly=_list(
                _object(
                    ["days", "from", "to"],
                    days={**_list(_words(each.value for each in Day), 1), "uniqueItems": True},
                    from_=_text(calendars.FROM),
                    to=_text(calendars.TO),
                )
            ),
            periods=_list(_object(["from", "to"], from_=TEXT, to=TEXT)),
        ),
        "anyOf": [
            {"required": [field], "properties": {field: {"minItems": 1}}}
            for field in ("weekly", "periods")
        ],
    },
    "Mapping": _object(
        environment=LABELS, service=LABELS, resource=LABELS, defaultEnvironment=NAMED
    ),
    "Policy": _object(
        ceiling=SEVERITY,
        cooldown=SPAN,
        breakerAfter=_whole(1, 100),
        approvalTtl=SPAN,
        calibratedAfter=_whole(1, 100_000),
        minPFix=SHARE,
        environments=_of(
            _object(
                ceiling=SEVERITY,
                autonomy={
                    "anyOf": [
                        _words(each.name for each in Autonomy),
                        {"enum": [int(each) for each in Autonomy]},
                    ]
                },
            )
        ),
        serviceRunsPerHour=_whole(1, 10_000),
        environmentRunsPerHour=_whole(1, 10_000),
        blastRadius=_whole(1, 100_000),
        blindness=SHARE,
        changeWindow=NAMED,
        freezes={**_list(NAMED), "uniqueItems": True},
        predictions=_object(heldBack=SHARE),
    ),
    "Runbook": _object(
        ["purpose", "when", "steps", "verify"],
        purpose=SAID,
        when=_list(TEXT, 1),
        steps=_list(_object(["id", "uses"], undo=UNDO, **_STEP), 1),
        verify=_object(
            probe=PROBE, passes=_whole(1, 100), of=_whole(1, 100), every=SPAN, within=SPAN
        ),
        inputs=_of(
            _object(
                type=_words(each.value for each in InputType),
                pattern=TEXT,
                required=TRUTH,
                default={"type": ["string", "integer", "boolean"]},
            )
        ),
        preconditions=_list(_object(["id", "probe", "expect"], id=NAMED, probe=PROBE, expect=TEXT)),
        rollback=_list(_object(["id", "uses"], **_STEP)),
        irreversible=TEXT,
    ),
}


def schema(kind: str) -> Schema:
    """The JSON Schema of a whole document of this kind. ``KeyError`` for another word."""
    spec = SPECS[kind]
    metadata = _object(["name"], name=NAMED, labels=_of(TEXT), owner=ANY, severity=ANY, tags=ANY)
    return {
        "$schema": DIALECT,
        "title": f"opx {kind}",
        **_object(
            ["apiVersion", "kind", "metadata", "spec"],
            apiVersion={"const": API_VERSION},
            kind={"const": kind},
            metadata=metadata,
            spec=spec,
        ),
    }
