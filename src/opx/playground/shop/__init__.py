# SPDX-License-Identifier: Apache-2.0

"""The processes of a playground: six services, their users, their supervisor, the collector.

``service`` and ``load`` run in processes of their own, and so does ``collector``, the only
one of them that knows of an opx. ``files`` is what a service starts from, ``supervisor`` who
starts it, ``breaking`` what a saboteur does to it.

Kept free of imports: every one of these processes pays for what stands here.
"""
