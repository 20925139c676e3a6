# SPDX-License-Identifier: Apache-2.0

"""The simulator: systems that exist only as numbers, with labels that are true by construction.

``cases`` has faults in service graphs, ``fleet`` many healthy streams, ``precursors`` failures
that announce themselves. Virtual time and a seed: no clock, no process, nothing random beyond
it. It must never know what is judged by it.
"""
