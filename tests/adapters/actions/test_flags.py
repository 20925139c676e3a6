# SPDX-License-Identifier: Apache-2.0

"""``flag.set`` on real files: just one value changes, and only to one of its kind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opx.adapters.actions import flags
from opx.engine.ports import Action, EffectKnown
from opx.errors import BadInput, NotFound, OpxError, Refused, TooLarge, Unavailable

YES, NO, UNKNOWN = EffectKnown.YES, EffectKnown.NO, EffectKnown.UNKNOWN
TEXT = '{"new_cart" : true,\n\t"share":0.10, "theme": "blue", "nested": {"share": 1.0e400}}\n'


@pytest.fixture
def path(place: Path) -> Path:
    (place / "flags.json").write_text(TEXT)
    return place / "flags.json"


@pytest.fixture
def set_flag(action: Callable[[str], Action]) -> Action:
    return action("flag.set")


def asked(path: Path, flag: str, value: str) -> dict[str, str]:
    return {"path": str(path), "flag": flag, "value": value}


def apply(action: Action, inputs: dict[str, str]) -> str:
    return asyncio.run(action.apply("a target", inputs, "order-1"))


def look(action: Action, inputs: dict[str, str]) -> dict[str, str]:
    return asyncio.run(action.observe("a target", inputs))


@pytest.mark.parametrize(
    ("flag", "value", "was", "written"),
    [
        ("new_cart", "false", "true", "false"),
        ("share", "1", "0.10", "1"),
        ("theme", '"r\\u00f6t"', '"blue"', '"r\\u00f6t"'),
    ],
)
def test_one_value_changes_and_nothing_else(
    set_flag: Action, path: Path, flag: str, value: str, was: str, written: str
) -> None:
    """Every other byte of the file stays; setting the former value undoes it."""
    inputs = asked(path, flag, value)
    before = look(set_flag, inputs)
    assert set_flag.happened(before, look(set_flag, inputs)) is NO

    apply(set_flag, inputs)

    assert path.read_text() == TEXT.replace(was, written, 1)
    assert set_flag.happened(before, look(set_flag, inputs)) is YES
    apply(set_flag, asked(path, flag, was))
    assert json.loads(path.read_text()) == json.loads(TEXT)


def test_the_timeline_says_both_values(set_flag: Action, path: Path) -> None:
    """From what to what; of a text that looks like a secret only a hash."""
    line = apply(set_flag, asked(path, "new_cart", "false"))
    assert line == f"'new_cart' in {path}: true -> false"

    path.write_text('{"api_token": "tiger"}')
    line = apply(set_flag, asked(path, "api_token", '"lion"'))
    assert "tiger" not in line
    assert "lion" not in line
    assert "lion" not in str(look(set_flag, asked(path, "api_token", '"bear"')))


def test_a_third_value_is_unknown(set_flag: Action, path: Path) -> None:
    """Neither what it was nor what was wanted."""
    inputs = asked(path, "share", "0.5")
    before = look(set_flag, inputs)
    path.write_text(TEXT.replace("0.10", "0.7"))
    assert set_flag.happened(before, look(set_flag, inputs)) is UNKNOWN


@pytest.mark.parametrize(
    ("flag", "value", "error"),
    [
        ("new_cart", "true", Refused),
        ("share", "0.1", Refused),
        ("new_cart", "1", Refused),
        ("new_cart", '"true"', Refused),
        ("theme", "true", Refused),
        ("nested", "true", Refused),
        ("nowhere", "true", NotFound),
        ("new_cart", "yes", BadInput),
        ("new_cart", "", BadInput),
        ("new_cart", "null", BadInput),
        ("new_cart", "{}", BadInput),
        ("share", "NaN", BadInput),
        ("share", "1e999", BadInput),
        ("share", "9" * 5_000, BadInput),
        ("theme", '"' + "x" * 1_000 + '"', BadInput),
        ("theme", "[" * 900, BadInput),
    ],
)
def test_what_is_not_a_change_of_a_flag_is_refused(
    set_flag: Action, path: Path, flag: str, value: str, error: type[OpxError]
) -> None:
    """Another kind of value, no JSON, a flag that is not there, or what it is already."""
    with pytest.raises(error):
        apply(set_flag, asked(path, flag, value))
    assert path.read_text() == TEXT


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", Refused),
        (b"[true]", Refused),
        (b'{"a": true', Refused),
        (b'{"a": true}}', Refused),
        (b'{"a": true, }', Refused),
        (b'{"a": true, "a": true}', Refused),
        (b"{a: true}", Refused),
        (b'{"a": NaN}', Refused),
        (b"\xef\xbb\xbf{}", Refused),
        (b'{"a": "\xff"}', Refused),
        (b'{"a": ' + b"[" * 100_000, Refused),
        (b'{"a": ' + b"9" * 10_000 + b"}", Refused),
        (b"{}", NotFound),
        (b'{"a": "' + b"x" * 1_048_576 + b'"}', TooLarge),
    ],
)
def test_files_that_are_no_flags(
    set_flag: Action, path: Path, content: bytes, error: type[OpxError]
) -> None:
    """Nothing is written into a file that is not one object of flags, whatever is in it."""
    path.write_bytes(content)
    with pytest.raises(error):
        apply(set_flag, asked(path, "a", "false"))
    with pytest.raises(Unavailable):
        look(set_flag, asked(path, "a", "false"))
    assert path.read_bytes() == content


NAMES = st.text(max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, VALUES, max_size=5), st.sampled_from([None, 1, "\t"]))
def test_places_are_found_in_any_object(content: dict[str, object], indent: int | None) -> None:
    """Each value is found where it stands, however the file is laid out."""
    text = json.dumps(content, indent=indent)
    if "Infinity" in text:
        return
    found = flags._flags(text)
    assert {name: value for name, (value, _, _) in found.items()} == content
    assert all(json.loads(text[start:end]) == value for value, start, end in found.values())


def test_the_mode_stays_and_no_link_is_followed(set_flag: Action, path: Path, place: Path) -> None:
    """It is written like a restored file."""
    path.chmod(0o640)
    apply(set_flag, asked(path, "new_cart", "false"))
    assert path.stat().st_mode & 0o777 == 0o640
    (place / "link.json").symlink_to(path)
    with pytest.raises(Refused):
        apply(set_flag, asked(place / "link.json", "new_cart", "true"))
    with pytest.raises(Refused):
        apply(set_flag, asked(place / "opx" / "sign.key", "new_cart", "true"))
    with pytest.raises(NotFound):
        apply(set_flag, asked(place / "missing.json", "new_cart", "true"))


def test_many_at_once_lose_nothing(set_flag: Action, path: Path) -> None:
    """Several flags of one file, set at the same time, are all set."""
    names = [f"flag_{number}" for number in range(12)]
    path.write_text(json.dumps(dict.fromkeys(names, False)))

    async def all_of_them() -> None:
        tries = (set_flag.apply("a target", asked(path, name, "true"), "k") for name in names)
        await asyncio.gather(*tries)

    asyncio.run(all_of_them())
    assert json.loads(path.read_text()) == dict.fromkeys(names, True)
