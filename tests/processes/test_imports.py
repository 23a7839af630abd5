"""Importing a package costs little and changes nothing, in a Python of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

from tests.processes.run import output_of
from tests.public.sources import INSIDE, PACKAGES, ROOT

# What only people need who train, show or save a model.
HEAVY = ("flax", "optax", "treescope", "orbax", "matplotlib")


def in_a_new_process(code: str) -> subprocess.CompletedProcess[str]:
    # JAX looks at the name of a platform when the first backend starts, so with this one none can.
    environment = {**os.environ, "JAX_PLATFORMS": "none-may-start"}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def said(code: str) -> object:
    done = in_a_new_process(code)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("package", PACKAGES)
def test_import_is_light(package):
    loaded = said(f"import json, sys, {package}; print(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))")
    assert package in loaded
    assert not set(HEAVY).intersection(loaded)


@pytest.mark.parametrize("package", PACKAGES)
def test_import_starts_no_backend_and_changes_no_setting(package):
    code = (
        "import json, jax; before = dict(jax.config.values); "
        f"import {package}; after = dict(jax.config.values); "
        "print(json.dumps([k for k in after if k not in before or before[k] != after[k]]))"
    )
    assert said(code) == []


@pytest.mark.parametrize("package", INSIDE)
def test_an_inner_package_is_loaded_where_it_is_used_and_without_a_warning(package):
    outer = package.rpartition(".")[0]
    assert said(f"import json, sys, {outer}; print(json.dumps('{package}' in sys.modules))") is False
    assert said(f"import json, sys, {package}; print(json.dumps('{package}' in sys.modules))") is True


def test_a_model_is_made_and_printed_without_what_trains_and_saves_it():
    code = (
        "import sys, brainstate_nn as nn;"
        "nn.seed(0); print(nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5)));"
        "assert not {'flax', 'optax', 'treescope', 'msgpack', 'orbax'} & set(sys.modules)"
    )
    assert "# ParamState 9 (36 B)" in output_of("-W", "error", "-c", code)


def test_a_backend_start_would_be_seen():
    done = in_a_new_process("import jax; jax.devices()")
    assert done.returncode != 0
    assert "none-may-start" in done.stderr


def test_broken_optional_packages_are_no_matter(tmp_path):
    for name in ("flax", "optax", "tqdm", "pydot", "diffrax", "equinox"):
        (tmp_path / f"{name}.py").write_text("raise AttributeError('broken installation')\n")
    code = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import brainstate_graph, brainstate_transform, brainstate_nn
        from brainstate_transform import jit
        print(float(jit(lambda x: x + 1.0)(1.0)))
    """
    assert output_of("-c", textwrap.dedent(code)).strip() == "2.0"


@pytest.mark.parametrize("package", ["brainstate_graph", "brainstate_transform", "brainstate_nn"])
def test_importing_leaves_the_finders_of_modules_alone(package):
    code = f"import sys, jax; before = list(sys.meta_path); import {package}; print(sys.meta_path == before)"
    assert output_of("-c", code) == "True\n"
