# SPDX-License-Identifier: Apache-2.0

"""Contract suites: what each port promises, as checks that any implementation can be put to.

One module a port. The shipped fake and every adapter pass the same suite, and so can an
adapter of yours.
"""
