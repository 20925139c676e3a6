# SPDX-License-Identifier: Apache-2.0

"""One running opx for all tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.e2e.support import Opx, running


@pytest.fixture(scope="session")
def opx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opx]:
    """A fresh install, at work. Each of its senders may send 200 requests at once."""
    with running(tmp_path_factory.mktemp("opx"), OPX_INGEST_RATE="100") as up:
        yield up
