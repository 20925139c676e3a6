# SPDX-License-Identifier: Apache-2.0

"""What opx keeps, and where.

``sql`` is the operational store (tables in ``tables``, made by ``migrate``), ``wal`` has the two
ends of the write-ahead log, ``lake`` keeps telemetry in a Delta table. Import the module that
is needed: each brings its own vendors along.
"""
