# SPDX-License-Identifier: Apache-2.0

"""The commands that look at a running opx and tell it what to do, one module an area."""
