"""Error messages look for a state among all objects of the process: keep those of earlier tests out of sight."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _small_heap() -> Iterator[None]:
    gc.freeze()
    yield
    gc.unfreeze()
