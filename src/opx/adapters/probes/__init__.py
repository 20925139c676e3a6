# SPDX-License-Identifier: Apache-2.0

"""Probes: asking a running thing one question, bounded in time and size.

``network`` answers all kinds of ``Probe``. An answer is never guessed: what could not be
asked is told apart from a no.
"""
