"""GraphDefs that cross from one Python to another, and values that might bring one down."""

from __future__ import annotations

import functools
import os
import pathlib
import pickle
import subprocess
import sys

import jax.numpy as jnp
import numpy as np

from brainstate_graph import State, graphdef, treefy_split
from tests.laws.graphs import Bag, Pair, net


def in_a_new_process(code: str, *args: str, timeout: float = 60) -> str:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", code, *args], capture_output=True, text=True, env=env, check=False, timeout=timeout
    )
    return done.stdout + done.stderr[-2000:]


CYCLIC_VALUES = [
    "State(ring)",
    "setattr(s, 'value', ring)",
    "s.restore_value(ring)",
    "update_states([s], {0: ring})",
    "update_states([State(None)], {0: ring})",
    "graph_to_tree(ring)",
]


def test_a_class_that_is_not_registered_is_named_with_the_function_to_call():
    code = """
import pickle, sys
class Box: pass
sys.modules["__main__"].Box = Box
from brainstate_graph import *
if sys.argv[1] == "write":
    register_graph_node_type(Box, lambda b: (vars(b).items(), None), setattr, delattr, lambda _: Box(), len)
    b = Box(); b.w = State(1.0)
    sys.stdout.buffer.write(pickle.dumps(graphdef(b)))
else:
    try:
        treefy_merge(pickle.loads(sys.stdin.buffer.read()), {"w": 2.0})
    except GraphError as error:
        print(error)
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    data = subprocess.run([sys.executable, "-c", code, "write"], capture_output=True, env=env, check=True).stdout
    said = subprocess.run([sys.executable, "-c", code, "read"], input=data, capture_output=True, env=env, check=True)
    assert b"Box" in said.stdout
    assert b"register_graph_node_type(Box, ...)" in said.stdout


def test_a_pickled_graphdef_is_the_same_key_in_another_process():
    code = """
import pickle, sys
import jax.numpy as jnp, numpy as np
from brainstate_graph import GraphDef, State, Static, graphdef, treefy_states
def make():
    b = [State(2), ("relu", 2.0, float("nan"))]
    return {"a": State(1.0, name="n", tag=["x", "y"]), "b": b, "s": {"k", "l"}, "n": np.arange(2)}
if sys.argv[1] == "write":
    shape = graphdef(make())
    hash(shape), hash(Static("x"))
    sys.stdout.buffer.write(pickle.dumps((shape, {shape: 1}, Static(("x", 1)), treefy_states(make()))))
else:
    shape, table, static, tree = pickle.loads(sys.stdin.buffer.read())
    fresh = graphdef(make())
    again = Static(("x", 1))
    print(shape is fresh, table[fresh], hash(static) == hash(again), static in {again}, list(tree) == ["a", "b"])
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"}
    run = functools.partial(subprocess.run, capture_output=True, check=True)
    data = run([sys.executable, "-c", code, "write"], env=env | {"PYTHONHASHSEED": "1"}).stdout
    said = run([sys.executable, "-c", code, "read"], input=data, env=env | {"PYTHONHASHSEED": "2"}).stdout
    assert said == b"True 1 True True True\n"


def test_only_foreign_classes_are_registered():
    said = in_a_new_process("""
from brainstate_graph import *
class Param(State): ...
class Gadget(Node): ...
for kind in (int, list, dict, str, State, Param, Gadget):
    try:
        register_graph_node_type(kind, lambda x: ([], None), setattr, delattr, lambda _: None, lambda x: None)
    except (TypeError, ValueError):
        continue
    print("registered:", kind)
print("done")
""")
    assert said == "done\n"


def test_a_value_that_holds_itself_is_refused():
    said = in_a_new_process(f"""
from brainstate_graph import *
import jax.numpy as jnp
ring, s = [], State(1.0)
ring.append(ring)
for use in {CYCLIC_VALUES}:
    try:
        exec(use)
    except (GraphError, ValueError, TypeError):
        continue
    except BaseException as error:
        print(use, type(error))
    else:
        print(use, "is taken")
print(s.value, jnp.ones(2).sum())
""")
    assert said == "1.0 2.0\n"


def test_the_check_survives_pickling_into_a_process_that_made_no_checked_state():
    data = pickle.dumps(State(1.0, checked=True)).hex()
    program = f"import pickle; s = pickle.loads(bytes.fromhex('{data}')); s.value = 'no'"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "State is checked: its value is f32[], and was assigned a str" in done.stderr


def test_a_pytree_that_holds_itself_is_an_error():
    program = """
import sys; sys.setrecursionlimit(500)
from tests.laws.graphs import *
from brainstate_graph import graphdef
bag = Bag(State(1.0)); bag.items.append(bag)
try:
    graphdef(Gadget(b=bag))
except ValueError as error:
    assert "b" in str(error)
    jnp.ones(2) + 1
else:
    raise SystemExit(3)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=".", timeout=120, check=False)
    assert done.returncode == 0, done.stderr.decode()[-500:]


def test_pickle_in_another_process():
    model = net()
    model.tied = model.head.weight
    model.pair = Pair(model.head, Bag(State(jnp.ones(2)), label="x"))
    model.odd = {"s": {1, "two"}, ("a", 1): np.float32(2)}
    shape, tree = treefy_split(model)
    program = """
import pickle, sys, jax, numpy as np
from brainstate_graph import graphdef, treefy_merge, treefy_split
model, shape, tree, table = pickle.load(sys.stdin.buffer)
assert graphdef(model) is shape
assert table[graphdef(model)] == "found"
merged = treefy_merge(shape, tree)
assert graphdef(merged) is shape
assert merged.tied is merged.head.weight
assert jax.tree.structure(treefy_split(model)[1]) == jax.tree.structure(tree)
model.head.seen.value = 42
pickle.dump((model, shape, treefy_split(model)[1]), sys.stdout.buffer)
"""
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps((model, shape, tree, {shape: "found"})),
        capture_output=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONHASHSEED": "7"},
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    back, same, changed = pickle.loads(done.stdout)
    assert same is shape is graphdef(back)
    assert back.head.seen.value == 42 == changed["head"]["seen"].value
