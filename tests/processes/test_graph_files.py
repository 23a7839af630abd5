"""GraphDefs as text, fingerprints and names from one process to another."""

from __future__ import annotations

import enum
import os
import pathlib
import pickle
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import Snapshot, State, graphdef, to_json
from brainstate_graph._data.names import name_of
from tests.graph.data.museum import ALLOW, museum
from tests.graph.data.test_fingerprint import zoo
from tests.laws.graphs import Bag, same_value


class Half(float):
    pass


class Flags(enum.Flag):
    A = 1
    B = 2


def scaled(by, shift=0):
    return lambda x: x * by + shift


def test_in_another_process():
    model = museum()
    model.bag = Bag(model.head, State(jnp.ones(2)), label=("x", 2.5))
    shape = graphdef(model)
    values = [state.value for state in Snapshot(model).states]
    program = f"""
import pickle, sys
from brainstate_graph import from_json, graphdef, to_json
from brainstate_graph.extend import unflatten
text, values = pickle.load(sys.stdin.buffer)
assert "tests.laws.graphs" not in sys.modules
shape = from_json(text, allow={ALLOW!r})
model, _ = unflatten(shape, values)
assert graphdef(model) is shape
assert to_json(shape) == text
pickle.dump(model, sys.stdout.buffer)
"""
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps((to_json(shape), values)),
        capture_output=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "7"},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    back = pickle.loads(done.stdout)
    assert graphdef(back) is shape
    assert all(map(same_value, [state.value for state in Snapshot(back).states], values))


def test_export_reads_classes_that_are_there_and_imports_nothing(tmp_path):
    pytest.importorskip("flatbuffers", reason="jax.export writes with flatbuffers, which is not installed")
    code = (
        "import jax, sys\nfrom jax import export\n{imports}\n"
        "from brainstate_graph import GraphError, NestedDict, TreefyState\n"
        "data = open('program', 'rb').read()\n"
        "try:\n    call = export.deserialize(data).call\n"
        "    print(call(NestedDict({{'w': TreefyState(kinds.Kind, 2.0)}})))\n"
        "except GraphError as error:\n    print(error)\n"
        "print('kinds' in sys.modules)\n"
    )
    (tmp_path / "kinds.py").write_text("from brainstate_graph import State\nclass Kind(State):\n    pass\n")
    make = (
        "import jax, kinds\nfrom jax import export\nfrom brainstate_graph import NestedDict, TreefyState\n"
        "tree = NestedDict({'w': TreefyState(kinds.Kind, 1.0)})\n"
        "program = export.export(jax.jit(lambda t: t['w'].value + 1))(tree)\n"
        "open('program', 'wb').write(program.serialize())\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{':'.join(filter(None, sys.path))}"}

    def said(text: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", text], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    said(make)
    assert said(code.format(imports="import kinds")).split() == ["3.0", "True"]
    output = said(code.format(imports=""))
    assert "there is no class of states kinds:Kind: import the module that defines it, then read again" in output
    assert output.split()[-1] == "False"


def test_a_module_that_nobody_has_imported_yet():
    program = "import sys, numpy as np; from brainstate_graph._data.names import name_of; print(name_of(np.recarray))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == name_of(np.recarray) == "numpy.rec:recarray"


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_a_fingerprint_is_the_same_in_every_process(seed):
    program = "from tests.graph.data.test_fingerprint import zoo; print(*zoo())"
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": seed},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().split() == zoo()
