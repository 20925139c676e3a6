# SPDX-License-Identifier: Apache-2.0

"""``opx bench``: opx's own figures, measured here and now, beside what they are held against.

Runs ``opx.bench`` and prints a table, or JSON. Progress goes to standard error. A figure is
never judged: the exit code says only whether everything could be measured.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from opx.bench import alerts, crash, idle, recovery
from opx.bench.figures import Figure, Tell
from opx.cli import show
from opx.cli.demo import interrupt
from opx.errors import OpxError


class What(StrEnum):
    ALERTS = "alerts"
    RECOVERY = "recovery"
    IDLE = "idle"
    CRASH = "crash"
    ALL = "all"
