# SPDX-License-Identifier: Apache-2.0

"""Durable work: segments that are started in a transaction and run again after a crash.

``dbos`` is the engine that ships; ``inline`` keeps its queue as rows of any ``Store`` and
runs when it is told to, for scenarios and for users' tests. Both know nothing of what a
segment does. ``patience`` is what they share: how often a failing segment is tried.
"""
