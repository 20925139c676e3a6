# SPDX-License-Identifier: Apache-2.0

"""The points on disk: how they are written, read, merged and rolled up.

``opx.adapters.stores.lake`` has it done. Nothing here knows of the points in memory but
``reading``, which is given them with the question.
"""
