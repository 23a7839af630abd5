from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import All, Not, clone, graphdef, treefy_states
from brainstate_transform import grad, jit
from tests.nn.oracle import sample
from tests.tables import each

NORMAL = nn.initializers.normal(1.0)


def make_net():
    rng = nn.RandomState(0)
    return nn.Sequential(nn.Linear(3, 5, b_init=NORMAL, rng=rng), nn.tanh, nn.Linear(5, 2, rng=rng))


def test_scale_and_first_values():
    base = nn.Linear(3, 4)
    layer = nn.LoRA(3, 2, 4, base=base, alpha=6, rng=nn.RandomState(0))
    assert layer.scale == 3.0
    assert nn.LoRA(3, 2, 4).scale == 1.0
    x = sample(5, 3)
    np.testing.assert_array_equal(layer(x), base(x))
    layer.lora_b.value = sample(2, 4)
    a, b = layer.lora_a.value, layer.lora_b.value
    np.testing.assert_allclose(layer(x), base(x) + 3.0 * (x @ a @ b), rtol=1e-5)
    np.testing.assert_allclose(nn.LoRA(3, 2, 4, b_init=NORMAL, rng=nn.RandomState(0))(x).shape, (5, 4))


def test_over_several_axes():
    base = nn.LinearGeneral((2, 3), (4, 5), axis=(0, -1), b_init=NORMAL)
    layer = nn.LoRA((2, 3), 2, (4, 5), base=base, axis=(0, -1), b_init=NORMAL)
    assert (layer.lora_a.value.shape, layer.lora_b.value.shape) == ((2, 3, 2), (2, 4, 5))
    x = sample(2, 7, 3)
    want = np.einsum("iaj,ijr,rkl->akl", x, layer.lora_a.value, layer.lora_b.value) + base(x)
    np.testing.assert_allclose(layer(x), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.merge()(x), want, rtol=1e-4, atol=1e-5)
    std = nn.LoRA((64, 2), 50, 3, axis=(-2, -1), rng=nn.RandomState(0)).lora_a.value.std()
    np.testing.assert_allclose(std, (2 / 128) ** 0.5, rtol=0.05)  # he: by 128 inputs


def test_the_result_has_the_dtype_of_the_base():
    base = nn.Linear(3, 4, param_dtype="bfloat16")
    layer = nn.LoRA(3, 2, 4, base=base)
    assert layer.lora_a.value.dtype == jnp.float32
    assert layer(jnp.ones(3, jnp.bfloat16)).dtype == jnp.bfloat16
    assert nn.LoRA(3, 2, 4)(jnp.ones(3, jnp.bfloat16)).dtype == jnp.float32


def test_merge_is_a_plain_layer_and_leaves_the_base():
    base = nn.Linear(3, 4, precision="highest", b_init=NORMAL)
    before = base.weight.value
    layer = nn.LoRA(3, 2, 4, base=base, alpha=1.0, b_init=NORMAL)
    merged = layer.merge()
    assert type(merged) is nn.Linear
    assert graphdef(merged) is graphdef(base)
    assert merged.bias is not base.bias
    np.testing.assert_allclose(merged(sample(5, 3)), layer(sample(5, 3)), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(base.weight.value, before)
    low = nn.LoRA(3, 2, 4, base=nn.Linear(3, 4, param_dtype="bfloat16")).merge()
    assert low.weight.value.dtype == jnp.bfloat16


def test_training_moves_the_corrections_alone():
    net = make_net()
    assert nn.add_lora(net, 2, b_init=NORMAL) == ["layers.0", "layers.2"]
    adapters = net.states(nn.LoRAParam)
    rest = net.states(All(nn.ParamState, Not(nn.LoRAParam)))
    assert [path[-2:] for path in rest] == 2 * [("base", "bias"), ("base", "weight")]
    assert len(net.states(nn.ParamState)) == len(adapters) + len(rest)
    optimizer = nn.Optimizer(adapters, optax.adam(1e-2))
    x, y = sample(8, 3), sample(8, 2, seed=1)
    frozen = {path: state.value for path, state in rest.items()}

    def loss():
        return jnp.mean((net(x) - y) ** 2)

    @jit
    def step():
        grads, value = grad(loss, adapters, return_value=True)()
        optimizer.update(grads)
        return value

    losses = [float(step()) for _ in range(4)]
    assert losses == sorted(losses, reverse=True)
    for path, state in rest.items():
        assert state.value is frozen[path]
    by_filter = jit(lambda: grad(loss, nn.LoRAParam)())()
    assert list(by_filter) == list(adapters)


class Shares(nn.Module):
    def __init__(self):
        self.shared = nn.Linear(2, 2)
        self.parts = {"again": self.shared, "pair": (self.shared, nn.LinearGeneral(2, 2))}
        self.conv = nn.Conv1d(2, 2, 3)

    def __call__(self, x):
        return self.parts["pair"][1](self.parts["again"](self.shared(x)))


def test_a_shared_layer_gets_one_correction_in_all_places():
    net = Shares()
    x = sample(3, 2)
    want, weight = net(x), net.shared.weight
    assert nn.add_lora(net, 1) == ["parts.again", "parts.pair.1"]
    assert type(net.shared) is nn.LoRA
    assert net.shared is net.parts["again"] is net.parts["pair"][0]
    assert net.shared.base.weight is weight
    assert type(net.parts["pair"][1]) is nn.LoRA
    np.testing.assert_array_equal(net(x), want)
    assert len(net.states(nn.LoRAParam)) == 4
    net.shared.lora_b.value = jnp.ones((1, 2))
    want = net(x)
    assert nn.merge_lora(net) == ["parts.again", "parts.pair.1"]
    assert type(net.shared) is nn.Linear
    assert net.shared is net.parts["again"] is net.parts["pair"][0]
    np.testing.assert_allclose(net(x), want, rtol=1e-5, atol=1e-6)


@each(
    ("where", "chosen"),
    [
        (..., ["layers.0", "layers.2"]),
        ("layers.0", ["layers.0"]),
        ("layers.*", ["layers.0", "layers.2"]),
        (nn.Linear, ["layers.0", "layers.2"]),
        (lambda path, layer: layer.out_size == 2, ["layers.2"]),
    ],
    ids=["all", "path", "glob", "class", "function"],
)
def test_where(where, chosen):
    net = make_net()
    assert nn.add_lora(net, 1, where) == chosen
    assert [name for name in ("layers.0", "layers.2") if type(nn.get_at(net, name)) is nn.LoRA] == chosen


def test_what_is_corrected_already_is_left():
    net = make_net()
    nn.add_lora(net, 1, "layers.0")
    assert nn.add_lora(net, 1) == ["layers.2"]
    assert type(net[0].base) is nn.Linear
    with pytest.raises(ValueError, match="Sequential holds no linear layer for a LoRA"):
        nn.add_lora(net, 1)


def test_options_of_the_new_layers():
    net = nn.Sequential(nn.Linear(2, 2, dtype="float32", param_dtype="bfloat16", precision="high"))
    other = clone(net)
    nn.add_lora(net, 2, alpha=4, rng=nn.RandomState(0))
    assert (net[0].dtype, net[0].precision, net[0].scale) == (jnp.float32, jax.lax.Precision.HIGH, 2.0)
    assert net[0].lora_a.value.dtype == jnp.bfloat16
    nn.add_lora(other, 2, param_dtype="float32", a_init=nn.initializers.ones)
    np.testing.assert_array_equal(other[0].lora_a.value, jnp.ones((2, 2), jnp.float32))
    assert other[0].lora_a.value.dtype == jnp.float32


def test_the_projections_of_attention():
    layer = nn.MultiHeadAttention(2, 4)
    x = sample(1, 3, 4)
    want = layer(x)
    assert nn.add_lora(layer, 1, lambda path, _: path[-1] in ("query", "value")) == ["query", "value"]
    np.testing.assert_allclose(layer(x), want, rtol=1e-6)


@each(
    ("options", "kind", "text"),
    [
        ({"in_size": 0}, ValueError, "in_size must be a positive whole number, not 0"),
        ({"rank": 0}, ValueError, "rank must be a positive whole number, not 0"),
        ({"out_size": None}, ValueError, "out_size must be a positive whole number, not None"),
        ({"alpha": 0}, ValueError, "alpha must be a number greater than 0, not 0"),
        ({"base": 3}, TypeError, "base must be a layer or a function, or None, not int"),
        (
            {"base": nn.Linear(3, 3)},
            ValueError,
            r"must be those of the base, which are \(3,\), \(3,\), \(-1,\), not \(2,",
        ),
        ({"axis": 0, "base": nn.LinearGeneral(2, 3)}, ValueError, r"\(-1,\), not \(2,\), \(3,\), \(0,\)"),
        ({"a_init": 0.1}, TypeError, "a_init must be a function"),
        ({"b_init": 0.1}, TypeError, "b_init must be a function"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_wrong_options(options, kind, text):
    with pytest.raises(kind, match=text):
        nn.LoRA(**{"in_size": 2, "rank": 2, "out_size": 3, **options})


def test_wrong_calls():
    net = nn.Sequential(nn.LoRA(2, 1, 3, base=lambda x: x))
    where = r"^LoRA at Sequential\.layers\.0 "
    with pytest.raises(ValueError, match=where + r"expects 2 features along axis -1 of `x`, which is f32\[3\]"):
        net(jnp.ones(3))
    with pytest.raises(
        ValueError, match=where + r"cannot add f32\[3\] to the result of its base, f32\[2\]: give `base`"
    ):
        net(jnp.ones(2))
    with pytest.raises(
        TypeError, match=where + "cannot be merged: its `base` must be a Linear or LinearGeneral, not func"
    ):
        nn.merge_lora(net)


def test_a_model_is_changed_whole_or_not_at_all():
    net = make_net()
    before, values = graphdef(net), treefy_states(net)
    with pytest.raises(ValueError, match=r"where chooses none of the linear layers of Sequential, which are layers\.0"):
        nn.add_lora(net, 2, "layer.*")
    with pytest.raises(ValueError, match="for a single layer write `LoRA"):
        nn.add_lora(net[0], 2)
    with pytest.raises(ValueError, match="Sequential holds no LoRA"):
        nn.merge_lora(net)
    with pytest.raises(ValueError, match="rank must be a positive whole number"):
        nn.add_lora(net, 0)

    def second_fails(key, shape, dtype):
        return jnp.zeros((3, 2) if shape == (3, 2) else 7)

    with pytest.raises(ValueError, match="a_init returned an array of shape"):
        nn.add_lora(net, 2, a_init=second_fails)
    assert graphdef(net) is before
    assert jax.tree.leaves(treefy_states(net)) == jax.tree.leaves(values)


def test_out_sharding():
    layer = nn.LoRA(4, 1, (2, 2), base=nn.LinearGeneral(4, (2, 2)))
    mesh = jax.make_mesh((1, 1), ("data", "model"))
    with jax.set_mesh(mesh):
        x = jax.device_put(jnp.ones((3, 4)), jax.NamedSharding(mesh, jax.P("data", "model")))
        for state, spec in ((layer.base.weight, jax.P("model", None, None)), (layer.lora_a, jax.P("model", None))):
            state.value = jax.device_put(state.value, jax.NamedSharding(mesh, spec))
        wanted = jax.P("data", None, "model")
        for spec in (wanted, jax.NamedSharding(mesh, wanted)):
            assert jax.typeof(layer(x, out_sharding=spec)).sharding.spec == wanted
