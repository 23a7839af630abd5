"""Programs in one file: served as the live model runs, to the last bit, by a process that has JAX and NumPy only."""

from __future__ import annotations

import json
import logging
import os
import re
import zipfile
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import State
from brainstate_transform import Program, deserialize, export, jit, load_program, save_program, value_and_grad
from tests.tables import each

one = jnp.float32(1.0)


def served(tmp_path, *exported, **others) -> Program:
    """Through a file."""
    save_program(tmp_path / "program.npz", *exported, **others)
    return load_program(tmp_path / "program.npz")


def members(path) -> dict[str, bytes]:
    """All that a file holds."""
    with zipfile.ZipFile(path) as file:
        return {name: file.read(name) for name in file.namelist()}


def bits(value) -> list:
    """Dtype and bytes of each array in a tree."""
    leaves = [
        jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in jax.tree.leaves(value)
    ]
    return [(str(leaf.dtype), leaf.shape, np.asarray(leaf).tobytes().hex()) for leaf in leaves]


# -- models


def classifier():
    rng = nn.RandomState(0)
    net = nn.Sequential(
        nn.Conv(1, 4, (3, 3), rng=rng), nn.BatchNorm(4), nn.relu, nn.Flatten(), nn.Linear(64, 3, rng=rng)
    )
    net(nn.RandomState(1).normal((5, 4, 4, 1)) + 2.0)  # statistics that are not those of the beginning
    net.eval()
    return jit(lambda x: net(x))


def reader():
    cell = nn.LSTMCell(3, 5, rng=nn.RandomState(0))
    head = nn.Linear(5, 2, rng=nn.RandomState(1))
    cell.init_state(2)
    return jit(lambda x: head(cell(x)))


class Writer(nn.Module):
    """Attention with a cache, and a stream that it draws from; in bfloat16."""

    def __init__(self):
        rng = nn.RandomState(0)
        self.tokens = nn.Embedding(20, 8, rng=rng)
        self.blocks = [
            nn.MultiHeadAttention(2, 8, rotary=nn.RotaryEmbedding(4), param_dtype="bfloat16", rng=rng) for _ in range(2)
        ]
        self.rng = nn.RandomState(7)

    def __call__(self, tokens):
        x = self.tokens(tokens)
        for block in self.blocks:
            x = x + block(x, is_causal=True, decode=True)
        return self.rng.categorical(self.tokens.attend(x[:, -1:]))


def writer(batch_size=2):
    model = Writer().eval()
    nn.init_all_states(model, batch_size=batch_size, max_length=12)
    return jit(lambda tokens: model(tokens))


# -- in this process


def test_a_program_runs_as_the_model_does(tmp_path):
    write = writer()
    program = served(tmp_path, export(write, jnp.zeros((2, 1), jnp.int32)))
    token = live = jnp.zeros((2, 1), jnp.int32)
    for _ in range(5):
        token, live = program(token), write(live)
        assert bits(token) == bits(live)
    states = export(write, token).states
    assert {n: bits(v) for n, v in program.states.items() if "rng" not in n} == {
        n: bits(s.value) for n, s in states.items() if "rng" not in n
    }
    (rng,) = (state for name, state in states.items() if "rng" in name)
    assert bits([v for n, v in program.states.items() if "rng" in n]) == bits(rng.value)


def test_reset_states_and_the_pure_form(tmp_path):
    read = reader()
    x = nn.RandomState(3).normal((2, 3))
    program = served(tmp_path, read=export(read, x))
    outs = [program.read(x) for _ in range(3)]
    program.reset()
    assert bits([program.read(x) for _ in range(3)]) == bits(outs)

    program.reset()
    first, pure = program.states, program.pure("read")
    out, second = pure(first, x)
    again, third = pure(second, x)
    assert bits([out, again]) == bits(outs[:2])
    assert bits(program.states) == bits(first)  # nothing has changed
    program.states = third
    assert bits(program.read(x)) == bits(outs[2])
    program.states["no such"] = one  # a copy
    assert "no such" not in program.states
    program.states = {name: np.asarray(value) for name, value in third.items()}
    assert bits(program.read(x)) == bits(outs[2])
    assert program.names == ("read",)
    assert {"read", "states", "reset"} <= set(dir(program))
    assert repr(program).startswith("<Program of read with ")


class Pair(NamedTuple):
    a: object
    b: object


def test_every_kind_of_value_survives(tmp_path):
    x = jnp.arange(6.0).reshape(2, 3)
    values = {
        "bool": x > 2, "int8": x.astype("int8"), "uint16": x.astype("uint16"), "f16": x.astype("float16"),
        "bf16": x.astype("bfloat16"), "f8": x.astype("float8_e4m3fn"), "i4": x.astype("int4"), "u4": x.astype("uint4"),
        "complex": x + 2j, "empty": jnp.zeros((0, 3)), "scalar": jnp.bfloat16(3), "nan": jnp.float32("nan"),
        "numpy": np.arange(3, dtype=np.int32), "number": 2.5, "count": 3, "flag": True, "nothing": None,
        "key": jax.random.key(3), "keys": jax.random.split(jax.random.key(4, impl="rbg"), 2),
        "raw": jax.random.PRNGKey(5), "pair": Pair(jnp.ones(2), [jnp.zeros(2)]),
    }  # fmt: skip
    states = {name: State(value) for name, value in values.items()}
    seen = lambda: jax.tree.map(lambda v: v, {name: s.value for name, s in states.items() if name != "pair"})

    def f(y):
        pair = states["pair"].value
        states["pair"].value = pair._replace(a=pair.a + y)
        return seen(), list(states["pair"].value)

    f.__defaults__ = ()
    jitted = jit(lambda y, states=states: f(y))
    program = served(tmp_path, export(jitted, one))
    out = program(one)
    assert bits(out) == bits(jax.tree.map(jnp.asarray, jitted(one)))
    assert jax.tree.structure(out) == jax.tree.structure(jitted(one))
    assert jax.random.key_impl(out[0]["keys"]) == "rbg"
    assert {str(v.dtype) for v in program.states.values()} >= {"bfloat16", "float8_e4m3fn", "int4", "uint4", "key<fry>"}


def test_numpy_alone_reads_the_arrays(tmp_path):
    w = State({"a": jnp.arange(3.0), "b": jnp.ones(2, "bfloat16"), "key": jax.random.key(1)})
    save_program(tmp_path / "w.npz", export(jit(lambda x, w=w: x * w.value["a"]), one))
    about = json.loads(members(tmp_path / "w.npz")["program.json"])
    assert [(s["name"], s["dtype"], s["shape"], s.get("key")) for s in about["states"]] == [
        ("w.a", "float32", [3], None), ("w.b", "bfloat16", [2], None), ("w.key", "uint32", [2], "threefry2x32"),
    ]  # fmt: skip
    arrays = np.load(tmp_path / "w.npz", allow_pickle=False)
    assert arrays["states/0"].tolist() == [0.0, 1.0, 2.0]
    assert arrays["states/1"].view(ml_dtypes.bfloat16).tolist() == [1.0, 1.0]
    assert arrays["states/2"].tolist() == jax.random.key_data(jax.random.key(1)).tolist()


@each("key", ["../../etc/passwd", "/", "..", "a.npy", "état 🦊", "\ud800", "", "states/0", "nul\0", "x" * 70_000])
def test_any_name_will_do(tmp_path, key):
    w = State({key: one, "other": 2.0})
    program = served(tmp_path, export(jit(lambda x, w=w: x * w.value[key] + w.value["other"]), one))
    assert program(3 * one) == 5.0
    assert set(program.states) == {f"w.{key}", "w.other"}
    assert set(members(tmp_path / "program.npz")) == {"program.json", "functions/0", "states/0.npy", "states/1.npy"}
    assert os.listdir(tmp_path) == ["program.npz"]


def test_an_array_is_stored_once_and_outside_the_programs(tmp_path):
    big = nn.Linear(512, 512, rng=nn.RandomState(0))
    apply = jit(lambda net, x: net(x))
    program = served(
        tmp_path, a=export(apply, big, jnp.ones((1, 512))), b=export(jit(lambda x: 2 * big(x)), jnp.ones((3, 512)))
    )
    size = 4 * (512 * 512 + 512)
    assert size < (tmp_path / "program.npz").stat().st_size < size + 30_000
    assert list(program.states) == ["net.bias", "net.weight"]  # as the first function calls them
    assert bits(program.b(jnp.ones((3, 512)))) == bits(jit(lambda x: 2 * big(x))(jnp.ones((3, 512))))


def test_functions_share_states_under_whatever_names(tmp_path):
    zed, other = State(one), State(10 * one)

    def setter(x, aaa=zed, w=other):  # in another order by name than below
        aaa.value = x
        return w.value

    def getter(w=zed, z=other):
        return w.value, z.value

    program = served(tmp_path, set=export(jit(setter), one), get=export(jit(getter)))
    assert list(program.states) == ["aaa", "w"]
    assert program.set(5 * one) == 10.0
    assert program.get() == (5.0, 10.0)
    # two states of one name
    program = served(tmp_path, a=export(jit(lambda w=zed: w.value)), b=export(jit(lambda w=other: w.value)))
    assert list(program.states) == ["w", "b.w"]
    assert (program.a(), program.b()) == (1.0, 10.0)


def test_a_state_that_is_only_written(tmp_path):
    states = [State(jnp.full(3, float(i))) for i in range(60)]

    @jit
    def f(x, states=states):
        states[7].value = x * states[9].value
        return x

    program = served(tmp_path, export(f, one))
    program(2 * one)
    assert set(program.states) == {"states[7]", "states[9]"}
    assert program.states["states[7]"].tolist() == [18.0] * 3


def test_a_training_step(tmp_path):
    model = nn.Sequential(
        nn.Linear(3, 4, rng=nn.RandomState(0)),
        nn.Dropout(0.5, rng=nn.RandomState(1)),
        nn.Linear(4, 1, rng=nn.RandomState(2)),
    )
    optimizer = nn.Optimizer(
        model, optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(optax.cosine_decay_schedule(0.1, 9)))
    )

    @jit
    def step(x, y):
        loss, grads = value_and_grad(lambda: jnp.mean((model(x) - y) ** 2), nn.ParamState)()
        optimizer.update(grads)
        return loss

    x, y = nn.RandomState(3).normal((8, 3)), jnp.ones((8, 1))
    program = served(tmp_path, export(step, x, y))
    losses = [(program(x, y), step(x, y)) for _ in range(4)]
    assert all(bits(ours) == bits(theirs) for ours, theirs in losses)
    assert len({float(loss) for loss, _ in losses}) == 4


def test_each_function_is_compiled_once_and_loading_compiles_nothing(tmp_path, caplog):
    write = writer(3)  # shapes that nothing here was compiled for
    save_program(tmp_path / "w.npz", decode=export(write, jnp.zeros((3, 1), jnp.int32)))
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        program = load_program(tmp_path / "w.npz")
        assert "Compiling" not in caplog.text
        token = np.zeros((3, 1), np.int32)
        for _ in range(3):
            token = program.decode(token)  # from NumPy first, then what came out
        program.reset()
        program.decode(token)
        program.pure()(program.states, jnp.zeros((3, 1), jnp.int32))
        program.states = program.states
        program.decode(token)
    assert len(re.findall(r"Compiling jit\(decode\)", caplog.text)) == 1


def test_symbolic_sizes_and_platforms(tmp_path):
    w = State(jnp.ones((3, 2)))
    (n,) = jax.export.symbolic_shape("n")
    f = jit(lambda x, w=w: x @ w.value)
    rows = jax.ShapeDtypeStruct((n, 3), jnp.float32)
    program = served(tmp_path, export(f, rows, platforms=("cpu", "cuda", "tpu")))
    assert [program(jnp.ones((k, 3))).shape for k in (1, 5)] == [(1, 2), (5, 2)]
    with pytest.raises(TypeError, match=r"takes \(f32\[n,3\],\) as its arguments, not \(f32\[3\],\)"):
        program(jnp.ones(3))
    with pytest.raises(ValueError, match=r"tpu.*cpu"):
        served(tmp_path, export(f, rows, platforms=("tpu",)))(jnp.ones((1, 3)))


def test_equal_programs_are_equal_files(tmp_path):
    exported = export(reader(), jnp.ones((2, 3)))
    for name in "ab":
        save_program(tmp_path / name, exported)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_saving_and_loading_under_the_strictest_settings(tmp_path):
    program = served(tmp_path, export(classifier(), jnp.ones((5, 4, 4, 1))))
    with jax.checking_leaks(), jax.numpy_rank_promotion("raise"), jax.transfer_guard("allow"):
        program(jnp.ones((5, 4, 4, 1)))
    mesh = jax.make_mesh((1,), ("d",))
    with jax.set_mesh(mesh):
        assert served(tmp_path, export(classifier(), jnp.ones((5, 4, 4, 1))))(jnp.ones((5, 4, 4, 1))).shape == (5, 3)


def test_64_bits(tmp_path):
    with jax.enable_x64(True):
        w = State(jnp.float64(2.0))
        program = served(tmp_path, export(jit(lambda x, w=w: x * w.value), jnp.float64(3.0)))
        assert program(jnp.float64(3.0)) == 6.0
    with pytest.raises(
        ValueError, match=r"program\.npz has state w of float64, and JAX has 64 bits switched off.*JAX_ENABLE_X64=1"
    ):
        load_program(tmp_path / "program.npz")


def learner():
    """A step with parameters, a count, and a random stream, by keyword and position."""
    net, count, rng = nn.Sequential(nn.Linear(3, 2), nn.tanh), State(0), nn.RandomState(0)

    @jit
    def loss(x, *, scale):
        count.value += 1
        return scale * jnp.sum((net(x) + rng.normal((2, 2))) ** 2)

    return loss


def test_a_program_can_be_differentiated_by_its_states_and_arguments(tmp_path):
    loss = learner()
    x = jnp.arange(6.0).reshape(2, 3)
    program = served(tmp_path, export(loss, x, scale=one), vjp_order=2)
    names = [name for name in program.states if name.endswith(("weight", "bias"))]
    params = {name: program.states[name] for name in names}

    def value(params, x):
        return program.pure()({**program.states, **params}, x, scale=one)[0]

    def plain(params, x):
        y = jnp.tanh(x @ params["net.layers.0.weight"] + params["net.layers.0.bias"][None])
        return jnp.sum((y + jax.random.normal(key, (2, 2))) ** 2)

    key = nn.RandomState(0).split_key()
    for derivative in (
        lambda f: jax.grad(f, (0, 1)),
        lambda f: jax.grad(lambda p, x: jnp.sum(jax.grad(f, 1)(p, x) ** 2)),
    ):
        got, want = (jax.jit(derivative(f))(params, x) for f in (value, plain))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, want)


def test_a_derivative_that_a_program_has_not_is_told(tmp_path):
    w = State(one)
    exported = export(jit(lambda x, w=w: x * w.value), one)
    told = r"was saved without this derivative: write `save_program\(path, ..., vjp_order=1\)`, or `exported.serialize"
    program = served(tmp_path, exported)
    with pytest.raises(ValueError, match=told):
        jax.grad(lambda w: program.pure()({"w": w}, one)[0])(one)
    loaded = deserialize(exported.serialize())
    with pytest.raises(ValueError, match=told):
        jax.grad(lambda w: loaded({"w": w}, one)[0])(one)
    assert jax.grad(lambda w: deserialize(exported.serialize(vjp_order=1))({"w": w}, 3 * one)[0])(one) == 3.0
    assert exported.serialize() == exported.serialize(vjp_order=0)


@each("order", [-1, 0.5, True, "1", None])
def test_a_wrong_order_is_told(tmp_path, order):
    exported = export(jit(lambda x: x), one)
    for write in (lambda **o: save_program(tmp_path / "f", exported, **o), exported.serialize):
        with pytest.raises(ValueError, match="vjp_order must be how many times the program can be differentiated"):
            write(vjp_order=order)
    assert not (tmp_path / "f").exists()
