# SPDX-License-Identifier: Apache-2.0

"""The control routes, one module an area. Each only reads the request, calls one function
of ``opx.engine`` and words the answer.
"""
