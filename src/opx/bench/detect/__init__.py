# SPDX-License-Identifier: Apache-2.0

"""How good the detectors are, on public data that is not part of opx.

``measure`` runs what ``opx score`` runs, in this process, and scores the answers with code of
its own: metrics by NAB's rules (``nab``), log templates (``templates``), causes (``causes``).
What public data does not have is simulated: more causes (``simulated``), failures to come
(``ahead``), a healthy fleet in which there is nothing to find (``fleet``), and one that is
flooded, or read again after a restart (``kept``). Every share of a few dozen
files says how far another few dozen could be from it (``intervals``).
"""
