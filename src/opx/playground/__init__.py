# SPDX-License-Identifier: Apache-2.0

"""The playground: a small real system of real processes, with faults to inject.

Six services run under a supervisor of their own, a load generator plays their users, and a
collector sends opx what they say. Both the demo and the measuring bench break things here.
opx is spoken to as any user speaks to it: over its public HTTP API, and as a process that is
started and stopped.
What the load generator sees is never given to opx, so it can judge opx's verdicts.

Kept free of imports: every service process pays for what stands here.
"""
