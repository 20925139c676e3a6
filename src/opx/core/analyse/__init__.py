# SPDX-License-Identifier: Apache-2.0

"""Stage 4, analyse: what it is and why.

Rules only, and marked as such (``source``): type, risk from 0 to 100, causes best first
with the findings that speak for them, and one piece of advice. It sees episodes, never
incidents. It must never put a number on its own confidence that was not calibrated.
"""
