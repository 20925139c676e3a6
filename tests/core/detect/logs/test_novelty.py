# SPDX-License-Identifier: Apache-2.0

"""What one writer is known for, when it is more than there is room for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from opx.core.detect.logs.novelty import Known


def known(most: int) -> Known:
    """Somebody who has long written one thing only, so that everything else would be news."""
    made = Known(most=most)
    for _ in range(10_000):
        made.take("usual")
    return made


@given(st.lists(st.integers(0, 20), max_size=200))
def test_what_came_before_is_never_told_as_new(kinds: list[int]) -> None:
    """However many kinds there are, and whatever had to be forgotten in between."""
    state, seen = known(8), set()
    for kind in map(str, kinds):
        assert not (state.take(kind) and kind in seen)
        seen.add(kind)


def test_what_is_new_is_told_as_long_as_nothing_had_to_be_forgotten() -> None:
    """Also by who was saved and loaded in between."""
    state = known(8)
    assert [state.take(str(n)) for n in range(8)] == [True] * 8
    assert not state.take("8"), "some are forgotten by now, and this may be one of them"
    assert not Known.load(state.save()).take("9")
