# SPDX-License-Identifier: Apache-2.0

"""Measuring opx: every figure that the documentation quotes, printed beside its anchor.

Each module measures one thing against a real ``opx up`` on this machine and returns rows;
``opx bench`` prints them. Nothing here is a test: a figure is shown, never asserted.
"""
