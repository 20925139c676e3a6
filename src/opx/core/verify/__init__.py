# SPDX-License-Identifier: Apache-2.0

"""Stage 8, verify: did it help.

Asks the runbook's check (or the service's own health probe) through ``needs`` until N of
the last M answers agree or time is up, and gives a ``Verdict``. An exit code is not a
recovery, and no answer is not a yes.
"""
