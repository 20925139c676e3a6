# SPDX-License-Identifier: Apache-2.0

"""What the playground knows of processes."""

from __future__ import annotations

import subprocess
import sys

from opx.playground import processes

LEAVES = """\
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
print("now", flush=True)
ctypes.CDLL(None).pthread_exit(None)  # of this thread alone
"""


def test_a_process_is_gone_when_its_last_thread_is() -> None:
    """Its first may end before: it looks like a zombie, and still holds all that it had."""
    with subprocess.Popen([sys.executable, "-c", LEAVES], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        process = processes.identify(child.pid)
        assert child.stdout.readline() == b"now\n"
        try:
            processes.wait_for(lambda: _state(child.pid) == "Z", 10, "the first thread to end")
            assert processes.alive(process)
        finally:
            child.kill()
        processes.wait_for(lambda: not processes.alive(process), 10, "the process to be gone")


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]
