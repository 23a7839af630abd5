from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import brainstate_nn as nn
from brainstate_graph import Any as AnyOf
from brainstate_graph import (
    FlattedDict,
    GraphError,
    Overlay,
    PathContains,
    clone,
    graphdef,
    treefy_merge,
    treefy_split,
    treefy_states,
)
from brainstate_transform import for_loop, grad, jit, scan, value_and_grad, vmap
from tests.nn.oracle import sample
from tests.tables import each


def make_net():
    rng = nn.RandomState(0)
    return nn.Sequential(nn.Linear(3, 5, rng=rng), nn.tanh, nn.Linear(5, 1, rng=rng))


def loss_of(net, x, y):
    return jnp.mean((net(x) - y) ** 2)


def data():
    x = sample(8, 3)
    return x, x.sum(1, keepdims=True)


TRANSFORMATIONS = {
    "sgd": lambda: optax.sgd(0.1),
    "momentum": lambda: optax.sgd(0.1, momentum=0.9),
    "adam": lambda: optax.adam(1e-2),
    "clip": lambda: optax.chain(optax.clip_by_global_norm(0.1), optax.adamw(1e-2)),
    "schedule": lambda: optax.sgd(optax.cosine_decay_schedule(0.1, 10)),
    "masked": lambda: optax.adamw(1e-2, mask=lambda params: jax.tree.map(lambda p: p.ndim > 1, params)),
    "frozen bias": lambda: optax.multi_transform(
        {"move": optax.sgd(0.1), "stay": optax.set_to_zero()},
        lambda params: jax.tree.map(lambda p: "move" if p.ndim > 1 else "stay", params),
    ),
    "every second": lambda: optax.MultiSteps(optax.adam(1e-2), 2),
    "partition": lambda: optax.partition(
        {"layers.0": optax.adam(1e-2), "layers.2": optax.sgd(0.1)},
        lambda params: jax.tree_util.tree_map_with_path(lambda path, _: dotted(path)[: len("layers.0")], params),
    ),
    "masked by path": lambda: optax.adamw(
        1e-2,
        weight_decay=0.5,
        mask=lambda params: jax.tree_util.tree_map_with_path(lambda path, _: dotted(path).endswith("weight"), params),
    ),
    "hyperparameters": lambda: optax.inject_hyperparams(optax.adam)(1e-2),
}


def dotted_name(path):
    return ".".join(map(str, path))


def dotted(path):
    return jax.tree_util.keystr(path, simple=True, separator=".")


def by_hand(tx, steps=4):
    """The same training with plain optax and plain dictionaries."""
    shape, tree = treefy_split(make_net())
    params = tree.to_pure_dict()
    state = tx.init(params)

    @jax.jit
    def step(params, state):
        grads = jax.grad(lambda p: loss_of(treefy_merge(shape, p), *data()))(params)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return params


@each("name", TRANSFORMATIONS)
def test_is_plain_optax(name):
    net = make_net()
    optimizer = nn.Optimizer(net, TRANSFORMATIONS[name]())

    @jax.jit
    def step(shape, tree):
        both = treefy_merge(shape, tree)
        net_shape, params = treefy_split(both["net"])
        both["optimizer"].update(jax.grad(lambda p: loss_of(treefy_merge(net_shape, p), *data()))(params))
        return treefy_states(both)

    shape, tree = treefy_split({"net": net, "optimizer": optimizer})
    for _ in range(4):
        tree = step(shape, tree)
    both = treefy_merge(shape, tree)
    expected = by_hand(TRANSFORMATIONS[name]())
    for i in (0, 2):
        for array in ("weight", "bias"):
            np.testing.assert_allclose(
                getattr(both["net"][i], array).value, expected["layers"][i][array], rtol=1e-5, atol=1e-6
            )


def grads_for(net):
    shape, params = treefy_split(net, nn.ParamState)
    return jax.grad(lambda p: loss_of(treefy_merge(shape, p), *data()))(params)


@each(
    "form",
    [
        lambda g: g,
        lambda g: g.to_flat(),
        lambda g: dict(g.to_flat().items()),
        lambda g: g.to_flat().to_dict_values(),
        lambda g: g.to_pure_dict(),
    ],
    ids=["nested tree", "flat tree", "dict of treefied", "dict of arrays", "nested dict"],
)
def test_gradients_in_any_form_move_the_live_states(form):
    net = make_net()
    optimizer = nn.Optimizer(net, optax.sgd(1.0))
    grads = grads_for(net)
    expected = net[0].weight.value - grads["layers"][0]["weight"].value
    optimizer.update(form(grads))
    np.testing.assert_allclose(net[0].weight.value, expected, rtol=1e-6)


def test_a_tied_weight_moves_once():
    class Tied(nn.Module):
        def __init__(self):
            self.encoder = nn.Linear(2, 2, use_bias=False)
            self.decoder = nn.Linear(2, 2, use_bias=False)
            self.decoder.weight = self.encoder.weight

        def __call__(self, x):
            return self.decoder(self.encoder(x))

    net = Tied()
    optimizer = nn.Optimizer(net, optax.sgd(1.0))
    assert len(optimizer.params) == 1
    w = net.encoder.weight.value
    x = sample(3, 2)
    expected = w - jax.grad(lambda w: jnp.mean((x @ w @ w) ** 2))(w)
    shape, params = treefy_split(net)
    optimizer.update(jax.grad(lambda p: jnp.mean(treefy_merge(shape, p)(x) ** 2))(params))
    np.testing.assert_allclose(net.decoder.weight.value, expected, rtol=1e-4, atol=1e-6)
    assert net.decoder.weight is net.encoder.weight


def test_a_part_of_the_parameters():
    net = make_net()
    head = net.states(nn.ParamState).filter(lambda path, state: path[1] == 2)
    optimizer = nn.Optimizer(head, optax.sgd(1.0))
    assert list(optimizer.params) == ["layers.2.bias", "layers.2.weight"]
    before = net[0].weight.value
    optimizer.update({path: jnp.ones_like(state.value) for path, state in head.items()})
    assert net[0].weight.value is before
    nn.Optimizer(dict(head.items()), optax.sgd(1.0))


def test_other_kinds_and_values_that_are_trees():
    state = nn.State({"w": jnp.ones((2, 3)), "b": jnp.ones(3)})
    optimizer = nn.Optimizer({("p",): state}, optax.adam(1.0))
    optimizer.update(FlattedDict({("p",): {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}}))
    assert jax.tree.map(jnp.shape, state.value) == {"w": (2, 3), "b": (3,)}
    with pytest.raises(GraphError, match="p has shape"):
        optimizer.update(FlattedDict({("p",): {"w": jnp.ones((2, 3)), "b": jnp.ones(2)}}))


def test_parameters_keep_their_dtype():
    net = nn.Linear(2, 2, param_dtype=jnp.bfloat16)
    optimizer = nn.Optimizer(net, optax.adam(1e-2))
    optimizer.update({path: jnp.ones(s.value.shape, jnp.float32) for path, s in net.states().items()})
    assert net.weight.value.dtype == jnp.bfloat16


def test_extra_arguments_reach_the_transformation_that_takes_them():
    seen = []

    def update(updates, state, params=None, *, value, **extra):
        seen.append(value)
        return updates, state

    tx = optax.chain(optax.GradientTransformationExtraArgs(lambda params: (), update), optax.sgd(0.1))
    net = make_net()
    nn.Optimizer(net, tx).update(grads_for(net), value=3.0)
    nn.Optimizer(net, optax.GradientTransformation(*optax.sgd(0.1))).update(grads_for(net), value=4.0)
    assert seen == [3.0]


@each(
    ("change", "text"),
    [
        (lambda g: {p: v for p, v in g.items() if p != ("layers", 0, "bias")}, "missing: layers.0.bias"),
        (lambda g: {**g, ("layers", 0, "bias"): None}, "missing: layers.0.bias"),
        (lambda g: {**g, ("head", "bias"): jnp.ones(1)}, "unexpected: head.bias"),
        (
            lambda g: {**g, ("layers", 0, "bias"): jnp.ones(1)},
            r"layers.0.bias has shape \(5,\), its gradient \(1,\)",
        ),
        (lambda g: {}, "missing: layers.0.bias; missing: layers.0.weight; missing: layers.2.bias"),
    ],
)
def test_gradients_that_do_not_fit_change_nothing(change, text):
    net = make_net()
    optimizer = nn.Optimizer(net, optax.adam(0.1))
    before = jax.tree.leaves(treefy_states(optimizer))
    with pytest.raises(GraphError, match=f"the gradients do not fit the parameters of the optimizer: .*{text}"):
        optimizer.update(change(grads_for(net).to_flat().to_dict_values()))
    assert all(a is b for a, b in zip(jax.tree.leaves(treefy_states(optimizer)), before, strict=True))


def test_all_or_nothing_where_a_value_is_refused():
    net = make_net()
    optimizer = nn.Optimizer(net, optax.sgd(0.1, momentum=0.9))
    grads = grads_for(net)
    before = jax.tree.leaves(treefy_states(optimizer))

    def leaking(scale):
        first = {("layers", 2, "weight"): grads["layers"][2]["weight"].value * scale}
        optimizer.update({**grads.to_flat().to_dict_values(), **first})

    with pytest.raises(Exception, match="cannot take a traced value here"):
        jax.jit(leaking)(1.0)
    assert all(a is b for a, b in zip(jax.tree.leaves(treefy_states(optimizer)), before, strict=True))


def test_under_an_overlay_the_live_states_stay():
    net = make_net()
    optimizer = nn.Optimizer(net, optax.adam(0.1))
    before = net[0].weight.value
    with Overlay() as overlay:
        optimizer.update(grads_for(net))
        assert net[0].weight.value is not before
    assert net[0].weight.value is before
    assert set(overlay.writes) == {*optimizer.params.values(), optimizer.opt_state, optimizer.step}


def test_the_graph_sees_parameters_and_state():
    net = make_net()
    optimizer = nn.Optimizer(net, optax.adam(0.1))
    assert optimizer.states(nn.OptState)["opt_state",] is optimizer.opt_state
    assert optimizer.states(nn.ParamState)["params", "layers.0.weight"] is net[0].weight
    assert optimizer.opt_state.value[0].mu["layers"][0]["weight"].shape == (3, 5)
    assert optimizer.states(nn.OptState)["step",] is optimizer.step
    _, tree = treefy_split({"net": net, "optimizer": optimizer})
    assert len(tree.to_flat()) == 6
    before = graphdef(optimizer)
    optimizer.update(grads_for(net))
    assert graphdef(optimizer) is before


def test_it_trains():
    net = make_net()
    optimizer = nn.Optimizer(net, optax.adam(0.05))
    first = loss_of(net, *data())
    for _ in range(30):
        optimizer.update(grads_for(net))
    assert loss_of(net, *data()) < 0.2 * first


@each("params", [3, [jnp.ones(1)], {"a": 1}, {("a",): jnp.ones(1)}, nn.ParamState(jnp.ones(1))])
def test_what_are_no_parameters(params):
    with pytest.raises(TypeError, match=r"not \w+: write `Optimizer\(model.states\(ParamState\), tx\)`"):
        nn.Optimizer(params, optax.sgd(0.1))


def test_other_refusals():
    weight = nn.ParamState(jnp.ones(1))
    with pytest.raises(ValueError, match=r"wrt=.*ParamState.* selects no state that `Flatten` touches"):
        nn.Optimizer(nn.Flatten(), optax.sgd(0.1))
    with pytest.raises(ValueError, match="params is an empty mapping, which names no state"):
        nn.Optimizer({}, optax.sgd(0.1))
    with pytest.raises(ValueError, match="wrt names ParamState, which Linear does not hold"):
        nn.Optimizer(nn.Linear(1, 1), optax.sgd(0.1), wrt=weight)
    with pytest.raises(TypeError, match=r"RandomState at Dropout\.rng cannot be moved by a gradient, for it holds key"):
        nn.Optimizer(nn.Dropout(0.5), optax.sgd(0.1), wrt=nn.RandomState)
    with pytest.raises(ValueError, match="a and b are one State: give it once"):
        nn.Optimizer({("a",): weight, ("b",): weight}, optax.sgd(0.1))
    with pytest.raises(TypeError, match=r"tx must be a transformation of optax, not float: write `optax.adam"):
        nn.Optimizer(make_net(), 0.1)
    with pytest.raises(TypeError, match=r"grads must be a state tree .*, not int"):
        nn.Optimizer(make_net(), optax.sgd(0.1)).update(1)


@each(
    ("wrt", "names"),
    [
        ("layers.0", ["layers.0.bias", "layers.0.weight"]),
        ("**.weight", ["layers.0.weight", "layers.2.weight"]),
        (PathContains("bias"), ["layers.0.bias", "layers.2.bias"]),
        (lambda path, state: state.value.ndim == 2 and 2 in path, ["layers.2.weight"]),
        ([PathContains(2), "**.weight"], ["layers.0.weight", "layers.2.bias", "layers.2.weight"]),
        (AnyOf(nn.ParamState), ["layers.0.bias", "layers.0.weight", "layers.2.bias", "layers.2.weight"]),
    ],
)
def test_any_filter_says_what_is_moved(wrt, names):
    net = make_net()
    optimizer = nn.Optimizer(net, optax.sgd(1.0), wrt=wrt)
    assert list(optimizer.params) == names
    before = nn.to_flat_dict(net)
    optimizer.update(
        {path: jnp.ones_like(s.value) for path, s in net.states(nn.ParamState).items() if dotted_name(path) in names}
    )
    moved = [name for name, array in nn.to_flat_dict(net).items() if (array != before[name]).any()]
    assert moved == names


def test_statistics_and_hidden_states_can_be_moved_too():
    norm = nn.BatchNorm(2)
    nn.Optimizer(norm, optax.sgd(1.0), wrt=nn.BatchState).update(
        {"running_mean": jnp.ones(2), "running_var": jnp.ones(2)}
    )
    assert norm.running_mean.value.tolist() == [-1.0, -1.0]


WRT = {
    "states": lambda net: net.states(nn.ParamState),
    "a class, of what the function closes over": lambda net: nn.ParamState,
    "the module": lambda net: net,
    "a nested dict": lambda net: {"layers": {0: net[0].states(), 2: net[2].states()}},
}


@each("wrt", WRT)
def test_gradients_of_our_grad_in_each_form(wrt):
    net, other = make_net(), make_net()
    nn.Optimizer(other, optax.sgd(1.0)).update(grads_for(other))
    nn.Optimizer(net, optax.sgd(1.0)).update(grad(lambda: loss_of(net, *data()), WRT[wrt](net))())
    np.testing.assert_allclose(net[0].weight.value, other[0].weight.value, rtol=1e-5, atol=1e-6)


def test_gradients_by_a_class_where_the_model_is_an_argument():
    net = make_net()
    optimizer = nn.Optimizer(net, optax.sgd(1.0))

    @jit
    def step(model, x, y):
        loss, grads = value_and_grad(loss_of, nn.ParamState)(model, x, y)
        optimizer.update(grads)
        return loss

    expected = net[0].weight.value - grads_for(net)["layers"][0]["weight"].value
    step(net, *data())
    np.testing.assert_allclose(net[0].weight.value, expected, rtol=1e-5, atol=1e-6)
    assert optimizer.step.value == 1


def test_several_modules_in_a_list():
    pair = [nn.Linear(2, 2), nn.Linear(2, 2)]
    optimizer = nn.Optimizer(pair, optax.sgd(1.0))
    assert list(optimizer.params) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    before = pair[1].weight.value
    loss = lambda: jnp.sum(pair[1](pair[0](jnp.ones((1, 2)))))
    grads = grad(loss, wrt=pair)()
    optimizer.update(grads)
    np.testing.assert_allclose(pair[1].weight.value, before - grads[1]["weight",])
    by_name = {"first": pair[0], "second": pair[1]}
    optimizer = nn.Optimizer(by_name, optax.sgd(1.0))
    optimizer.update(grad(loss, wrt=by_name)())
    assert list(optimizer.params)[-1] == "second.weight"


def test_lbfgs_takes_value_gradient_and_function():
    net = make_net()
    # the line search that compiles fastest
    tx = optax.lbfgs(linesearch=optax.scale_by_backtracking_linesearch(5, store_grad=True))
    optimizer = nn.Optimizer(net, tx)

    @jit
    def step():
        shape, _, rest = treefy_split(net, nn.ParamState, ...)
        value, grads = value_and_grad(loss_of, nn.ParamState)(net, *data())
        value_fn = lambda params: loss_of(treefy_merge(shape, params, rest), *data())
        optimizer.update(grads, value=value, grad=grads, value_fn=value_fn)
        return value

    shape, tree = treefy_split(make_net())
    loss, params = lambda p: loss_of(treefy_merge(shape, p), *data()), tree.to_pure_dict()

    @jax.jit
    def by_hand(params, state):
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=loss)
        return value, optax.apply_updates(params, updates), state

    state = tx.init(params)
    for _ in range(3):
        expected, params, state = by_hand(params, state)
        assert step() == pytest.approx(float(expected), rel=1e-4)


def test_hyperparameters_can_be_set_without_another_trace():
    net = make_net()
    optimizer = nn.Optimizer(net, optax.inject_hyperparams(optax.sgd)(learning_rate=0.1))
    traces = []

    @jit
    def step():
        traces.append(0)
        optimizer.update(grad(lambda: loss_of(net, *data()), nn.ParamState)())

    step()
    optimizer.opt_state.value = optax.tree.set(optimizer.opt_state.value, learning_rate=jnp.float32(0.0))
    before = net[0].weight.value
    step()
    assert (net[0].weight.value == before).all()
    assert len(traces) == 1


def test_the_number_of_steps():
    net = make_net()
    optimizer = nn.Optimizer(net, optax.adam(0.1))
    for _ in range(3):
        optimizer.update(grads_for(net))
    assert optimizer.step.value == 3
    assert optimizer.step.value.dtype == jnp.int32
    assert optax.tree.get(optimizer.opt_state.value, "count") == 3


def test_what_is_kept_has_the_dtype_of_the_parameter_unless_told():
    net = nn.Linear(2, 2, param_dtype=jnp.bfloat16)
    moments = nn.Optimizer(net, optax.adam(1e-2)).opt_state.value[0]
    assert moments.mu["weight"].dtype == moments.nu["weight"].dtype == jnp.bfloat16
    assert nn.Optimizer(net, optax.adam(1e-2, mu_dtype="float32")).opt_state.value[0].mu["weight"].dtype == jnp.float32


def test_another_layer_in_the_module_is_noticed():
    net = make_net()
    optimizer = nn.Optimizer(net, optax.sgd(0.1))

    @jit
    def step():
        optimizer.update(grad(lambda: loss_of(net, *data()), nn.ParamState)())

    step()
    net.layers[2] = nn.Linear(5, 1)
    text = (
        r"Sequential has other parameters than when the optimizer was made, at layers.2.bias, layers.2.weight: make a"
    )
    for call in (step, lambda: optimizer.update(grads_for(net))):
        with pytest.raises(GraphError, match=text):
            call()
    del net.layers[2]
    with pytest.raises(GraphError, match=text):
        optimizer.update(grads_for(make_net()))
    nn.Optimizer(net, optax.sgd(0.1))


def test_a_layer_beyond_the_filter_may_change():
    net = make_net()
    optimizer = nn.Optimizer(net, optax.sgd(0.1), wrt="layers.0")
    net.layers[2] = nn.Linear(5, 1)
    net.eval()
    optimizer.update({("layers", 0, *path): jnp.ones_like(s.value) for path, s in net[0].states().items()})
    assert optimizer.step.value == 1


def test_a_copy_moves_the_copy():
    both = {"net": make_net()}
    both["optimizer"] = nn.Optimizer(both["net"], optax.adam(0.1))
    other = clone(both)
    before = both["net"][0].weight.value
    other["optimizer"].update(grads_for(other["net"]))
    assert both["net"][0].weight.value is before
    assert (other["net"][0].weight.value != before).any()


def parts(count):
    x, y = data()
    return x.reshape(count, -1, *x.shape[1:]), y.reshape(count, -1, *y.shape[1:])


@pytest.mark.parametrize("count", [1, 4])
def test_gradients_summed_by_a_scan_over_microbatches_are_those_of_the_large_batch(count):
    net, whole = make_net(), make_net()
    nn.Optimizer(whole, optax.adam(0.1)).update(grads_for(whole))
    optimizer = nn.Optimizer(net, optax.adam(0.1))

    @jit
    def step(x, y):
        params = net.states(nn.ParamState)

        def add(total, batch):
            grads = grad(loss_of, params)(net, *batch)
            return jax.tree.map(jnp.add, total, grads), None

        total, _ = scan(add, FlattedDict({path: jnp.zeros_like(p.value) for path, p in params.items()}), (x, y))
        optimizer.update(jax.tree.map(lambda g: g / len(x), total))

    step(*parts(count))
    np.testing.assert_allclose(net[0].weight.value, whole[0].weight.value, rtol=1e-4, atol=1e-5)


def test_microbatches_by_multisteps_are_the_large_batch():
    net, whole = make_net(), make_net()
    nn.Optimizer(whole, optax.adam(0.1)).update(grads_for(whole))
    optimizer = nn.Optimizer(net, optax.MultiSteps(optax.adam(0.1), every_k_schedule=4))
    before = net[0].weight.value
    for_loop(lambda x, y: optimizer.update(grad(loss_of, net.states(nn.ParamState))(net, x, y)), *[
        array[:3] for array in parts(4)
    ])  # fmt: skip
    np.testing.assert_array_equal(net[0].weight.value, before)
    optimizer.update(grad(loss_of, net.states(nn.ParamState))(net, *[array[3] for array in parts(4)]))
    np.testing.assert_allclose(net[0].weight.value, whole[0].weight.value, rtol=1e-4, atol=1e-5)
    assert optimizer.step.value == 4


def test_messages_give_paths_in_the_model():
    net = make_net()
    optimizer = nn.Optimizer(net, optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"Linear at Sequential\.layers\.0 expects 3 features"):
        net(jnp.ones(4))
    assert optimizer.step.value == 0


class Member(nn.Module):
    def __init__(self):
        self.net = nn.Linear(3, 1)
        self.optimizer = nn.Optimizer(self.net, optax.adam(0.1))

    def __call__(self, x, y):
        loss, grads = value_and_grad(loss_of, self.net.states(nn.ParamState))(self.net, x, y)
        self.optimizer.update(grads)
        return loss


def test_an_ensemble_each_with_its_optimizer_or_with_one_for_all():
    members = vmap(Member, axis_size=3, new_states=0)()
    together = clone(members.net)
    step = jit(lambda: vmap(lambda: members(*data()), in_states=members, axis_size=3)())
    optimizer = nn.Optimizer(together, optax.adam(0.1))

    @jit
    def one_step():
        def total():
            losses = vmap(lambda: loss_of(together, *data()), in_states=together, axis_size=3)()
            return losses.sum(), losses

        (_, losses), grads = value_and_grad(total, nn.ParamState, has_aux=True)()
        optimizer.update(grads)
        return losses

    for _ in range(3):
        np.testing.assert_allclose(step(), one_step(), rtol=1e-4)
    assert members.optimizer.step.value.tolist() == [3, 3, 3]
    assert len(set(step().tolist())) == 3
