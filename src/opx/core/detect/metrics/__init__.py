# SPDX-License-Identifier: Apache-2.0

"""What is odd about a metric stream by itself: no rule, no labels, no training.

A detector of stage 2. ``stream.step`` scores every point as it comes, in state of constant
size per stream; ``departures`` makes findings of the few streams that stay away from all
they ever held. The question asked of a point is not "is it far from the mean" but "has
this stream been near here before": whoever learns a novelty at once falls silent by itself.

Two parts look for novelty, each turns it into odds by its own history, which is kept whole:

- place (``territory``): where the point lies beside what its hour of the day usually brings
  (``hours``), together with where the last points lay. A spike, a hole, a daily peak that
  does not come.
- level (``territory``): where the last points lie altogether. A shift, a drift, a leak.

Their odds are multiplied, the level's at half its weight (its root). A record gate lets a
point speak only if nothing within the last points was odder, and every time that a stream
has spoken lately makes the next time count for less, so a restless stream cannot shout.
"""
