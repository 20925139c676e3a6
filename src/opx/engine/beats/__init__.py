# SPDX-License-Identifier: Apache-2.0

"""The three beats of ``brain``: sense, respond, settle.

Each loads, calls pure stages and ends in one commit whose rows trigger the next, so a
crash resumes, a person can wait in the middle, and no lock spans a repair.
"""
