"""A model as data: split, merged under plain JAX, filtered, edited."""

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_nn import compat as brainstate


class Count(brainstate.ShortTermState):
    pass


class Block(brainstate.nn.Module):
    def __init__(self, n, layers):
        super().__init__()
        self.layers = [brainstate.ParamState(jnp.eye(n) * (i + 1.0), tag=f"layer{i}") for i in range(layers)]
        self.calls = Count(jnp.array(0))
        self.head = None

    def __call__(self, x):
        self.calls.value += 1
        for w in self.layers:
            x = x @ w.value
        return x if self.head is None else self.head(x)


model = Block(2, 3)
x = jnp.ones((4, 2))
graphdef, params, others = brainstate.graph.treefy_split(model, brainstate.ParamState, ...)
assert sorted(params.to_flat()) == [("layers", 0), ("layers", 1), ("layers", 2)]
assert list(others.to_flat()) == [("calls",)]


@jax.jit
def step(params, others, x):
    def loss(params):
        net = brainstate.graph.treefy_merge(graphdef, params, others)
        value = jnp.sum(net(x) ** 2)
        return value, brainstate.graph.treefy_states(net, Count)

    grads, states = jax.grad(loss, has_aux=True)(params)
    return jax.tree.map(lambda p, g: p - 1e-3 * g, params, grads), states["calls"]


new, calls = step(params, others, x)


def plain(ws):
    out = x
    for w in ws:
        out = out @ w
    return jnp.sum(out**2)


first = [w.value for w in model.layers]
expected = [w - 1e-3 * g for w, g in zip(first, jax.grad(plain)(first), strict=True)]
np.testing.assert_allclose(new["layers"][1].value, expected[1], rtol=1e-5)
assert int(calls.value) == 1
assert int(model.calls.value) == 0

brainstate.graph.update_states(model, new)
np.testing.assert_allclose(model.layers[2].value, expected[2], rtol=1e-5)
assert [len(found) for found in model.states("layer1", Count)] == [1, 1]
within = model.states(brainstate.util.filter.PathContains("layers"))
assert len(within) == 3
assert brainstate.graph.states(model).to_nest()["calls"] is model.calls

twin = brainstate.graph.clone(model)
twin.calls.value = jnp.array(9)
assert int(model.calls.value) == 0
model.head = twin
assert ("head", "calls") in model.states()
assert int(model.states()[("head", "calls")].value) == 9
assert [len(model.states(allowed_hierarchy=(n, n))) for n in range(3)] == [4, 4, 0]
assert list(model.nodes(allowed_hierarchy=(1, 1))) == [("head",)]
assert [name for name, _ in model.named_children()] == ["head"]
popped = brainstate.graph.pop_states(model, Count)
assert len(popped.to_flat()) == 2
assert len(model.states()) == 6

manager = brainstate.StateDictManager(model.states())
values = manager.subset(brainstate.ParamState).to_dict_values()
manager.assign_values({key: 0 * value for key, value in values.items()})
assert float(model.layers[0].value.sum()) == 0.0
