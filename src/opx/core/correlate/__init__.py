# SPDX-License-Identifier: Apache-2.0

"""Stage 3, correlate: which findings are one trouble.

A group is (environment, service). A finding within five minutes of the group's last one
joins its episode; all symptoms clear for five minutes ends it; the next finding after
that begins a new one which names the old. It must never lose a finding: one that changes
nothing is counted with its reason.
"""
