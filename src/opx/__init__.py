# SPDX-License-Identifier: Apache-2.0
"""opx: an operations control plane. Telemetry in, verified recovery out."""

__version__ = "0.1.0"
