# SPDX-License-Identifier: Apache-2.0

"""The engine: the imperative shell around the core, free of vendors.

``ports`` is what it needs of the world. ``beats`` are the three beats of ``brain`` (sense,
respond, settle), each ending in one commit; ``brain`` keeps them going, ``hands`` does what
was signed, ``intake`` takes telemetry in. ``people``, ``queries`` and ``access`` serve those
who watch and command, and ``journal`` keeps what happened and proves it.
"""
