# SPDX-License-Identifier: Apache-2.0

"""Receivers: where notices go. One module a vendor; when to try again is the engine's."""
