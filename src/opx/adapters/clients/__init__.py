# SPDX-License-Identifier: Apache-2.0

"""Clients: small ones that several groups of adapters speak through.

The groups must not know each other; what a probe and an action both need is here. Nothing
here implements a port.
"""
