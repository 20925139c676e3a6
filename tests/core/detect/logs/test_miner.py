# SPDX-License-Identifier: Apache-2.0

"""The miner: ids at once, that never change and do not depend on how lines are cut."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from opx.core.detect.logs import miner as mining
from opx.core.detect.logs.miner import Miner

WORDS = st.sampled_from(["ann", "bob", "eve", "mallory", "trent", "peggy", "oscar", "17", "eth0"])
SHAPES = st.sampled_from(
    [
        "session closed for user {0}",
        "session opened for user {0} by {1}",
        "the {0} link of host {1} went down",
        "lock tag={0} owner={1} held",
        "sent {0} bytes to 10.0.0.{1}:80",
        "{0}",
        "{0} {1}",
    ]
)
LINES = st.builds(lambda shape, one, two: shape.format(one, two), SHAPES, WORDS, WORDS)
STREAMS = st.lists(LINES | st.text(max_size=30), max_size=60)
laws = settings(max_examples=200)


def ids(miner: Miner, lines: list[str]) -> list[str]:
    return [miner.add(line).id for line in lines]


def stored(value: object) -> Any:
    return json.loads(json.dumps(value))


def test_numbers_and_addresses_do_not_make_another_template() -> None:
    """Two lines that differ in their values have one id, which says so in words."""
    miner = Miner()
    one, two = miner.add("sent 17 bytes to 10.0.0.7"), miner.add("sent 4 bytes to 10.0.0.9")

    assert one is two
    assert (one.text, one.count) == ("sent <*> bytes to <*>", 2)


def test_a_template_keeps_its_id_when_others_join_it() -> None:
    """The oldest is the parent, the others' ids lead to it, and all their lines are its own."""
    miner = Miner()
    first, second, third = (miner.add(f"session closed for user {who}") for who in ("a", "b", "c"))

    assert third is first
    assert (first.parent, second.parent) == (None, first)
    assert (second.root(), first.count, miner.merged) == (first, 3, 2)
    assert miner.renames().items() > {(second.id, first.id)}


def test_a_word_with_a_number_is_told_until_it_varies() -> None:
    """An interface reads as itself as long as there is only one."""
    miner = Miner()
    template = miner.add("link eth0 is up")
    assert template.text == "link eth0 is up"

    assert miner.add("link eth1 is up") is template
    assert template.text == "link <*> is up"


def test_two_shards_agree() -> None:
    """An id is made of the template, not of what came before it."""
    one, other = Miner(), Miner()
    other.add("something else")

    assert one.add("disk 7 is full").id == other.add("disk 8 is full").id


def test_a_new_name_costs_no_template() -> None:
    """Once a place is known to vary, any number of names there is one template more at most."""
    miner = Miner()
    for number in range(1000):
        miner.add(f"session closed for user {'x' * (number % 50 + 1)}{number % 20 * 'y'}")

    assert (len(list(miner.roots())), miner.made) == (1, 3)


def test_a_line_that_looks_like_a_template_is_a_line() -> None:
    """Wildcards in a line are text like any other."""
    miner = Miner()
    assert miner.add("got <*> from <*>").text == "got <*> from <*>"
    assert len(list(miner.roots())) == 1


def test_what_is_of_least_use_is_forgotten_and_counted() -> None:
    """A full table loses a quarter, those with the fewest lines first, and says how many."""
    miner = Miner(most=8)
    often = miner.add("this comes often")
    for word in ("ba", "bc", "bd", "be", "bf", "bg", "bh"):
        miner.add(f"{word} comes once")
        miner.add("this comes often")
    assert (len(miner.templates), miner.forgotten) == (8, 0)

    miner.add("one too many here")
    assert (len(miner.templates), miner.forgotten) == (7, 2)
    assert [one.text for one in miner.gone] == ["ba comes once", "bc comes once"]
    assert miner.add("this comes often") is often


def test_a_forgotten_template_comes_back_with_its_id() -> None:
    """Whoever still holds its id is right again."""
    miner = Miner(most=4)
    before = miner.add("it was here").id
    for word in "abcdefgh":
        miner.add(f"{word}{word} came by")

    assert before not in {one.id for one in miner.templates.values()}
    assert miner.add("it was here").id == before


def test_garbage_is_a_line() -> None:
    """Nothing that can be in a string is too much, and a megabyte is not longer than a page."""
    miner = Miner()
    for line in ("", "\x00" * 99, "\udc80\ud800 x", "é" * 9999, "a=" * 500_000, "0" * 10**6, "<*>"):
        assert miner.add(line).id

    assert all(len(one.text) < 20_000 for one in miner.roots())


@laws
@given(STREAMS, st.integers(0, 60))
def test_a_prefix_has_the_same_ids(lines: list[str], cut: int) -> None:
    """What comes later changes no id that was given, and a cut is not seen."""
    miner = Miner()
    first = ids(miner, lines[:cut])

    assert first + ids(miner, lines[cut:]) == ids(Miner(), lines)


@laws
@given(STREAMS, st.integers(0, 60), st.sampled_from([6, 12, mining.MOST_TEMPLATES]))
def test_a_restart_is_not_seen(lines: list[str], cut: int, most: int) -> None:
    """Saved, stored and loaded in the middle: the same ids and, bit for bit, the same state."""
    straight, before = Miner(most=most), Miner(most=most)
    all_ids = ids(straight, lines)
    ids(before, lines[:cut])
    saved = before.save()
    after = Miner.load(stored(saved), most=most)

    assert after.save() == saved == stored(saved)
    assert ids(after, lines[cut:]) == all_ids[cut:]
    assert after.save() == straight.save()


@laws
@given(STREAMS, st.sampled_from([6, mining.MOST_TEMPLATES]))
def test_every_chain_of_parents_ends(lines: list[str], most: int) -> None:
    """Every id is one template's, whose root has none above it; counts are of lines, each once."""
    miner = Miner(most=most)
    for line in lines:
        miner.add(line)
        assert len(miner.templates) <= most
    every = list(miner.templates.values())

    assert len({one.id for one in every}) == len(every)
    assert all(one.root() in every and one.root().parent is None for one in every)
    assert all(one.parent is None or one.parent.number < one.number for one in every)
    if not miner.forgotten:
        assert sum(one.count for one in miner.roots()) == len(lines)


@laws
@given(STREAMS)
def test_a_root_covers_its_lines(lines: list[str]) -> None:
    """A template has as many words as each of its lines has, in the same places or holes."""
    miner = Miner()
    given_out = [(line, miner.add(line)) for line in lines]
    for _, template in given_out:
        key, root = template.key, template.root().key
        assert key[0] == root[0]
        assert all(
            ours in (theirs, mining.HOLE) for theirs, ours in zip(key[1], root[1], strict=True)
        )


def test_a_merge_names_what_it_changed_and_nothing_else() -> None:
    """Thousands of values made of letters: whoever renames only what each merge says knows the
    same as who looks everything up in the end, and each id is renamed once, if at all."""
    random, mined = Random(5), Miner()
    names, renamed = [], 0
    for number in range(4000):
        merged, value = mined.merged, "".join(random.choices("abcdefghijklmnop", k=6))
        kind = chr(97 + number % 20)
        names.append(mined.add(f"the {kind * 3} step of {kind * 4} is done user={value}").id)
        if mined.merged != merged:
            renames = mined.renames()
            renamed += len(renames)
            names = [renames.get(name, name) for name in names]
    roots = {one.id: one.root().id for one in mined.templates.values()}

    assert names == [roots[name] for name in names]
    assert renamed == mined.merged < mined.made < 200
