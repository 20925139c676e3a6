# SPDX-License-Identifier: Apache-2.0

"""A prediction as a sentence that a person can check.

Part of ``predict``, for whoever tells people: notices, the API, the command line. It says what
was measured and what follows at this pace, and never that it will happen.
"""

from __future__ import annotations

from opx.core.detect.predict.prediction import Prediction


def why(prediction: Prediction) -> str:
    """From its evidence, in the units of the stream. One that lacks it has none to tell."""
    seen = prediction.evidence
    needed = ("metric", "level", "per_minute", "limit", "minutes_left")
    values = [seen.get(name) for name in needed]
    metric, *numbers = values
    if not isinstance(metric, str) or not all(isinstance(one, (int, float)) for one in numbers):
        return "what it was told from is not known"
    level, pace, limit, left = (float(str(one)) for one in numbers)
    way = "rises" if pace >= 0 else "falls"
    return (
        f"{metric} is at {_short(level)}, {way} by {_short(abs(pace))} a minute for"
        f" {_short(float(str(seen.get('lasted_minutes', 0))))} minutes and reaches"
        f" {_short(limit)} in {_short(left)} minutes at this pace{_between(prediction)}"
    )


def _between(prediction: Prediction) -> str:
    least, most = (prediction.evidence.get(f"minutes_left_at_{end}") for end in ("least", "most"))
    if not isinstance(least, (int, float)):
        return ""
    if not isinstance(most, (int, float)):
        return f" ({_short(float(least))} at the fastest)"
    return f" (between {_short(float(least))} and {_short(float(most))})"


def _short(value: float) -> str:
    """Three digits are enough to look at."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
