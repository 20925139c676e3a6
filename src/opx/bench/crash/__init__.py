# SPDX-License-Identifier: Apache-2.0

"""Killing opx while it works: whether what it acknowledged is kept, and done once.

``crash`` measures: an ``ordeal`` of kills while a witness (``numbered``) sends, then the end of
the log ``torn`` at every byte.
"""
