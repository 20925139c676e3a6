# SPDX-License-Identifier: Apache-2.0

"""Which node caused it: causes ranked over the graph of who calls whom.

Part of stage 4. ``case`` has the nouns, ``ranking.rank`` the answer. Imported by name of the
module, so that whoever only builds a case pays for nothing else.
"""
