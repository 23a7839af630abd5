"""All ways to give gradients to an optimizer, of its own model and of another one."""

from __future__ import annotations

import copy
import pickle

import jax
import jax.numpy as jnp
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import FlattedDict, GraphError, NestedDict, graphdef, treefy_merge, treefy_split
from brainstate_graph.extend import owners_of
from brainstate_transform import fwd_grad, grad, jit, value_and_grad, vector_grad, vmap
from tests.tables import each

X = jnp.array([[1.0, 2.0], [3.0, -1.0]])


def loss_of(net):
    return ((net(X) - 1.0) ** 2).mean()


# What comes straight from a derivative knows whose it is: each is a function of the model. The model is `net` where a
# filter asks for the states that the function reaches.
KNOWN = {
    "by node": lambda net: grad(lambda: loss_of(net), net)(),
    "by filter": lambda net: grad(lambda: loss_of(net), nn.ParamState)(),
    "by filters": lambda net: grad(lambda: loss_of(net), [nn.ParamState])(),
    "by glob": lambda net: grad(lambda: loss_of(net), "*")(),
    "by states": lambda net: grad(lambda: loss_of(net), net.states(nn.ParamState))(),
    "by tree": lambda net: grad(lambda: loss_of(net), treefy_split(net)[1])(),
    "as argument": lambda net: grad(loss_of, nn.ParamState)(net),
    "value_and_grad": lambda net: value_and_grad(lambda: loss_of(net), nn.ParamState)()[1],
    "return_value": lambda net: grad(lambda: loss_of(net), nn.ParamState, return_value=True)()[0],
    "has_aux": lambda net: grad(lambda: (loss_of(net), 1), nn.ParamState, has_aux=True)()[0],
    "with arguments": lambda net: grad(lambda x: loss_of(net) + x, nn.ParamState, argnums=0)(1.0)[0],
    "debug_nan": lambda net: grad(lambda: loss_of(net), nn.ParamState, debug_nan=True)(),
    "vector_grad": lambda net: vector_grad(lambda: loss_of(net), nn.ParamState)(),
    "fwd_grad": lambda net: fwd_grad(lambda: loss_of(net), nn.ParamState, key=jax.random.key(0))(),
    "in a dict": lambda net: grad(lambda: loss_of(net), {"net": net})(),
    "in a list": lambda net: grad(lambda: loss_of(net), [net])(),
}
# What has gone through JAX, and what is built by hand, is taken by path.
THROUGH = {
    "jax.tree.map": lambda g: jax.tree.map(lambda x: 2.0 * x, g),
    "another view": lambda g: g.to_nest(),
    "optax.tree": lambda g: optax.tree.scale(0.5, g),
    "nested dict": lambda g: g.to_nest().to_pure_dict(),
    "dict by path": lambda g: g.to_pure_dict(),
    "NestedDict": lambda g: NestedDict.from_flat(g.to_pure_dict()),
    "filtered": lambda g: g.filter(...),
    "joined": lambda g: g | FlattedDict({}),
    "deepcopy": copy.deepcopy,
    "pickle": lambda g: pickle.loads(pickle.dumps(g)),
    "jit": jit(lambda g: g),
    "vmap": lambda g: vmap(lambda _: g, out_axes=None)(X),
}


def pair(transformation=None):
    """Two models of one class, and an optimizer for each; which values they have does not tell them apart."""
    nets = [nn.Linear(2, 2, rng=nn.RandomState(seed)) for seed in range(2)]
    return nets, [nn.Optimizer(net, transformation or optax.sgd(0.1)) for net in nets]


def weights(net):
    return [p.value for p in net.parameters()]


@each("way", KNOWN)
@each("traced", [False, True])
def test_the_gradients_of_a_model_move_it_and_no_other(way, traced):
    (mine, other), (optimizer, others) = pair()
    before = [*weights(mine), *weights(other)]

    def right():
        optimizer.update(KNOWN[way](mine))

    def wrong():
        others.update(KNOWN[way](mine))

    right, wrong = (jit(right), jit(wrong)) if traced else (right, wrong)
    with pytest.raises(GraphError, match=r"gradients are of another model: the one for .*bias is of .*bias.*optimizer"):
        wrong()
    assert all(a is b for a, b in zip(before, [*weights(mine), *weights(other)], strict=True))
    assert int(others.step.value) == 0
    right()
    assert all(a is b for a, b in zip(before[2:], weights(other), strict=True))
    assert not any((a == b).all() for a, b in zip(before[:2], weights(mine), strict=True))


@each("through", THROUGH)
def test_what_has_gone_through_jax_is_taken_by_path(through):
    (mine, other), (optimizer, others) = pair()
    given = THROUGH[through](KNOWN["by node"](mine))
    assert not isinstance(given, (FlattedDict, NestedDict)) or owners_of(given) is None
    expected = [w - 0.1 * g for w, g in zip(weights(other), jax.tree.leaves(given), strict=True)]
    others.update(given)
    assert all(jnp.allclose(a, b, rtol=1e-6) for a, b in zip(weights(other), expected, strict=True))
    optimizer.update(given)


def test_it_is_beside_the_pytree():
    (mine, other), _ = pair()
    one, two = KNOWN["by node"](mine), KNOWN["by node"](other)
    assert jax.tree.structure(one) == jax.tree.structure(two)
    assert jax.tree.structure(one) == jax.tree.structure(FlattedDict(one.to_pure_dict()))
    total = jax.tree.map(jnp.add, one, two)
    assert owners_of(total) is None
    traces = []

    @jax.jit
    def norm(g):
        traces.append(1)
        return optax.tree.norm(g)

    norm(one), norm(two), norm(total)
    assert len(traces) == 1
    assert list(owners_of(one).values()) == [mine.bias, mine.weight]
    assert one == FlattedDict(one.to_pure_dict())


def test_both_models_are_named():
    (generator, critic), (of_generator, _) = pair()
    assert generator is not critic
    g = grad(lambda: loss_of(critic), critic)()
    with pytest.raises(GraphError, match=r"\(`critic\.bias`\).*\(`generator\.bias`\).*to_pure_dict"):
        of_generator.update(g)
    of_generator.update(g.to_pure_dict())  # the line that the message shows


def test_a_cell_of_a_notebook_that_is_run_again():
    nets, optimizers = pair()
    names = {"net": nets[0], "optimizer": optimizers[0], "loss_of": loss_of, "value_and_grad": value_and_grad, "nn": nn}
    exec(
        "def step():\n    l, g = value_and_grad(lambda: loss_of(net), nn.ParamState)()\n    optimizer.update(g)", names
    )
    step = jit(names["step"])
    step()
    before = weights(nets[0])
    names["net"] = nets[1]
    with pytest.raises(GraphError, match=r"another model: the one for bias is of .*`net\.bias`.* optimizer moves"):
        step()
    assert all(a is b for a, b in zip(before, weights(nets[0]), strict=True))
    names["optimizer"] = optimizers[1]
    step()


def test_two_parameters_of_one_model_are_not_exchanged():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer = nn.Optimizer([a, b], optax.sgd(0.1))
    with pytest.raises(GraphError, match=r"the one for 0\.bias is of .*the optimizer moves"):
        optimizer.update(grad(lambda: loss_of(a) + loss_of(b), [b, a])())
    optimizer.update(grad(lambda: loss_of(a) + loss_of(b), [a, b])())


def test_a_copy_made_inside_has_other_states():
    net, _ = nn.Linear(2, 2), None
    optimizer = nn.Optimizer(net, optax.sgd(0.1))

    def step(as_pure):
        inside = treefy_merge(*treefy_split(net))
        g = grad(lambda: loss_of(inside), inside)()
        optimizer.update(g.to_pure_dict() if as_pure else g)

    with pytest.raises(GraphError, match="another model"):
        jit(step, static_argnums=0)(False)
    jit(step, static_argnums=0)(True)
    assert int(optimizer.step.value) == 1


def test_a_line_search_is_given_the_gradient_twice():
    (mine, other), _ = pair()
    optimizer = nn.Optimizer(mine, optax.lbfgs())
    value, own = value_and_grad(lambda: loss_of(mine), mine)()
    _, strange = value_and_grad(lambda: loss_of(other), other)()

    def value_fn(_):
        return value

    with pytest.raises(GraphError, match="another model"):
        optimizer.update(own, value=value, grad=strange, value_fn=value_fn)


def test_a_deleted_gradient_is_refused_by_name():
    net = nn.Linear(2, 2)
    optimizer = nn.Optimizer(net, optax.sgd(0.1))
    gone = KNOWN["by node"](net).to_pure_dict()
    gone["weight",].delete()
    before = weights(net)
    with pytest.raises(GraphError, match="weight is given a gradient that was deleted"):
        optimizer.update(gone)
    assert all(a is b for a, b in zip(before, weights(net), strict=True))
    assert graphdef(net) is graphdef(nn.Linear(2, 2))


# -- buffers of what optax keeps ---------------------------------------------------------------------------------------


def twice():
    """A transformation that begins with the parameters, and has them twice."""
    return optax.GradientTransformation(lambda p: {"slow": p, "best": [p]}, lambda g, s, p=None: (g, s))


@each(
    "make",
    [twice, lambda: optax.chain(optax.ema(0.9), twice()), lambda: optax.contrib.schedule_free(optax.sgd(0.1), 0.1)],
)
def test_what_begins_as_the_parameters_is_a_copy(make):
    net = nn.Linear(2, 2)
    optimizer = nn.Optimizer(net, make())
    arrays = [*weights(net), *jax.tree.leaves(optimizer.opt_state.value)]
    assert len({a.unsafe_buffer_pointer() for a in arrays}) == len(arrays)

    @jit(donate_states=True)
    def step():
        optimizer.update(grad(lambda: loss_of(net), nn.ParamState)())

    step()
    step()
    assert int(optimizer.step.value) == 2
