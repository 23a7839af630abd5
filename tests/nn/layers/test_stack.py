from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import StructureError, clone, graphdef, treefy_states
from brainstate_transform import for_loop, grad, jit, lane_axes, make_jaxpr, vmap
from tests.tables import each


class Block(nn.Module):
    """Parameters, statistics, a count, a stream of its own, a stream and a module in common, and a hidden state."""

    def __init__(self, rng=None, common=None):
        self.linear = nn.Linear(4, 4)
        self.norm = nn.BatchNorm(4)
        self.own = nn.Dropout(0.5)
        self.calls = nn.LongTermState(jnp.zeros((), jnp.int32))
        if rng is not None:
            self.rng_in_common = nn.Dropout(0.2, rng=rng)
            self.common = common

    def init_state(self, batch_size, **kwargs):
        self.h = nn.HiddenState(self.own.rng.normal((batch_size, 4)))

    def __call__(self, x, shift=0.0, *, scale=1.0):
        self.calls.value += 1
        if hasattr(self, "h"):
            self.h.value = x = 0.5 * self.h.value + x
        if hasattr(self, "common"):
            x = self.common(self.rng_in_common(x))
        return self.own(self.norm(jnp.tanh(self.linear(x)))) * scale + shift


X = jax.random.normal(jax.random.key(0), (6, 4))


def make(n, seed=0, **options):
    nn.seed(seed)
    rng, common = nn.RandomState(1), nn.Linear(4, 4)
    return nn.Stack(n, lambda: Block(rng, common), **options)


def in_a_row(layers, x, **options):
    for layer in layers:
        x = layer(x, **options)
    return x


def close(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def test_built_as_in_a_python_loop():
    """With the same seed the layers are those of ``[build() for _ in range(n)]``, to the bit."""
    stack = make(3)
    nn.seed(0)
    rng, common = nn.RandomState(1), nn.Linear(4, 4)
    for ours, plain in zip(stack, [Block(rng, common) for _ in range(3)], strict=True):
        assert jnp.array_equal(ours.linear.weight.value, plain.linear.weight.value)
        assert jnp.array_equal(*(jax.random.key_data(b.own.rng.value[0]) for b in (ours, plain)))
    weight = stack.layers.linear.weight.value
    assert weight.shape == (3, 4, 4)
    assert len({float(w) for w in weight[:, 0, 0]}) == 3


def test_names_in_a_checkpoint():
    stack = nn.Stack(2, lambda: nn.Linear(2, 2))
    assert list(nn.to_flat_dict(stack)) == ["layers.bias", "layers.weight"]
    assert len(stack) == stack.n == 2


@pytest.mark.parametrize(("n", "options"), [(3, {}), (3, {"checkpoint": True, "unroll": 2})], ids=str)
def test_it_computes_what_the_layers_do_one_after_another(n, options):
    """The result, gradients and all states, with hidden states, in training."""
    stack = nn.init_all_states(make(n, **options), 6)
    layers = clone(stack).unstack()

    def gradients(run, params):
        return jit(lambda: grad(lambda: (run(X) ** 3).sum(), params, return_value=True)())()

    own = [{k: v for k, v in layer.states(nn.ParamState).items() if k[0] != "common"} for layer in layers]
    grads, value = gradients(lambda x: stack(x, scale=2.0), stack.layers.states(nn.ParamState))
    theirs, want = gradients(lambda x: in_a_row(layers, x, scale=2.0), [*own, dict(layers[0].common.states().items())])
    close(value, want)
    close({k: v for k, v in grads.items() if k[0] != "common"}, stacked(theirs[:-1]))
    close({k[1:]: v for k, v in grads.items() if k[0] == "common"}, theirs[-1])
    for path, state in stack.layers.states().items():
        values = [layer.states()[path].value for layer in layers]
        close(state.value, values[0] if path[0] in ("common", "rng_in_common") else stacked(values))
    assert stack.layers.calls.value.tolist() == [1] * n


def test_what_the_layers_share_is_one():
    stack = make(3)
    kinds = sorted(type(item).__name__ for item in stack.shared)
    assert kinds == ["Linear", "RandomState"]
    assert stack.layers.common.weight.value.shape == (4, 4)
    assert stack[0].common is stack[2].common is stack.layers.common
    before = int(stack.layers.rng_in_common.rng.value[1])
    stack(X)
    assert int(stack.layers.rng_in_common.rng.value[1]) == before + 3
    for twin in (clone(stack), make(1)):
        assert twin.layers.common is twin.shared[[*map(type, twin.shared)].index(nn.Linear)]


def test_dropout_differs_from_layer_to_layer():
    class Mask(nn.Module):
        def __init__(self):
            self.drop = nn.Dropout(0.5)

        def __call__(self, masks, place):
            i, masks = masks
            return i + 1, masks.at[i].set(self.drop(jnp.ones(64)))

    _, masks = nn.Stack(4, Mask)((0, jnp.zeros((4, 64))), None)
    assert len({tuple(mask) for mask in masks.tolist()}) == 4


def test_one_layer_is_a_copy():
    stack = make(3)
    layer = stack[-1]
    layer.linear.weight.value *= 0
    assert stack.layers.linear.weight.value[2].any()
    assert graphdef(stack[0]) is graphdef(stack[1])
    with pytest.raises(IndexError, match="the Stack has 3 layers, not a layer 3"):
        stack[3]


def test_what_is_given_besides_goes_to_every_layer():
    stack = nn.Stack(3, Block).eval()
    layers = stack.unstack()
    shift = jnp.ones(4)[None]
    want = X
    for layer in layers:
        want = layer(want, shift, scale=0.5)
    close(stack(X, shift, scale=0.5), want)


def test_the_number_of_layers_does_not_matter_for_tracing():
    traces = []

    class Counting(nn.Module):
        def __init__(self):
            self.linear = nn.Linear(2, 2)

        def __call__(self, x):
            traces.append(1)
            return self.linear(x)

    for n in (2, 50):
        traces.clear()
        jit(nn.Stack(n, Counting))(jnp.ones((1, 2)))
        assert len(traces) <= 2, n


def test_outside_of_a_trace_it_is_compiled_once():
    traces = []

    class Counting(nn.Module):
        def __call__(self, x, shift):
            traces.append(1)
            return x + shift

    stack = nn.Stack(3, Counting)
    for i in range(4):
        out = stack(jnp.zeros(2), jnp.full(2, float(i)))
        assert out.tolist() == [3.0 * i] * 2
    assert len(traces) <= 2


# A stream with an axis for the layers cannot be drawn from in lanes.
def test_train_eval_vmap_and_loops():
    stack = make(2).eval()
    close(vmap(stack)(X), stack(X))
    close(for_loop(stack, X[None])[0], stack(X))
    close(stack(X), in_a_row(stack.unstack(), X))


class Cell(nn.Module):
    asked = 0

    def __init__(self):
        self.rng = nn.RandomState(0)

    def init_state(self, size):
        Cell.asked += 1
        self.h = nn.HiddenState(self.rng.normal((size,)))

    def __call__(self, x):
        self.h.value = self.h.value + x
        return self.h.value


def test_states_of_each_layer_are_made_and_reset_once():
    Cell.asked = 0
    net = nn.init_all_states(nn.Sequential(nn.Stack(3, Cell)), 2)
    stack = net.layers[0]
    assert Cell.asked == 1
    assert stack.layers.h.value.shape == (3, 2)
    net(jnp.ones(2))
    first = stack.layers.h.value
    nn.reset_all_states(net, 2)
    assert stack.layers.h.value.shape == (3, 2)
    assert not jnp.array_equal(stack.layers.h.value, first)


def test_states_of_each_layer_in_lanes():
    net = nn.vmap_init_all_states(nn.Sequential(nn.Stack(3, Cell)), 5, 2)
    assert net.layers[0].layers.h.value.shape == (5, 3, 2)
    assert vmap(net, in_states=nn.HiddenState)(jnp.ones((5, 2))).shape == (5, 2)


def test_an_error_names_the_layer_and_leaves_the_states():
    class Holder(nn.Module):
        def __init__(self):
            self.blocks = nn.Stack(2, Block)

        def __call__(self, x):
            return self.blocks(x)

    net = Holder()
    before = treefy_states(net)
    for run in (net, jit(net)):
        with pytest.raises(ValueError, match=r"Linear at Holder\.blocks\.layer.* expects 4 features"):
            run(jnp.ones((6, 5)))
    close(treefy_states(net), before)


def test_a_layer_that_changes_its_structure_is_refused():
    class Growing(nn.Module):
        def __call__(self, x):
            self.seen = True
            return x

    with pytest.raises(StructureError, match=r"a layer of Stack.* changes its attributes .*seen"):
        nn.Stack(2, Growing)(X)


@each(
    ("arguments", "error", "message"),
    [
        ((0, Block), ValueError, "n must be a positive whole number"),
        ((2, nn.Linear(1, 1).states()), TypeError, "build must be a function that returns a layer"),
        ((2, lambda: nn.relu), TypeError, "build must return a Module, not "),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        nn.Stack(*arguments)


class Flagged(nn.Module):
    def __init__(self):
        self.linear = nn.Linear(4, 4)

    def __call__(self, x, on, *, times=1, how="same", extra=None, plus=None):
        assert type(on) is bool
        assert type(times) is int
        x = x if plus is None else x + plus
        return (self.linear(x) if on and how == "same" and extra is None else x) * times


@each("options", [{}, {"checkpoint": True}, {"checkpoint": jax.checkpoint_policies.dots_saveable}])
def test_python_values_stay_what_they_are(options):
    stack = nn.Stack(3, Flagged, **options)
    layers = stack.unstack()

    def whole(on):
        return stack(X, on, times=2, how="same", plus=jnp.ones(4)[None])

    def one_by_one(on):
        y = X
        for layer in layers:
            y = layer(y, on, times=2, plus=jnp.ones(4)[None])
        return y

    for on in (True, False):
        close(whole(on), one_by_one(on))
        close(jit(lambda on=on: whole(on))(), one_by_one(on))
    got = grad(lambda: (whole(True) ** 2).sum(), stack.layers.linear.weight)()
    ones = [grad(lambda: (one_by_one(True) ** 2).sum(), layer.linear.weight)() for layer in layers]
    close(got, jnp.stack(ones))
    # what is given to all layers has gradients too
    by_plus = jax.grad(lambda plus: (stack(X, True, plus=plus) ** 2).sum())(jnp.ones((1, 4)))

    def plain(plus):
        y = X
        for layer in layers:
            y = layer(y, True, plus=plus)
        return (y**2).sum()

    close(by_plus, jax.grad(plain)(jnp.ones((1, 4))))


def test_a_policy_says_what_is_stored():
    def products(**options):
        stack = nn.Stack(2, lambda: nn.Sequential(nn.Linear(4, 4), jnp.tanh, nn.Linear(4, 4)), **options)
        step = make_jaxpr(lambda: grad(lambda: (stack(X) ** 2).sum(), stack.states(nn.ParamState))())
        return str(step()).count("dot_general")

    policies = jax.checkpoint_policies
    assert products(checkpoint=policies.dots_saveable) == products() < products(checkpoint=True)
    assert products(checkpoint=True, policy=policies.dots_saveable) == products()
    assert products(checkpoint=policies.nothing_saveable) == products(checkpoint=True)


@each(
    ("options", "error", "message"),
    [
        ({"checkpoint": "dots"}, TypeError, "checkpoint must be True, False or a policy such as"),
        ({"checkpoint": 1}, TypeError, "checkpoint must be True, False or a policy such as"),
        ({"policy": max}, ValueError, r"write `checkpoint=True, policy=\.\.\.`"),
        ({"checkpoint": max, "policy": max}, ValueError, "the policy is given twice"),
    ],
)
def test_wrong_policies(options, error, message):
    with pytest.raises(error, match=message):
        nn.Stack(2, nn.Identity, **options)


def test_a_single_layer_has_no_lanes_and_one_of_a_stack_of_stacks_has():
    stack = nn.Stack(2, lambda: nn.Stack(3, lambda: nn.Linear(4, 4)))
    assert lane_axes(stack.layers.layers.weight) == (0, 0)
    assert lane_axes(stack[0].layers.weight) == (0,)
    assert stack[0][0].weight.metadata == {}
    assert graphdef(stack[0]) is graphdef(nn.Stack(3, lambda: nn.Linear(4, 4)))
    assert graphdef(stack[0][0]) is graphdef(nn.Linear(4, 4))
    close(stack(X), in_a_row([layer for inner in stack for layer in inner], X))


def test_a_layer_that_asks_for_its_own_penalty():
    class Penalised(nn.Module):
        def __init__(self):
            self.linear = nn.penalise(nn.Linear(4, 4), "weight", nn.Orthogonal(1.0))

        def __call__(self, x):
            return x + nn.reg_loss(self)

    stack = nn.Stack(3, Penalised)
    close(stack(X) - X, jnp.broadcast_to(nn.reg_loss(stack), X.shape))


def test_layers_that_differ():
    rates = iter((0.1, 0.1, 0.3))
    with pytest.raises(ValueError, match=r"layer 2 is not like layer 0: rate: 0\.1 -> 0\.3"):
        nn.Stack(3, lambda: nn.Dropout(next(rates)))
    sizes = iter((2, 3))

    def layer():
        block = nn.Identity()
        block.weight = nn.ParamState(jnp.ones(next(sizes)))
        return block

    with pytest.raises(
        ValueError, match=r"layer 1 has ParamState at Identity\.weight, which is f32\[3\], where .* f32\[2\]"
    ):
        nn.Stack(2, layer)
