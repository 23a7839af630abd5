from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import brainstate_nn as nn

ROOT = Path(__file__).resolve().parents[2]


def test_import_is_light_and_starts_no_backend():
    code = (
        "import sys, brainstate_nn;"
        "assert not {'flax', 'optax', 'treescope', 'msgpack', 'orbax'} & set(sys.modules), sorted(sys.modules);"
        "model = brainstate_nn.Module; model.__repr__"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "none-may-start", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_model_saves_without_optax_and_trains_without_flax():
    code = (
        "import sys, brainstate_nn as nn;"
        "nn.seed(0); print(nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5)));"
        "assert not {'flax', 'optax', 'treescope'} & set(sys.modules)"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "# ParamState 9 (36 B)" in done.stdout


def test_the_public_names():
    names = [name for name in vars(nn) if not name.startswith("_")]
    assert {"State", "Module", "Linear", "Optimizer", "save_states", "relu", "seed"} <= set(names)
