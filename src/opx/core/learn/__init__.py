# SPDX-License-Identifier: Apache-2.0

"""Stage 9, learn: what helped, counted.

Turns verdicts into track records and breakers, and keeps what people say the outcome
really was. It may tighten a guard by itself; only a person loosens one.
"""
