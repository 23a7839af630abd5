"""Files and steps are read by a Python that has seen nothing of what wrote them, and in how much memory.

``python -m tests.processes.test_fresh_process COMMAND FOLDER`` is that process, which prints what it finds as JSON.
"""

from __future__ import annotations

import json
import pathlib
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from tests.laws.layers import LAYERS
from tests.nn.checkpoints.test_model_files import MINE
from tests.nn.checkpoints.test_state_files import KINDS, made, write_shards
from tests.nn.whole import Odd, all_bits
from tests.processes.run import output_of


def in_a_fresh_process(command: str, folder: pathlib.Path) -> Any:
    return json.loads(output_of("-W", "error", "-m", "tests.processes.test_fresh_process", command, folder))


# ---------------------------------------------------------------------------------------------------- states and models


def test_states_and_models_are_read_to_the_last_bit(tmp_path):
    want = {}
    for kind in KINDS:
        for suffix in ("msgpack", "safetensors"):
            save = nn.save_model if kind == "everything" else nn.save_states
            save(tmp_path / f"{kind}.{suffix}", made(kind, 1))
            want[f"{kind}.{suffix}"] = repr(all_bits(made(kind, 1)))
    want["model"] = want["everything.msgpack"]
    assert in_a_fresh_process("states", tmp_path) == want


def read_states(folder):
    found = {}
    for path in sorted(pathlib.Path(folder).iterdir()):
        kind = path.name.partition(".")[0]
        model = KINDS[kind](0)
        nn.load_states(path, model)
        found[path.name] = repr(all_bits(model))
    whole = nn.load_model(next(pathlib.Path(folder).glob("everything.safetensors")), [Odd])
    found["model"] = repr(all_bits(whole))
    return found


def outputs(layer, inputs):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(layer(*inputs))]


@pytest.mark.slow
def test_every_layer_computes_the_same(tmp_path):
    want = {}
    for number, row in enumerate(LAYERS):
        layer, inputs = row.make(training=number % 2 == 0), row.inputs()
        nn.save_model(tmp_path / f"{number}.{('msgpack', 'safetensors')[number % 2]}", layer)
        np.savez(tmp_path / f"{number}.npz", *inputs)
        want[str(number)] = [x.tobytes().hex() for x in outputs(layer, inputs)]
    found = in_a_fresh_process("layers", tmp_path)
    assert {LAYERS[int(n)].name for n in want if found.get(n) != want[n]} == set()


def call_layers(folder):
    found = {}
    for path in pathlib.Path(folder).glob("[0-9]*.*[ks]"):  # not the inputs
        inputs = np.load(path.with_suffix(".npz"))
        layer = nn.load_model(path, MINE)
        found[path.stem] = [x.tobytes().hex() for x in outputs(layer, [jnp.asarray(inputs[n]) for n in inputs])]
    return found


# --------------------------------------------------------------------------------------------------------------- memory


class Large(nn.Module):
    """64 arrays of 2 MB, as shapes alone where asked for."""

    def __init__(self, make=np.zeros):
        self.w = [nn.ParamState(make((512, 1024), np.float32)) for _ in range(64)]


def highest(load):
    """How much more memory than at the start the process has had at a time, in MB."""
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
    load()
    found = dict(re.findall(r"(\w+):\s+(\d+) kB", pathlib.Path("/proc/self/status").read_text()))
    return int(found["VmHWM"]) / 1024


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/self/clear_refs")
def test_a_model_of_shapes_is_filled_with_one_array_beside_it(tmp_path):
    nn.save_states(tmp_path / "large.safetensors", Large())
    write_shards(tmp_path, {f"w.{i}": np.zeros((512, 1024), np.float32) for i in range(64)})
    found = in_a_fresh_process("memory", tmp_path)
    assert all(100 <= mb < 128 + 24 for mb in found.values()), found


def memory(folder):
    found, models = {}, []
    for name in ("large.safetensors", "model.safetensors.index.json"):
        path = pathlib.Path(folder) / name
        nn.load_states(path, {"w": [nn.State(jnp.zeros((512, 1024)))]}, strict=False)  # what the first time costs
        start = highest(lambda: models.append(Large(jax.ShapeDtypeStruct)))
        found[name] = highest(lambda: nn.load_states(path, models[-1])) - start  # noqa: B023
        assert models[-1].w[63].value.size == 512 * 1024
    return found


# ---------------------------------------------------------------------------------------------------------------- steps


STEPS = """if True:
    import sys, brainstate_nn as nn, tests.nn.checkpoints.test_orbax as t
    for make in (t.Everything, t.Odd, t.trained):
        checkpoints = nn.Checkpoints(f"{sys.argv[1]}/{make.__name__}")
        if sys.argv[2] == "save":
            checkpoints.save(3, make(1))
        else:
            model = make(0)
            print(checkpoints.restore(model), t.all_bits(model) == t.all_bits(make(1)))
            if make != t.trained:  # optax has no form in a file
                model = checkpoints.load_model(allow=[t, "tests.nn.whole"])
                print(t.all_bits(model) == t.all_bits(make(1)))
"""


def test_steps_that_a_program_left_without_waiting_are_read(tmp_path):
    assert output_of("-W", "error", "-c", STEPS, tmp_path, "save", silent=True) == ""
    assert output_of("-W", "error", "-c", STEPS, tmp_path, "load", silent=True) == (
        "LoadReport(missing=(), unexpected=()) True\nTrue\n" * 2 + "LoadReport(missing=(), unexpected=()) True\n"
    )


if __name__ == "__main__":
    commands = {"states": read_states, "layers": call_layers, "memory": memory}
    print(json.dumps(commands[sys.argv[1]](sys.argv[2])))
