# SPDX-License-Identifier: Apache-2.0

"""Stories of failures that announce themselves, and of twins that only look like it."""

from __future__ import annotations

import numpy as np
import pytest

from opx.core.base.time import MINUTE
from opx.playground.simulator import precursors
from opx.playground.simulator.precursors import METRICS, Story, Trend, Twin

KINDS = [*Trend, *Twin]
START = 1_767_225_600_000


@pytest.fixture(scope="module")
def told() -> list[Story]:
    return list(precursors.stories(KINDS, range(12), START))


def index(story: Story, at: int) -> int:
    return (at - story.start) // story.period


def level(story: Story, metric: str, around: int) -> float:
    """The median of nine values about a step."""
    return float(np.nanmedian(story.metrics[metric][max(0, around - 4) : around + 5]))


def test_trends_fail_and_twins_do_not(told: list[Story]) -> None:
    """The label is there exactly where all requests fail, from that step to the end."""
    for story in told:
        errors = story.metrics["error_ratio"]
        if isinstance(story.kind, Twin):
            assert story.failed_at is None
            assert np.nanmax(errors) < precursors.BROKEN
        else:
            assert story.failed_at is not None
            assert story.began < story.failed_at
            failed = index(story, story.failed_at)
            after = errors[failed:]
            assert np.nanmin(after) == 1
            assert np.nanmax(errors[:failed]) < 1


@pytest.mark.parametrize(
    ("kind", "metric", "limit"),
    [
        (Trend.LEAK, "memory_percent", precursors.FULL),
        (Trend.QUEUE, "queue_depth", precursors.DEEPEST),
        (Trend.ERRORS, "error_ratio", precursors.BROKEN),
    ],
)
def test_a_trend_leads_to_its_limit(
    told: list[Story], kind: Trend, metric: str, limit: float
) -> None:
    """When it begins there is little of it, just before the failure nearly all."""
    for story in (s for s in told if s.kind is kind):
        assert story.failed_at is not None
        begun, failed = index(story, story.began), index(story, story.failed_at)
        assert level(story, metric, begun - 10) < 0.82 * limit
        assert np.nanmax(story.metrics[metric][failed - 6 : failed]) > 0.75 * limit


def test_memory_never_exceeds_what_there_is(told: list[Story]) -> None:
    """0 to 100 percent, and a twin is never full."""
    for story in told:
        most = np.nanmax(story.metrics["memory_percent"])
        assert most <= precursors.FULL
        assert story.kind is Trend.LEAK or most < precursors.FULL


def test_a_drained_queue_and_a_blip_end_where_they_began(told: list[Story]) -> None:
    """At the end of the story they are near what they were at its start."""
    for kind, metric, much in (
        (Twin.DRAINING, "queue_depth", 30),
        (Twin.BLIP, "error_ratio", 0.02),
    ):
        for story in (s for s in told if s.kind is kind):
            if story.steps - index(story, story.began) > 2 * 8 * 60 * 4:
                assert level(story, metric, story.steps) < much


def test_stories_are_told_side_by_side_in_time_order(told: list[Story]) -> None:
    """Every value that was not lost comes once, at its step, under its stream."""
    pair = [told[0], told[4]]
    series, batches = precursors.points(pair)
    steps = 0
    values: dict[int, list[float]] = {one.sid: [] for one in series}
    for step, batch in enumerate(batches):
        steps += 1
        assert set(batch.at.tolist()) <= {START + step * pair[0].period}
        for sid, value in zip(batch.sid.tolist(), batch.value.tolist(), strict=True):
            values[sid].append(value)

    assert steps == max(story.steps for story in pair)
    for one in series:
        story = next(s for s in pair if s.service == one.identity.service)
        whole = story.metrics[one.metric]
        assert values[one.sid] == whole[np.isfinite(whole)].tolist()
    assert len(series) == 2 * len(METRICS)


def test_stories_of_other_times_are_not_told_together(told: list[Story]) -> None:
    """They would come out of order."""
    (later,) = precursors.stories([Trend.LEAK], [0], START + MINUTE)

    with pytest.raises(ValueError, match="one start"):
        precursors.points([told[0], later])


def test_a_story_depends_on_its_kind_and_seed_alone(told: list[Story]) -> None:
    """The same again, alone."""
    (again,) = precursors.stories([Twin.BLIP], [5], START)

    assert repr(again) == repr(told[5 * len(KINDS) + KINDS.index(Twin.BLIP)])
