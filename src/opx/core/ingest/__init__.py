# SPDX-License-Identifier: Apache-2.0

"""Stage 1, ingest: what came in, checked, named and cleaned.

Says whose a signal is (environment, service, resource) from its labels by mapping rules,
computes the key it is deduplicated by, masks secrets, and says of every item that it
does not take why not. Emits ``MetricBatch``, ``Alert``, ``Event``, ``LogLine`` and ``Rejected``.
It must never guess a service, and never drop an item without a reason.
"""
