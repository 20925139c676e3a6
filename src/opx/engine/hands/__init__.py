# SPDX-License-Identifier: Apache-2.0

"""``hands``: ``serving`` does what ``brain`` signed, ``saying`` lets people watch it at work."""

from opx.engine.hands.serving import EPOCH, Hands

__all__ = ["EPOCH", "Hands"]
