"""The laws of layers, over the table in `layers.py`.

A law that compiles something for each layer has a case for each. A law about texts, shapes and arguments is one case,
which lists the layers that break it.
"""

from __future__ import annotations

import gc
import inspect
import pathlib
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import treescope
from hypothesis import Phase, given, settings

import brainstate_nn as nn
from brainstate_graph import clone, graphdef, treefy_merge, treefy_split, treefy_states
from brainstate_transform import eval_shape, for_loop, jit, vmap
from tests.laws.layer import Called, Layer
from tests.laws.layers import LAYERS, all_layers
from tests.laws.sizes import USUAL, Sizes
from tests.nn.peers import values_of
from tests.nn.whole import all_bits

SIZES = st.builds(
    Sizes, batch=st.integers(1, 3), length=st.integers(4, 7), heads=st.sampled_from([1, 2]),
    head=st.sampled_from([2, 4]), out=st.integers(1, 4),
)  # fmt: skip
# Half precision has 8 bits: each of a handful of roundings may be off by 1/256 of the largest part of a sum.
TOLERANCE = {"float32": 2e-5, "bfloat16": 4e-2}


def assert_close(ours: Any, theirs: Any, tolerance: float) -> None:
    """Equal up to a part of the largest element, leaf by leaf."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert a.dtype == b.dtype
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(1.0, np.abs(b).max(initial=0.0)))


def loss(out: Any) -> jax.Array:
    return sum(jnp.sum(jnp.sin(leaf.astype(jnp.float32))) for leaf in jax.tree.leaves(out))


def with_gradients(run: Any, values: Any, inputs: list[Any]) -> Any:
    """The result, and the gradients by all values and all inputs that have one."""

    def of_loss(values: Any, floats: list[Any]) -> Any:
        rest = iter(floats)
        out = run(values, *[next(rest) if _is_float(x) else x for x in inputs])
        return loss(out), out

    floats = [x for x in inputs if _is_float(x)]
    (_, out), grads = jax.jit(jax.value_and_grad(of_loss, (0, 1), has_aux=True))(values, floats)
    return out, grads


def _is_float(x: Any) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)


def as_function(layer: nn.Module) -> Any:
    """Our layer as the oracles are: a pure function of values by dotted path, through a split."""
    shape, tree = treefy_split(layer)

    def run(values: dict[str, Any], *inputs: Any) -> Any:
        copy = treefy_merge(shape, tree)
        for path, state in copy.states((nn.ParamState, nn.BatchState)).items():
            state.value = values[".".join(map(str, path))]
        return copy(*inputs)

    return run


def _assert_same_states(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(np.asarray(a, np.float64), np.asarray(b, np.float64), rtol=1e-5, atol=1e-5)


# --------------------------------------------------------------------------------------------- texts, shapes, arguments


# These come first: an error looks at all live objects, of which the programs below make many.


@all_layers(lambda row: not row.plain)
def test_dtypes(row: Layer) -> None:
    def made_and_called() -> Any:
        layer = row.make(param_dtype="bfloat16", dtype="float32")
        return [state.value for state in layer.states(nn.ParamState).values()], layer(*row.inputs())

    with jax.numpy_dtype_promotion("strict"):
        params, out = eval_shape(made_and_called)
    assert {param.dtype for param in params} <= {jnp.dtype("bfloat16")}
    assert {leaf.dtype for leaf in jax.tree.leaves(out)} == {jnp.dtype("float32")}


@all_layers()
def test_no_dtypes_are_mixed(row: Layer) -> None:
    with jax.numpy_dtype_promotion("strict"):
        dtype = jnp.float32 if row.plain else jnp.bfloat16
        eval_shape(lambda: row.make(dtype=dtype, param_dtype=dtype)(*row.inputs(dtype=dtype)))


@all_layers()
def test_a_layer_is_told_by_its_shape_and_not_by_its_first_values(row: Layer) -> None:
    assert graphdef(row.make(seed=1)) is graphdef(row.make(seed=2))


@all_layers()
def test_a_seed_makes_the_same_layer_again(row: Layer) -> None:
    one, other = treefy_states(row.make(seed=1)), treefy_states(row.make(seed=1))
    _assert_same_states(one, other)


@all_layers()
def test_how_a_layer_looks(row: Layer) -> None:
    layer = row.make()
    name = type(layer).__name__
    for text in (repr(layer), treescope.render_to_text(layer, ignore_exceptions=False)):
        assert text.startswith(name)
        assert " at 0x" not in text
        assert len(text.splitlines()) <= 40
    assert name in treescope.render_to_html(layer, ignore_exceptions=False, compressed=False)


class Holder(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, *inputs: Any) -> Any:
        return self.layer(*inputs)


@pytest.fixture
def _few_live_objects():
    """Hide what is there from errors that name a layer: each looks at all live objects, 0.2 s late in a run."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_few_live_objects")
@all_layers(lambda row: not row.whole)
def test_a_wrong_input_is_told_with_the_path_of_the_layer(row: Layer) -> None:
    net = Holder(row.make())
    first, *rest = row.inputs()
    before = treefy_states(net)
    # by NumPy, which compiles nothing
    first = np.asarray(first)
    wrong = first.astype(np.float32) if row.kinds else np.concatenate([first, first], -1)
    with pytest.raises((ValueError, TypeError), match=r"\w+ at Holder\.layer[\w.]* .*`\w+`"):
        jit(net)(wrong, *rest)
    with pytest.raises(TypeError, match=r"\w+ at Holder\.layer[\w.]* takes an array for `\w+`, not None"):
        net(None, *rest)
    _assert_same_states(treefy_states(net), before)


WRONG = {
    "rng": (0, "text"),
    "dtype": (int, "text"),
    "param_dtype": (bool, "uint8"),
    "w_init": (0.1, lambda key, shape, dtype: jnp.zeros((*shape, 7), dtype)),
    "b_init": ("zeros", lambda key, shape, dtype: jnp.zeros((*shape, 7), dtype)),
}


def constructor(row: Layer) -> tuple[Any, dict[str, Any], list[str]]:
    """The class of a layer, what it cannot be made without, and which of that are sizes."""
    layer = row.make()
    found = inspect.signature(type(layer).__init__).parameters.values()
    required = [p for p in found if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and p.name != "self"]
    counts = ("depth",)  # which may be 0
    sizes = [p.name for p in required if p.annotation in ("int", "int | Sequence[int]") and p.name not in counts]
    called = {"build": nn.Identity}  # what a layer calls and does not keep
    given = {p.name: called.get(p.name) or getattr(layer, p.name) for p in found if p in required or p.name == "axis"}
    return type(layer), given, sizes


@all_layers(lambda row: not row.plain)
def test_a_wrong_option_of_a_constructor_is_named(row: Layer) -> None:
    kind, required, _ = constructor(row)
    names = WRONG.keys() & inspect.signature(kind.__init__).parameters.keys()
    if getattr(kind(**required), "bias", kind) is None:
        names -= {"b_init"}
    for name in names:
        for wrong in WRONG[name]:
            with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
                kind(**required, **{name: wrong})


@all_layers()
def test_a_wrong_size_is_named(row: Layer) -> None:
    kind, required, sizes = constructor(row)
    for name in sizes:
        for wrong in (0, -1, 2.5, "3", None, True):
            with pytest.raises((ValueError, TypeError), match=rf"\b{name}\b"):
                kind(**{**required, name: wrong})


@all_layers()
def test_a_layer_comes_back_from_a_file_as_it_was(tmp_path: pathlib.Path, row: Layer) -> None:
    layer = row.make(training=False)
    nn.save_model(tmp_path / "m", layer)
    copy = nn.load_model(tmp_path / "m", [Called, jnp.swapaxes])
    assert graphdef(copy) is graphdef(layer)
    assert all_bits(copy) == all_bits(layer)


def test_every_layer_is_in_the_table() -> None:
    containers = {"Module", "RecurrentCell", "Optimizer"}
    public = {
        name for name in dir(nn) if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
    }
    assert public - containers - {row.name.partition(" ")[0] for row in LAYERS} == MISSING


# Those whose calls are no `layer(x) -> y`, or that differ from a row in a name alone; each is tested in its own file.
MISSING: set[str] = {"EquinoxModule", "LinenModule"}


# -------------------------------------------------------------------------------------------------------------- results


CASES = [(row, mode) for row in LAYERS for mode in row.modes]
each_mode = pytest.mark.parametrize(
    ("row", "training"), CASES, ids=[f"{row.name}, {'training' if mode else 'evaluation'}" for row, mode in CASES]
)


def _check_against_oracle(row: Layer, training: bool, dtype: str, sizes: Sizes, seed: int) -> None:
    layer = row.make(sizes, training, seed, dtype=dtype, param_dtype=dtype)
    inputs, values = row.inputs(sizes, seed, jnp.dtype(dtype)), values_of(layer)
    ours = with_gradients(as_function(layer), values, inputs)
    theirs = with_gradients(row.oracle(layer), values, inputs)
    assert_close(ours, theirs, TOLERANCE[dtype])


@each_mode
def test_results_and_gradients_are_those_of_others(row: Layer, training: bool) -> None:
    _check_against_oracle(row, training, "float32", USUAL, 0)


@pytest.mark.slow
@each_mode
def test_results_and_gradients_in_half_precision(row: Layer, training: bool) -> None:
    _check_against_oracle(row, training, "bfloat16", USUAL, 1)


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", TOLERANCE)
@each_mode
def test_results_and_gradients_at_random_sizes(row: Layer, training: bool, dtype: str) -> None:
    @settings(max_examples=4, phases=[Phase.generate])  # each compiles: to shrink a failure would take minutes
    @given(sizes=SIZES, seed=st.integers(0, 1000))
    def holds(sizes: Sizes, seed: int) -> None:
        _check_against_oracle(row, training, dtype, sizes, seed)

    holds()


@all_layers()
def test_a_split_layer_under_raw_jit_returns_its_states(row: Layer) -> None:
    layer, inputs = row.make(), row.inputs()
    shape, tree = treefy_split(layer)
    written: list[Any] = []

    def run(tree: Any, *inputs: Any) -> Any:
        copy = treefy_merge(shape, tree)
        before = {path: state.value for path, state in copy.states().items()}
        out = copy(*inputs)
        written.extend(path for path, state in copy.states().items() if state.value is not before[path])
        return out, treefy_states(copy)

    # Results are compared above, under `jax.jit` too: only layers that write states are compiled here.
    jax.eval_shape(run, tree, *inputs)
    if written:
        out, after = jax.jit(run)(tree, *inputs)
        want = layer(*inputs)
        assert_close(out, want, 1e-5)
        _assert_same_states(after, treefy_states(layer))


_called = jit(lambda layer, *inputs: layer(*inputs))  # one program for all lanes, where eager operations are many


@all_layers()
def test_vmap_is_one_call_for_each_lane(row: Layer) -> None:
    layer = row.make(training=False)
    lanes = [row.inputs(seed=seed) for seed in range(2)]
    each = [_called(clone(layer), *inputs) for inputs in lanes]
    hidden = layer.states(nn.ShortTermState)
    for state in hidden.values():
        state.value = jax.tree.map(lambda x: jnp.stack([x, x]), state.value)
    how = {"in_states": {0: hidden}, "out_states": {0: hidden}} if hidden else {}
    out = vmap(layer, **how)(*[jnp.stack(pair) for pair in zip(*lanes, strict=True)])
    assert_close(out, jax.tree.map(lambda *leaves: jnp.stack(leaves), *each), 1e-5)


@all_layers()
def test_a_loop_is_one_call_after_another(row: Layer) -> None:
    layer = row.make()
    other = clone(layer)
    steps = [row.inputs(seed=seed) for seed in range(3)]
    out = for_loop(layer, *[jnp.stack(parts) for parts in zip(*steps, strict=True)])
    want = [other(*inputs) for inputs in steps]
    assert_close(out, jax.tree.map(lambda *leaves: jnp.stack(leaves), *want), 1e-5)
    _assert_same_states(treefy_states(layer), treefy_states(other))
