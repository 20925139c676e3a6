# SPDX-License-Identifier: Apache-2.0

"""Stage 5, incident: what people must know, and the record of it.

The promotion gate says with a coded reason whether an episode becomes an incident; one
table (``lifecycle.TRANSITIONS``) says what may follow what and who may do it. It must
never know how a repair works, and severity never decides whether people are told.
"""
