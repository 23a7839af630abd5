"""Tests that need several devices: each file runs in a process that has as many."""

from __future__ import annotations

import pytest

from tests.processes.run import passes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "devices"), [("layers_on_four", 4), ("training_on_four", 4), ("sharding_on_eight", 8)], ids=str
)
def test_on_several_devices(file: str, devices: int) -> None:
    passes(f"processes/{file}_devices.py", XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}")
