# SPDX-License-Identifier: Apache-2.0

"""Whether the trouble that a rule found is there now: what to ask, and what the answers mean.

Beside the rules of stage 2, for those who act on a finding and those who verify what came
of it: a finding says what was, a witness what is. It asks the telemetry for the rule's own
numbers over a window that ends now. It must never take silence for health.
"""

from __future__ import annotations

from dataclasses import dataclass

from opx.core.base.reads import Answers, MetricRead, Stat
from opx.core.base.time import SECOND, Window
from opx.core.detect.rules import DetectionRule, Ratio, Selector, Threshold
from opx.core.ingest.signals import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """One rule about one service. ``check``: the rule's; others than these have no witness."""

    rule: str
    check: Threshold | Ratio
    identity: Identity

    @classmethod
    def of(cls, rule: DetectionRule, identity: Identity) -> Witness | None:
        if not isinstance(rule.check, Threshold | Ratio):
            return None
        return cls(rule=rule.rule, check=rule.check, identity=identity)

    def needs(self, window: Window) -> tuple[MetricRead, ...]:
        """The numbers to ask for."""
        check = self.check
        if isinstance(check, Threshold):
            return (self._read("value", check.series, check.stat, window),)
        return (
            self._read("part", check.part, Stat.RATE, window),
            self._read("whole", check.whole, Stat.RATE, window),
        )

    def breached(self, answers: Answers) -> bool | None:
        """Whether the rule would find it now; None when the answers do not say."""
        value = self.value(answers)
        return None if value is None else self.check.limit.breached(value)

    def value(self, answers: Answers) -> float | None:
        """What the rule judges, as it is now; None when the answers do not say. The least whole
        of a ratio is a rate: of a shorter window than the rule's it is the same share."""
        check = self.check
        if isinstance(check, Threshold):
            return self._told(answers, "value")
        part, whole = self._told(answers, "part"), self._told(answers, "whole")
        least = check.at_least / (check.window / SECOND)
        if part is None or whole is None or whole < least:
            return None
        return part / whole

    def _read(self, what: str, series: Selector, stat: Stat, window: Window) -> MetricRead:
        identity = self.identity
        labels = {**series.labels, "environment": identity.environment, "service": identity.service}
        if identity.resource:
            labels["resource"] = identity.resource
        return MetricRead(
            key=self._key(what), metric=series.metric, labels=labels, window=window, stat=stat
        )

    def _told(self, answers: Answers, what: str) -> float | None:
        answer = answers.get(self._key(what))
        return answer.value if answer is not None and answer.ok else None

    def _key(self, what: str) -> str:
        one = self.identity
        return f"{self.rule}|{one.environment}/{one.service}/{one.resource}|{what}"
