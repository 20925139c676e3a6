# SPDX-License-Identifier: Apache-2.0

"""What opx says is held against something here: users, and the rule that others begin with.

``judge`` knows whether users were well, ``plain`` what three standard deviations would have
called odd, ``false_findings`` what of either was odd while nothing was wrong. None of it is
ever given to opx.
"""
