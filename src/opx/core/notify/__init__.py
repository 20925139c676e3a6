# SPDX-License-Identifier: Apache-2.0

"""Stage 10, notify: who hears of it.

One ``Notice`` for each edge of an incident (opened, asks, recovered, resolved, breaker),
once. Delivering it, with retries, is the engine's.
"""
