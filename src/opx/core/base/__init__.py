# SPDX-License-Identifier: Apache-2.0

"""Base: what lies beneath the ten stages.

Time, windows, ids, canonical JSON, typed documents, expressions (CEL) and the
``needs``/``step`` protocol. Everything here is pure and knows no stage.
"""
