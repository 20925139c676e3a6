# SPDX-License-Identifier: Apache-2.0

"""The write-ahead log: what ``front`` was told and has acknowledged, and ``brain`` reads.

``appender`` and ``tail`` are its two ends, ``segments`` and ``series`` its files, ``format``
the bytes in them. A folder holds the segments, ``series.log`` and the appender's lock.
"""

from opx.adapters.stores.wal.appender import WalAppender
from opx.adapters.stores.wal.tail import WalTail

__all__ = ["WalAppender", "WalTail"]
