# SPDX-License-Identifier: Apache-2.0

"""Stage 7, act: a runbook, one step at a time, as values.

Given a run, its runbook and what the orders so far came to, ``steps.next_move`` says what
is next: give this order, wait for that one or take it back, verify, roll back, or stop. It
executes nothing; ``hands`` does, and only what was signed.
"""
