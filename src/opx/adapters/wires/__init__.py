# SPDX-License-Identifier: Apache-2.0

"""Wires: bytes as others send them, read into the core's nouns.

One module a wire: a function of the body and what is known besides it. A body that cannot
be read at all is a ``BadInput``; one bad item among good ones is a ``Refusal``. The input
is hostile until it was read: nothing here is unbounded, and nothing else is ever raised.
"""
