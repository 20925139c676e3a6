# SPDX-License-Identifier: Apache-2.0

"""Stage 2, detect: what is wrong.

Detectors, each a ``step`` over its own state: other systems' alerts, health probes
that are asked through ``needs``, events, and all that looks at what flows (``flow``).
Emits a ``Finding`` on an edge (it began, it is over), never on a level, and gives the
same finding the same id however often it is told. It must never decide who hears of it.
"""
