"""What is said of one layer, said of all layers at once: each in a Stack and in an ensemble, beside each by itself.

The oracle is the same thing said of each layer, one after the other in Python, and then stacked.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import GraphError, State, clone
from brainstate_transform import checkpoint, grad, lane_axes, vmap
from tests.laws.layers import LAYERS, Layer
from tests.tables import each

N = 3
# Rows of one class differ in options, of which none of these laws knows.
ROWS = list({row.name.partition(" ")[0]: row for row in reversed(LAYERS)}.values())[::-1]
MESH = jax.sharding.AbstractMesh((2,), ("model",))


class Held(nn.Module):
    """A layer of any sizes, as one that can stand in a Stack: it adds to a sum."""

    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, total: jax.Array, *inputs: Any) -> jax.Array:
        leaves = jax.tree.leaves(self.layer(*inputs))
        return total + sum(jnp.sum(jnp.sin(leaf.astype(jnp.float32))) for leaf in leaves)


class Form(NamedTuple):
    """How N layers are held.

    Attributes:
        make: Makes them of a function that makes one, and whether the backward pass computes them again.
        prefix: What their paths have in front of those of one layer.
        run: Calls them one after another, with what each is given.
        in_torch: The names of their weights in torch, of the name of one and the number of the layer; None for arrays
            with an axis for them.
    """

    make: Callable[..., Any]
    prefix: tuple[str, ...]
    run: Callable[..., jax.Array]
    in_torch: Callable[[str, int], str] | None

    def name(self, name: str) -> str:
        """Return the name of a state of one layer, of the name of theirs."""
        return name.removeprefix("".join(f"{part}." for part in self.prefix))


class Ensemble(nn.Module):
    """Members that give the sum of what they give."""

    def __init__(self, members: Held, remat: bool) -> None:
        self.members, self.remat = members, remat

    def __call__(self, *inputs: Any) -> jax.Array:
        run = checkpoint(self.members) if self.remat else self.members
        mapped = {0: [state for state in self.members.states().values() if lane_axes(state)]}
        return vmap(lambda: run(jnp.float32(0.0), *inputs), in_states=mapped, axis_size=N)().sum()


FORMS = {
    "Stack": Form(
        lambda build, remat: nn.Stack(N, build, checkpoint=remat), ("layers",),
        lambda model, *inputs: model(jnp.float32(0.0), *inputs), lambda name, i: f"{i}.{name}",
    ),
    "ensemble": Form(
        lambda build, remat: Ensemble(vmap(build, axis_size=N, new_states=0)(), remat), ("members",),
        lambda model, *inputs: model(*inputs), None,
    ),
}  # fmt: skip


def declare(layer: nn.Module) -> nn.Module:
    """Let a layer say that the last axis of each parameter is split."""
    if layer.states(nn.ParamState):
        nn.rewrite(layer, nn.ParamState, lambda s: s.replace(sharding=("rest",) * (jnp.ndim(s.value) - 1) + ("last",)))
    return layer


@functools.cache
def built(name: str, form: Form, checkpoint: bool = False) -> tuple[Any, list[Held]]:
    row = next(row for row in LAYERS if row.name == name)
    seeds, stream = itertools.count(), nn.RandomState(7)
    # The function that makes a member is run once for all, so what it draws has to differ by lane.
    options = {} if form.prefix == ("layers",) or row.plain else {"rng": stream}
    together = form.make(lambda: declare(Held(row.make(seed=next(seeds), **options))), checkpoint)
    found = {path[len(form.prefix) :]: state for path, state in together.states().items()}
    layers = [declare(Held(row.make())) for _ in range(N)]
    for i, layer in enumerate(layers):
        for path, state in layer.states().items():
            if lane_axes(found[path]):  # not the stream that members share
                state.value = jax.tree.map(lambda x: x[i], found[path].value)  # noqa: B023
    return together, layers


def made(row: Layer, form: Form, checkpoint: bool = False) -> tuple[Any, list[Held]]:
    """N layers with different values, together, and one by one."""
    return clone(built(row.name, form, checkpoint))


def assert_states(together: Any, form: Form, layers: list[Held], kind: Any = ...) -> None:
    """The states are those of the layers, stacked, and have an axis of lanes in front."""
    found = {path[len(form.prefix) :]: state for path, state in together.states(kind).items()}
    assert found.keys() == layers[0].states(kind).keys()
    for path, state in found.items():
        if isinstance(state, nn.RandomState):
            continue
        assert lane_axes(state)[:1] == (0,), path
        ones = [layer.states()[path].value for layer in layers]
        for leaf, *parts in zip(*map(jax.tree.leaves, (state.value, *ones)), strict=True):
            np.testing.assert_allclose(leaf, np.stack(parts), rtol=1e-5, atol=1e-5, err_msg=str(path))


# Each kind of state and of value once; the others are tried with `-m slow`.
FEW = ("Linear", "Conv1d", "BatchNorm", "PReLU", "LoRA", "WeightNorm", "LSTMCell", "MLP", "Stack")
# The same for laws that compile a program for each.
FEWEST = ("Linear", "PReLU", "WeightNorm")
assert {*FEW, *FEWEST} <= {row.name for row in ROWS}


def products(of: Callable[[Layer], bool], few: Sequence[str] = FEW) -> Callable[[Callable[..., None]], Any]:
    """Hold all layers of a kind to a law, in each form."""

    def decorate(test: Callable[..., None]) -> Any:
        @pytest.mark.parametrize("is_few", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["few", "others"])
        def run(is_few: bool) -> None:
            rows = [row for row in ROWS if (row.name in few) == is_few and of(row)]
            assert rows
            pairs = [(row, form) for row in rows for form in FORMS.values()]
            ids = [f"{row.name} in {name}" for row in rows for name in FORMS]
            each("row, form", pairs, ids=ids)(test)()

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return decorate


def kinds_in(kind: Any) -> Callable[[Layer], bool]:
    def holds(row: Layer) -> bool:
        layer = row.make()
        return any(isinstance(item, kind) for item in (*layer.states().values(), *layer.nodes().values()))

    return holds


with_parameters = products(kinds_in(nn.ParamState))


# ------------------------------------------------------------------------------------------------------------ sharding


@with_parameters
def test_a_sharding_that_a_layer_declares_is_of_each(row: Layer, form: Form) -> None:
    together, layers = made(row, form)
    # No width is a multiple of two in all layers, so the mesh has one device along the axis.
    mesh = jax.sharding.AbstractMesh((1,), ("model",))
    axes = {"rest": None, "last": "model"}
    one = {name: tuple(sharding.spec) for name, sharding in nn.shardings(layers[0], mesh, axes=axes).items()}
    for name, sharding in nn.shardings(together, mesh, axes=axes).items():
        own = one[form.name(name)]
        assert tuple(sharding.spec) == ((None, *own) if own else ()), name


@products(kinds_in(State))
def test_the_axis_of_layers_is_not_split(row: Layer, form: Form) -> None:
    together, layers = made(row, form)
    rule = nn.fully_sharded("model")
    one = {name: tuple(sharding.spec) for name, sharding in nn.shardings(layers[0], MESH, rule).items()}
    for name, sharding in nn.shardings(together, MESH, rule).items():
        own = one[form.name(name)]
        assert tuple(sharding.spec) == ((None, *own) if own else ()), name


# ----------------------------------------------------------------------------------------------------------- penalties


def length(w: jax.Array) -> jax.Array:
    """A penalty that is no sum over elements."""
    return jnp.sqrt(jnp.sum(w.astype(jnp.float32) ** 2) + 1.0)


@with_parameters
def test_a_penalty_is_of_each(row: Layer, form: Form) -> None:
    together, layers = made(row, form)
    want = sum(float(nn.reg_loss(nn.penalise(layer, nn.ParamState, length))) for layer in layers)
    np.testing.assert_allclose(nn.reg_loss(nn.penalise(together, nn.ParamState, length)), want, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------------- surgery


def whitened(state: State[Any]) -> State[Any]:
    """The same kind with values that depend on the whole array."""
    return state.replace(state.value / (1.0 + jnp.max(jnp.abs(state.value))))


@with_parameters
def test_rewrite_sees_each(row: Layer, form: Form) -> None:
    together, layers = made(row, form)
    names = nn.rewrite(together, nn.ParamState, whitened)
    wanted = [nn.rewrite(layer, nn.ParamState, whitened) for layer in layers]
    assert list(map(form.name, names)) == list(wanted[0])
    assert_states(together, form, layers)


def constant(value: float) -> Any:
    return lambda key, shape, dtype: jnp.full(shape, value, dtype)


@products(lambda row: kinds_in((nn.Linear, nn.LinearGeneral))(row) and not row.name.startswith("LoRA"))
def test_add_lora_and_merge_lora_are_of_each(row: Layer, form: Form) -> None:
    together, layers = made(row, form)
    for model in (together, *layers):
        nn.add_lora(model, 2, a_init=constant(0.5), b_init=constant(0.25))
    assert_states(together, form, layers)
    for i, model in enumerate((together, *layers)):
        for scale, state in enumerate(model.states(nn.LoRAParam).values()):  # so that the layers differ
            ramp = jnp.arange(1.0, N + 1) + scale
            state.value *= ramp.reshape(-1, *[1] * (state.value.ndim - 1)) if i == 0 else ramp[i - 1]
    for model in (together, *layers):
        nn.merge_lora(model)
    assert_states(together, form, layers)


@products(lambda row: jnp.ndim(getattr(getattr(row.make(), "weight", None), "value", 0)) > 1)
def test_norms_of_weights_are_of_each(row: Layer, form: Form) -> None:
    together, layers = made(row, form)
    kind = type(row.make())
    for model in (together, *layers):
        nn.rewrite(model, kind, nn.WeightNorm)
    assert_states(together, form, layers)


# ------------------------------------------------------------------------------------------------------------- weights


@with_parameters
def test_weights_of_torch_are_those_of_each(row: Layer, form: Form) -> None:
    together, layers = made(row, form)
    try:
        ones = [nn.export_weights(layer, "torch") for layer in layers]
    except GraphError:  # which torch does not have
        with pytest.raises(GraphError):
            nn.export_weights(together, "torch")
        return
    found = nn.export_weights(together, "torch")
    for name, first in ones[0].items():
        parts = [one[name] for one in ones]
        theirs = (
            np.stack([found[form.in_torch(name, i)] for i in range(N)]) if form.in_torch else found[f"members.{name}"]
        )
        np.testing.assert_array_equal(theirs, np.stack(parts))
        assert theirs.shape == (N, *first.shape)
    empty, _ = made(row, form)
    for state in empty.states(nn.ParamState).values():
        state.value = jnp.zeros_like(state.value)
    nn.import_weights(empty, found, "torch")
    assert_states(empty, form, layers, nn.ParamState)


# ------------------------------------------------------------------------------------------------ gradients, optimisers


@products(kinds_in(nn.ParamState), FEWEST)
def test_remat_is_of_each(row: Layer, form: Form) -> None:
    together, layers = made(row, form, checkpoint=True)
    inputs = row.inputs()
    for model in (together, *layers):
        model.eval()
    got = jax.tree.leaves(grad(lambda: form.run(together, *inputs), together.states(nn.ParamState))())
    ones = [grad(lambda m=m: m(jnp.float32(0.0), *inputs), m.states(nn.ParamState))() for m in layers]
    for leaf, *parts in zip(got, *map(jax.tree.leaves, ones), strict=True):
        np.testing.assert_allclose(leaf, np.stack(parts), rtol=1e-4, atol=1e-4)


@products(kinds_in(nn.ParamState), FEWEST)
def test_an_optimizer_of_whole_arrays_moves_each(row: Layer, form: Form) -> None:
    together, layers = made(row, form)
    for model in (together, *layers):
        optimizer = nn.Optimizer(model, optax.lars(0.5, weight_decay=0.1), each_layer=True)
        optimizer.update({path: jnp.cos(state.value) for path, state in model.states(nn.ParamState).items()})
    assert_states(together, form, layers, nn.ParamState)
