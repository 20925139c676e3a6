# SPDX-License-Identifier: Apache-2.0

"""Stage 6, decide: may opx do this, now.

A proposal comes from the closed catalogue of runbooks; ``guards.GUARDS`` is the visible
tuple of guards that are all asked; the strictest answer wins. A guard that raises or
cannot read its facts denies. Only a person loosens a guard. It must never act.
"""
