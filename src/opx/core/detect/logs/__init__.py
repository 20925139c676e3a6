# SPDX-License-Identifier: Apache-2.0

"""Log lines: what they are lines of, and what is odd about them.

Part of stage 2. ``joining`` tells which lines are one record, ``miner`` gives every line
the template it is an instance of, and the detectors say what is new, more or worse than
usual. All of it is evidence: it must never open an incident by itself.
"""
