# SPDX-License-Identifier: Apache-2.0

"""YAML into documents that know their lines."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from opx.adapters.wires import documents
from opx.adapters.wires.documents import MAX_BYTES, parse_yaml
from opx.core.base.documents import Document, Node
from opx.errors import DocumentError

HEAD = "apiVersion: opx/v1\nkind: Service\nmetadata: {name: orders}\n"


def spec(text: str) -> Node:
    [document] = parse_yaml(HEAD + "spec:\n" + text, "a.yaml")
    return document.spec


def refused(text: str) -> str:
    with pytest.raises(DocumentError) as caught:
        parse_yaml(text, "a.yaml")
    return str(caught.value)


def test_several_documents_in_one_file() -> None:
    """Each document has its own line; empty ones are left out."""
    found = parse_yaml(
        "---\n" + HEAD + "spec: {}\n---\n# nothing\n---\n" + HEAD + "spec: {}\n", "f"
    )

    assert [(d.kind, d.name, d.source, d.line) for d in found] == [
        ("Service", "orders", "f", 2),
        ("Service", "orders", "f", 9),
    ]
    assert parse_yaml("", "f") == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-12", -12),
        ("012", 12),
        ("0x1f", 31),
        ("1.5", 1.5),
        ("2e3", 2000.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("yes", "yes"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("250ms", "250ms"),
        ("'1'", "1"),
        ('"true"', "true"),
        ("|\n   two\n   lines\n", "two\nlines\n"),
    ],
)
def test_scalars_mean_what_they_look_like(text: str, value: object) -> None:
    """YAML 1.2's core schema: no yes-is-true, no minutes, no dates."""
    found = spec(f"  key: {text}").entries()["key"].value

    assert found == value
    assert type(found) is type(value)


def test_a_value_stands_where_its_key_does() -> None:
    """Lines are those of the key, or of the item in a list."""
    entries = spec("  a: 1\n  b:\n    - x\n    - y\n  c:\n    d: 1\n").entries()

    assert entries["a"].line == 5
    assert entries["b"].line == 6
    assert [item.line for item in entries["b"].items()] == [7, 8]
    assert entries["c"].line == 9
    assert entries["c"].entries()["d"].line == 10


def test_layout_does_not_change_the_hash() -> None:
    """Block or flow, quoted or not: the same content is the same document."""
    [one] = parse_yaml(HEAD + "spec: {a: x, b: [1, 2]}", "f")
    [other] = parse_yaml(HEAD + "spec:\n  b:\n  - 1\n  - 2\n  a: 'x'\n", "g")

    assert one.hash == other.hash


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3", "a.yaml:3: the key 'a' is already there (first in line 1)"),
        ("a: 1\n1: 2", "a.yaml:2: a key must be text (put it in quotes)"),
        ("? [a]\n: 1", "a.yaml:1: a key must be text (put it in quotes)"),
        ("<<: {a: 1}", "a.yaml:1: a key must be text (put it in quotes)"),
        ("a: &x 1", "a.yaml:1: anchors and aliases are not read (write the value out)"),
        ("a: 1\nb: *x", "a.yaml:2: anchors and aliases are not read (write the value out)"),
        ("a: !!python/object:os.system x", "a.yaml:1: tags such as tag:yaml.org,2002:python/"),
        ("a: !!int '1'", "a.yaml:1: tags such as tag:yaml.org,2002:int are not read"),
        ("a:\n  b: .inf", "a.yaml:2: '.inf' is not a finite number"),
        ("a: .nan", "a.yaml:1: '.nan' is not a finite number"),
        ("a: 1e999", "a.yaml:1: '1e999' is not a finite number"),
        ("a: [1", "a.yaml:2: not YAML"),
        ("a: 'x", "a.yaml:1: not YAML"),
        ("a:\n\tb: 1", "a.yaml:2: not YAML"),
        ("a: \x00", "a.yaml:1: not YAML"),
        ("a: \ud800", "a.yaml:1: not YAML"),
        ("[" * 40, "a.yaml:1: nested deeper than 32"),
        ("- " * 40 + "x", "a.yaml:1: nested deeper than 32"),
        ("x" * (MAX_BYTES + 1), "a.yaml:1: more than 262144 bytes"),
        ("just text", "a.yaml:1: a mapping is expected here"),
        (HEAD, "a.yaml:1: the field 'spec' is missing"),
    ],
)
def test_what_is_refused(text: str, says: str) -> None:
    """Every mistake is told with file and line, and what YAML can hide is not read at all."""
    assert refused(text).startswith(says)


def test_a_bomb_of_aliases_does_not_go_off() -> None:
    """References that would double at every line end at the first."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]

    assert refused("\n".join(lines)).startswith("a.yaml:1: anchors")


def test_a_number_too_long_is_text_no_longer() -> None:
    """Digits beyond 18 are read as a float or refused, never as a giant integer."""
    assert spec("  n: " + "9" * 18).entries()["n"].value == int("9" * 18)
    assert spec("  n: " + "9" * 30).entries()["n"].value == float("9" * 30)
    assert "finite" in refused("n: " + "9" * 5_000)


FRAGMENTS = st.sampled_from(
    [
        "a", "b", ": ", "\n", "  ", "- ", "[", "]", "{", "}", ",", "'", '"', "|", ">", "&x ", "*x",
        "!!str ", "!", "? ", "<<", "---\n", "...", "%YAML 1.2\n", "#", "\t", "~", "1", "0x", ".nan",
        "\\u0000", "\ufeff", "\x85", "\u2028", "apiVersion: opx/v1\n", "kind: Policy\n",
        "metadata: {name: x}\n", "spec: {}\n", "9" * 400,
    ]
)  # fmt: skip


@given(st.lists(FRAGMENTS, max_size=40).map("".join) | st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever the text: documents or a DocumentError with the file's name, nothing else."""
    try:
        found = parse_yaml(text, "a.yaml")
    except DocumentError as error:
        place = (error.source, error.line >= 1)
    else:
        place = ("a.yaml", all(isinstance(document, Document) for document in found))

    assert place == ("a.yaml", True)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abc :#-'\"\n[]{}~é", max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text("abcdef", min_size=1, max_size=4), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("xyz", min_size=1, max_size=3), PLAIN, max_size=4))
def test_what_another_writer_wrote_is_read_back(value: dict[str, object]) -> None:
    """Plain values written by a YAML emitter come back as they were."""
    whole = {"apiVersion": "opx/v1", "kind": "X", "metadata": {"name": "x"}, "spec": value}
    [document] = documents.parse_yaml(yaml.safe_dump(whole, allow_unicode=True), "f")

    assert same(document.spec.plain(), value)


def same(one: object, other: object) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other
