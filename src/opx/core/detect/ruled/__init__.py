# SPDX-License-Identifier: Apache-2.0

"""Detection rules over what flows: one module for each block, one book that keeps them all.

Inside stage 2. ``book`` is what others talk to; the other modules know one block each, the
log's ``clock``, and with ``observer`` whether the telemetry itself is lost.
The ``event`` block is not here: ``opx.core.detect.events`` has it, beside the events that
no rule is about.
"""
