# SPDX-License-Identifier: Apache-2.0

"""The core: ten pure stages in the order a signal passes them, over ``base``.

1 ``ingest``     checks, masks and names what came in     -> MetricBatch, Event, Alert
2 ``detect``     finds what is wrong                      -> Finding
3 ``correlate``  groups findings that belong together     -> Episode
4 ``analyse``    says what it is and why                  -> Insight
5 ``incident``   decides that people must know, and keeps the record -> Promotion, Incident
6 ``decide``     asks every guard                         -> Decision
7 ``act``        runs a runbook, step by step, as values  -> Run, StepOrder
8 ``verify``     asks whether it helped                   -> Verdict
9 ``learn``      keeps count of what helped               -> TrackRecord, Outcome
10 ``notify``    says who hears of it                     -> Notice

Data flows down this list, imports point up it. No clock, no I/O, no logging, no async.
"""
