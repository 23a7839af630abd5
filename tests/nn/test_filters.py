"""A text is a tag, a path or a glob in every verb that takes a filter, and what writes refuses to be told nothing."""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import optax
import pytest
import safetensors
from jax.sharding import PartitionSpec as P

import brainstate_nn as nn
from brainstate_graph import FlattedDict, NestedDict, pop_states, states, treefy_split, treefy_states
from brainstate_nn import ParamState
from brainstate_transform import BatchAxisError, Core, StateFinder, grad, jacrev, jit, select, shard_map, vjp, vmap
from tests.tables import each

HEAD = {"head.weight", "head.bias"}
TEXTS = {"tag": ("old", HEAD), "path": ("head", HEAD), "glob": ("*.bias", {"head.bias", "body.bias"})}


class Net(nn.Module):
    def __init__(self):
        self.head = nn.Linear(2, 2)
        self.body = nn.Linear(2, 2)
        for name in ("weight", "bias"):
            setattr(self.head, name, ParamState(jnp.ones_like(getattr(self.head, name).value), tag="old"))

    def __call__(self, x):
        return self.head(self.body(x)).sum()


def named(paths):
    return {".".join(map(str, path)) for path in paths}


def changed(act):
    """Return the names of the states that `act` has written, of a model that was filled with zeros."""

    def run(net, text, folder):
        data = nn.to_flat_dict(net)
        saved = nn.to_flat_dict(net, text) or {"head.weight": data["head.weight"]}
        for state in net.parameters():
            state.value = jnp.zeros_like(state.value) - 7.0
        act(net, text, folder, saved)
        return {name for name, state in net.named_parameters() if not (state.value == -7.0).all()}

    return run


def load(net, text, folder, saved):
    path = os.path.join(folder, "m.msgpack")
    nn.save_states(path, FlattedDict({tuple(name.split(".")): value for name, value in saved.items()}))
    nn.load_states(path, net, text)


def restore(net, text, folder, saved):
    with nn.Checkpoints(folder) as checkpoints:
        checkpoints.save(0, FlattedDict({tuple(name.split(".")): value for name, value in saved.items()}))
        checkpoints.restore(net, text)


def saved_names(net, text, folder):
    path = os.path.join(folder, "m.safetensors")
    try:
        nn.save_states(path, net, text)
    except ValueError:
        assert not os.listdir(folder)
        raise
    with safetensors.safe_open(path, "numpy") as file:
        return set(file.keys())


def checkpoint_names(net, text, folder):
    with nn.Checkpoints(folder) as checkpoints:
        try:
            checkpoints.save(0, net, text)
        except ValueError:
            assert checkpoints.latest_step() is None
            raise
        other = Net()
        report = checkpoints.restore(other, strict=False)
    return set(nn.to_flat_dict(other)) - set(report.missing)


def frozen(net, text, folder):
    return named(nn.freeze(net, text).states(nn.FrozenParam))


def popped(net, text, folder):
    found = pop_states(net, text)
    assert not named(found) & named(states(net))
    return named(found)


def penalised(net, text, folder):
    nn.penalise(net, text, lambda w: jnp.sum(w))
    grads = grad(lambda: nn.reg_loss(net), net, allow_unused=True)()
    return {name for name, value in zip(map(".".join, grads), grads.values(), strict=True) if (value != 0).any()}


def loss(net):
    return lambda: net(jnp.ones(2))


def mapped(wrap):
    """Return the names of the states that differ per lane or shard, where `wrap` transforms a call of the model."""

    def run(net, text, _):
        found = set()

        def f(x):
            found.update(
                name for name, state in net.named_parameters() if "V:d" in str(jax.typeof(state.value)) or lanes(state)
            )
            return x

        whole = {id(state): state.value.shape for state in net.parameters()}
        lanes = lambda state: state.value.shape != whole[id(state)]
        wrap(f, text)(jnp.ones(2))
        return found

    return run


def written_per_lane(net, text, _):
    """Each lane writes its number; where that is kept per lane, the state has an axis more."""
    before = {name: state.value.ndim for name, state in net.named_parameters()}

    def f(x):
        for state in states(net, text).values():
            state.value = state.value + x

    try:
        vmap(f, out_states=text)(jnp.arange(3.0))
    except BatchAxisError:  # of what is written, and not in `out_states`
        pytest.fail(f"{text} in out_states is not {text} in states()")
    return {name for name, state in net.named_parameters() if state.value.ndim > before[name]}


def donated(net, text, _):
    before = {name: state.value for name, state in net.named_parameters()}

    @jit(donate_states=text)
    def step():
        for state in net.parameters():
            state.value = state.value + 1.0

    step()
    return {name for name, value in before.items() if value.is_deleted()}


def gathered(net, text, _):
    """Of a model that is spread over an explicit mesh of one device."""
    mesh = jax.make_mesh((1,), ("d",))
    nn.shard(net, mesh, {"**": P("d")})
    with nn.gathered(net, text):
        return {name for name, state in net.named_parameters() if "d" not in jax.typeof(state.value).sharding.spec}


MESH = jax.make_mesh((1,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))


# What only looks finds nothing where nothing is named; what writes, saves, freezes, trains or transforms refuses.
LOOKING = {
    "states": lambda net, text, _: named(states(net, text)),
    "Module.states": lambda net, text, _: named(net.states(text)),
    "treefy_states": lambda net, text, _: named(treefy_states(net, text).to_flat()),
    "treefy_split": lambda net, text, _: named(treefy_split(net, text, ...)[1].to_flat()),
    "NestedDict.filter": lambda net, text, _: named(treefy_states(net).filter(text).to_flat()),
    "FlattedDict.filter": lambda net, text, _: named(net.states().filter(text)),
    "to_flat_dict": lambda net, text, _: set(nn.to_flat_dict(net, text)),
    "to_pure_dict": lambda net, text, _: set(nn.to_flat_dict(NestedDict(nn.to_pure_dict(net, text)))),
}
ACTING = {
    "pop_states": popped,
    "from_flat_dict": changed(lambda net, text, _, saved: nn.from_flat_dict(net, saved, text)),
    "from_pure_dict": changed(lambda net, text, _, saved: nn.from_pure_dict(net, saved, text)),
    "load_states": changed(load),
    "Checkpoints.restore": changed(restore),
    "save_states": saved_names,
    "Checkpoints.save": checkpoint_names,
    "export_weights": lambda net, text, _: set(nn.export_weights(net, "torch", text)),
    "import_weights": changed(
        lambda net, text, _, saved: nn.import_weights(
            net, {name: x.T if x.ndim == 2 else x for name, x in saved.items()}, "torch", text
        )
    ),
    "freeze": frozen,
    "penalise": penalised,
    "Optimizer": lambda net, text, _: set(nn.Optimizer(net, optax.sgd(1.0), wrt=text).params),
    "grad": lambda net, text, _: named(grad(loss(net), text)()),
    "jacrev": lambda net, text, _: named(jacrev(loss(net), text)()),
    "vjp": lambda net, text, _: named(vjp(loss(net), wrt=text)[1](1.0)),
    "select": lambda net, text, _: {name.removeprefix("net.") for name in select(text, Core(loss(net)), "wrt").names},
    "vmap in_states": mapped(lambda f, text: vmap(f, in_states=text)),
    "vmap out_states": written_per_lane,
    "shard_map in_states": mapped(
        lambda f, text: shard_map(f, mesh=MESH, in_specs=P("d"), out_specs=P("d"), in_states={P("d"): text})
    ),
    "donate_states": donated,
    "gathered": gathered,
    "StateFinder": lambda net, text, _: {name.removeprefix("net.") for name in StateFinder(loss(net), text)()},
}
ALL = LOOKING | ACTING


@each("text, meant", TEXTS.values(), ids=list(TEXTS))
@each("verb", ALL)
def test_a_text_is_a_tag_a_path_or_a_glob(verb, text, meant, tmp_path_factory):
    assert ALL[verb](Net(), text, os.fspath(tmp_path_factory.mktemp("files"))) == meant


@each("verb", ACTING)
@each("text", ["nobody", "hea", "head.*.weight"])
def test_what_acts_lists_what_there_is(verb, text, tmp_path_factory):
    with pytest.raises(ValueError, match=r"head\.weight"):
        ACTING[verb](Net(), text, os.fspath(tmp_path_factory.mktemp("files")))


WRITING = {
    "save_states": lambda net, folder, *texts: nn.save_states(os.path.join(folder, "m.msgpack"), net, *texts),
    "from_flat_dict": lambda net, _, *texts: nn.from_flat_dict(net, nn.to_flat_dict(net, "head"), *texts),
    "from_pure_dict": lambda net, _, *texts: nn.from_pure_dict(net, nn.to_pure_dict(net, "head"), *texts),
    "export_weights": lambda net, _, *texts: nn.export_weights(net, "torch", *texts),
    "pop_states": lambda net, _, *texts: pop_states(net, *texts),
    "gathered": lambda net, _, *texts: nn.gathered(net, *texts).__enter__(),
    "Optimizer": lambda net, _, *texts: nn.Optimizer(net, optax.sgd(1.0), wrt=[*texts]),
    "freeze": lambda net, _, *texts: nn.freeze(net, [*texts]),
    "grad": lambda net, _, *texts: grad(loss(net), [*texts])(),
}


@each("verb", WRITING)
def test_each_of_several_texts_names_something(verb, tmp_path_factory):
    net, folder = Net(), os.fspath(tmp_path_factory.mktemp("files"))
    with pytest.raises(ValueError, match=r"'nobody'.*head\.weight"):
        WRITING[verb](net, folder, "head", "nobody")
    assert len(states(net)) == 4
    assert not os.listdir(folder)


@each("verb", LOOKING)
def test_what_looks_finds_nothing(verb):
    assert ALL[verb](Net(), "nobody", None) == set()


@each("verb", ALL)
def test_a_tag_of_some_and_the_path_of_others_is_refused(verb, tmp_path_factory):
    net = Net()
    net.body.weight = ParamState(jnp.ones((2, 2)), tag="head")
    with pytest.raises(ValueError, match=r"is the tag of some states \(1\) and the path of others \(2\)"):
        ALL[verb](net, "head", os.fspath(tmp_path_factory.mktemp("files")))
