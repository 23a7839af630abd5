"""Laws that hold for every transform: the transformed function cannot be told from the plain one."""

from __future__ import annotations

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    GraphError,
    Node,
    State,
    StateArgumentError,
    StructureError,
    TraceContextError,
    clone,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from brainstate_nn import RandomState
from brainstate_transform import jit
from tests.laws.transforms import (
    DERIVATIVES,
    FROZEN,
    LOOPS,
    Count,
    Net,
    Param,
    Stack,
    Tied,
    holds_tracer,
    same,
    transforms,
    twin,
    values,
)


def against_plain(wrap, model, f, xs=(1.0, 3.0, 3.0)):
    """Run `f(model, x)` under the transform and plainly on a copy; results and states must agree at each call."""
    oracle = twin(model)
    wrapped = wrap(lambda x: f(model, x))
    for x in map(jnp.float32, xs):
        assert same(wrapped(x), f(oracle, x))
        assert same(values(model), values(oracle))
        assert not holds_tracer(model)


@transforms()
def test_the_second_call_sees_what_the_first_wrote(wrap):
    def f(m, x):
        m.w.value = m.w.value + x
        return m(x) + m.n.value

    against_plain(wrap, Net(), f)


@transforms()
def test_a_value_assigned_between_calls_is_seen(wrap):
    m = Net()
    f = wrap(lambda x: m(x))
    assert f(jnp.float32(3.0)) == 6.0
    m.w.value = jnp.array(5.0)
    assert f(jnp.float32(3.0)) == 15.0
    assert m.n.value == 2.0


@transforms()
def test_states_that_are_only_read_keep_their_very_value(wrap):
    m = Net()
    before = m.w.value
    wrap(lambda x: m(x))(jnp.float32(1.0))
    assert m.w.value is before


@transforms()
def test_a_write_without_a_read(wrap):
    def f(m, x):
        m.w.value = x * 2.0
        return x

    against_plain(wrap, Net(), f)


@transforms()
def test_read_your_own_writes(wrap):
    def f(m, x):
        m.w.value = x
        m.w.value = m.w.value + m.w.value
        return m.w.value

    against_plain(wrap, Net(), f)


@transforms()
def test_clone_inside_is_apart_and_has_the_current_values(wrap):
    def f(m, x):
        m.w.value = m.w.value + x
        copy = clone(m)
        y = copy(x)
        copy.w.value = copy.w.value * 100.0
        return y + m.n.value

    against_plain(wrap, Net(), f)


@transforms()
def test_split_and_merge_inside(wrap):
    def f(m, x):
        m.w.value = m.w.value * x
        shape, params, rest = treefy_split(m, Param, ...)
        doubled = jax.tree.map(lambda v: v * 2.0, params)
        other = treefy_merge(shape, doubled, rest)
        return other(x) + m.w.value

    against_plain(wrap, Net(), f)


@transforms()
def test_update_states_inside(wrap):
    def f(m, x):
        update_states(m, jax.tree.map(lambda v: v + x, treefy_states(m, Param)))
        return m(x)

    against_plain(wrap, Stack(1.0, 2.0), f)


@transforms()
def test_split_before_a_write_keeps_the_old_values(wrap):
    def f(m, x):
        before = treefy_states(m, Param)
        m.w.value = m.w.value + x
        y = m.w.value
        update_states(m, before)
        return y

    against_plain(wrap, Net(), f)


@transforms()
def test_copies_of_a_state_inside(wrap):
    def f(m, x):
        m.w.value = m.w.value + x
        copy, other = m.w.copy(), m.w.replace(x)
        copy.value = copy.value * 2.0
        return copy.value + other.value + m.w.value

    against_plain(wrap, Net(), f)


@transforms()
def test_a_tied_weight_stays_tied(wrap):
    def f(m, x):
        m.a.w.value = m.a.w.value + x
        return m(x)

    m = Tied()
    against_plain(wrap, m, f)
    assert m.a.w is m.b.w


@transforms()
def test_a_changed_hyper_parameter_is_seen_and_so_is_its_return(wrap):
    m = Net()
    f = wrap(lambda x: m(x))
    for rate in (1.0, 3.0, 1.0, -0.0, 0.0):
        m.rate = rate
        result = f(jnp.float32(1.0))
        assert result == 2.0 * rate
        assert np.signbit(result) == np.signbit(rate)


@transforms()
def test_an_appended_layer_is_seen(wrap):
    m = Stack(2.0)
    f = wrap(lambda x: m(x))
    assert f(jnp.float32(1.0)) == 2.0
    m.layers.append(Net(5.0))
    assert f(jnp.float32(1.0)) == 10.0
    m.layers.pop()
    assert f(jnp.float32(1.0)) == 2.0


@transforms()
def test_a_replaced_state_is_seen(wrap):
    m = Net(2.0)
    f = wrap(lambda x: m(x))
    assert f(jnp.float32(1.0)) == 2.0
    old, m.n = m.n, Count(jnp.array(10.0))
    m.w = Param(jnp.array(7.0))
    assert f(jnp.float32(1.0)) == 7.0
    assert (old.value, m.n.value) == (1.0, 11.0)


@transforms()
def test_a_rebound_closure_variable_is_seen(wrap):
    m = first = Net(2.0)
    f = wrap(lambda x: m(x))
    assert f(jnp.float32(1.0)) == 2.0
    m = second = Net(7.0)
    assert f(jnp.float32(1.0)) == 7.0
    assert (first.n.value, second.n.value) == (1.0, 1.0)


class Boom(Exception):
    pass


@transforms()
@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt, ZeroDivisionError])
def test_an_exception_inside_leaves_every_state_as_it_was(wrap, error):
    m = Net()
    fail = True

    def f(x):
        m.w.value = m.w.value + x
        m.n.value = m.n.value + 1.0
        if fail:
            raise error("no")
        return x

    before = (m.w.value, m.n.value)
    wrapped = wrap(f)
    with pytest.raises(error):
        wrapped(jnp.float32(1.0))
    assert (m.w.value, m.n.value) == before
    assert m.w.value is before[0]
    fail = False
    assert wrapped(jnp.float32(2.0)) == 2.0  # and the next call is right
    assert (m.w.value, m.n.value) == (4.0, 1.0)


@transforms()
def test_a_jax_error_inside_leaves_every_state_as_it_was(wrap):
    m = Net()

    def f(x):
        m.w.value = m.w.value + x
        return jnp.ones(2) @ jnp.ones(3)

    with pytest.raises(TypeError):
        wrap(f)(jnp.float32(1.0))
    assert m.w.value == 2.0


@transforms()
def test_a_state_as_result_is_refused(wrap):
    m = Net()
    for result in (lambda x: m.w, lambda x: {"a": [x, m.w]}):

        def f(x, result=result):
            m.n.value = m.n.value + 1.0
            return result(x)

        with pytest.raises(StateArgumentError, match="result") as caught:
            wrap(f)(jnp.float32(1.0))
        assert isinstance(caught.value, TypeError)
        assert isinstance(caught.value, ValueError)
        assert "Param" in str(caught.value)
    assert m.n.value == 0.0


@transforms()
def test_raw_jit_around_a_write_is_refused_and_changes_nothing(wrap):
    m = Net()
    before = values(m)
    with pytest.raises(TraceContextError, match=r"Net\.w"):
        jax.jit(wrap(lambda x: _add(m.w, x)))(jnp.float32(1.0))
    assert same(values(m), before)
    assert not holds_tracer(m)


def _add(state, x):
    state.value = state.value + x
    return x


RAW = {
    "jit": lambda f: jax.jit(f),
    "vmap": lambda f: lambda x: jax.vmap(f)(jnp.reshape(x, (1,)))[0],
    "grad": lambda f: lambda x: jax.value_and_grad(f)(x)[0],
    "scan": lambda f: lambda x: jax.lax.scan(lambda c, x: (c, f(x)), 0.0, jnp.reshape(x, (1,)))[1][0],
}


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
@transforms(without=["custom_vjp", "custom_jvp"], in_short=True)  # which refuse derivatives of a write of no rule
def test_a_raw_transform_between_ours_and_a_write_is_refused(wrap, raw):
    # The tracer belongs to the raw trace, which the overlay of the outer jit does not know.

    m = Net()
    before = values(m)
    with pytest.raises(TraceContextError):
        jit(lambda x: raw(wrap(lambda x: _add(m.w, x)))(x) + m.w.value)(jnp.float32(1.0))
    assert same(values(m), before)
    assert not holds_tracer(m)


@transforms()
def test_reading_a_captured_state_under_raw_jit_is_fine(wrap):
    w = State(jnp.array(2.0))
    assert jax.jit(wrap(lambda x: w.value * x))(jnp.float32(3.0)) == 6.0


@transforms()
def test_temporary_states_inside_are_fine(wrap):
    def f(m, x):
        helper = Net(5.0)
        helper.w.value = helper.w.value + x
        return helper(x) + m(x)

    against_plain(wrap, Net(), f)


@transforms(without=FROZEN)
def test_a_state_left_on_a_captured_node_comes_out_alive(wrap):
    def f(m, x):
        if not hasattr(m, "extra"):
            m.extra = State(m.w.value * x)
        m.extra.value = m.extra.value + 1.0
        return m(x) + m.extra.value

    against_plain(wrap, Net(), f)


@transforms(without=FROZEN)
def test_a_state_put_in_the_place_of_another_comes_out_alive(wrap):
    def f(m, x):
        m.old, m.w = m.w, Param(m.w.value + x)
        return m(x)

    against_plain(wrap, Net(), f)


@transforms(without=FROZEN)
def test_nodes_and_containers_left_on_a_captured_node_come_out_alive(wrap):
    def f(m, x):
        if not hasattr(m, "more"):
            m.more = {"deep": [Net(x), Tied(5.0)], "shared": m.w}
            m.layers = [Net(7.0)]
        else:
            m.layers.append(Net(x))
        return m(x) + m.more["deep"][1](x) + m.layers[-1](x)

    against_plain(wrap, Net(), f)


@transforms(without=FROZEN)
def test_plain_attributes_that_are_set_inside_are_set_after_each_call(wrap):
    m, oracle = Net(), Net()

    def f(m, x):
        m.rate = 2.0 if m.rate == 1.0 else 1.0
        m.calls = getattr(m, "calls", 0) + 1
        if m.calls == 2:
            del m.calls
        return m(x)

    g = wrap(lambda x: f(m, x))
    for _ in range(5):  # programs are used again: what they set must be set again
        assert same(g(jnp.float32(1.0)), f(oracle, jnp.float32(1.0)))
        assert (m.rate, getattr(m, "calls", None)) == (oracle.rate, getattr(oracle, "calls", None))


@transforms(without=FROZEN)
def test_a_change_of_structure_is_undone_by_an_error(wrap):
    m = Net()
    w = m.w

    def f(x):
        m.extra = State(x)
        m.w = Param(x)
        m.rate = 3.0
        del m.n
        raise RuntimeError("half way")

    n = m.n
    with pytest.raises(RuntimeError, match="half way"):
        wrap(f)(jnp.float32(1.0))
    assert (m.w, m.n, m.rate) == (w, n, 1.0)
    assert not hasattr(m, "extra")


@transforms(without=["vmap"])  # where nothing is mapped, nothing is traced
def test_a_traced_value_in_an_attribute_is_refused_by_name(wrap):
    m = Net()

    def f(x):
        m.w.value = m.w.value + x
        m.last = (x * 2.0, "deep")
        return m(x)

    with pytest.raises((GraphError, StructureError), match=r"sets Net\.last to"):
        wrap(f)(jnp.float32(1.0))
    assert not hasattr(m, "last")
    assert m.w.value == 2.0


# Where JAX looks for leaks, it looks before the `jit` around a checkpointed function takes the value out.
@transforms(without=["checkpoint"])
@pytest.mark.parametrize("make", [list, dict])
def test_a_traced_value_in_a_container_is_refused_by_name_and_taken_out(wrap, make):
    m = Net()
    m.seen = make()

    def f(x):
        m.w.value = m.w.value + x
        if make is list:
            m.seen.append({"deep": x * 2.0, 7: "another kind of key"})
        else:
            m.seen["last"] = x * 2.0
        return m(x)

    with pytest.raises(GraphError, match=r"puts a traced value into .*seen, which would outlive .*`State\(value\)`"):
        jit(lambda x: wrap(f)(x))(jnp.float32(1.0))
    assert m.seen == make()
    assert m.w.value == 2.0


@transforms(only=FROZEN)
@pytest.mark.parametrize("change", ["state", "number", "list", "delete"])
def test_where_no_structure_can_be_handed_on_a_change_is_refused(wrap, change):
    m = Net()
    m.layers = []

    def f(x):
        m.w.value = m.w.value + x
        if change == "list":
            m.layers.append(Net(1.0))
        elif change == "delete":
            del m.n
        else:
            m.extra = State(x) if change == "state" else 3.0
        return x

    name = {"list": r"makes .*Net\.layers\.0", "delete": r"sets Net\.n to nothing"}.get(change, r"sets Net\.extra to")
    with pytest.raises(StructureError, match=rf"`.*` {name}.*; a loop, branch, jaxpr or custom rule cannot .* before"):
        wrap(f)(jnp.float32(1.0))
    assert m.w.value == 2.0
    assert m.layers == []
    assert not hasattr(m, "extra")
    assert m.n.value == 0.0


@transforms(without=[*DERIVATIVES, "vmap", *LOOPS])  # see there for nodes in aux, and for lanes and steps
def test_a_new_node_comes_back_with_its_values(wrap):
    m = Net()

    def f(x):
        return Net(m.w.value + x)

    new = wrap(f)(jnp.float32(1.0))
    assert isinstance(new, Net)
    assert new.w.value == 3.0
    assert new.w is not m.w
    assert not holds_tracer(new)
    assert new(jnp.float32(2.0)) == 6.0


@transforms(without=[*DERIVATIVES, "vmap", *LOOPS])
def test_a_returned_node_that_the_caller_holds_is_itself(wrap):
    m = Net()

    def f(x):
        m(x)
        new = Net(1.0)
        new.w = m.w
        return {"old": m, "new": new, "again": m}

    wrapped = wrap(f)
    for n in (1.0, 2.0):
        out = wrapped(jnp.float32(1.0))
        assert out["old"] is out["again"] is m
        assert out["new"] is not m
        assert out["new"].w is m.w
        assert m.n.value == n


VALUES = {
    "int": jnp.array(3),
    "bool": jnp.array(True),
    "complex": jnp.array(1.0 + 2.0j),
    "python int": 3,
    "python float": 2.5,
    "python bool": True,
    "numpy": np.float32(2.0),
    "numpy array": np.arange(3.0, dtype=np.float32),
    "bf16": jnp.ones((2,), jnp.bfloat16),
    "none": None,
    "dict": {"a": jnp.ones(2), "b": (None, jnp.zeros(()))},
    "empty": jnp.zeros((0, 3)),
    "key": jax.random.key(0),
    "raw key": np.array([0, 1], np.uint32),
}


@transforms()
def test_every_kind_of_value_can_be_read_and_written_back(wrap):
    class Boxes(Node):
        def __init__(self):
            self.read = {name: State(value) for name, value in VALUES.items()}
            self.written = {name: State(jax.tree.map(_fresh, value)) for name, value in VALUES.items()}

    boxes = Boxes()

    def f(x):
        for name in VALUES:
            _ = boxes.read[name].value
            boxes.written[name].value = jax.tree.map(lambda v: v, boxes.written[name].value)
        return x

    wrapped = wrap(f)
    for _ in range(2):
        assert wrapped(jnp.float32(1.0)) == 1.0
    for name, value in VALUES.items():
        assert boxes.read[name].value is value, name
        new = boxes.written[name].value
        assert jax.tree.structure(new) == jax.tree.structure(value), name
        for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(value), strict=True):
            assert jnp.shape(a) == jnp.shape(b), name
            if isinstance(b, jax.Array) and jnp.issubdtype(b.dtype, jax.dtypes.prng_key):
                a, b = jax.random.key_data(a), jax.random.key_data(b)
            assert jnp.result_type(a) == jnp.result_type(b), name
            np.testing.assert_array_equal(np.asarray(a, np.complex64), np.asarray(b, np.complex64))


def _fresh(leaf):
    return jnp.copy(leaf) if isinstance(leaf, jax.Array) else leaf


@transforms()
def test_a_weak_type_behaves_as_in_plain_jax(wrap):
    s, x = State(2.0), jnp.ones((), jnp.bfloat16)

    def f(_):
        y = s.value * x
        s.value = s.value + 1.0
        return y.astype(jnp.float32) * (y.dtype == jnp.bfloat16)

    wrapped = wrap(f)
    assert wrapped(jnp.float32(0.0)) == 2.0
    assert wrapped(jnp.float32(0.0)) == 3.0


@transforms()
def test_shape_and_structure_of_a_state_may_change_between_calls(wrap):
    s = State(jnp.ones(3))
    f = wrap(lambda x: sum(jnp.sum(v) for v in jax.tree.leaves(s.value)) * x)
    for value in (jnp.ones(3), jnp.ones((2, 2)), {"a": jnp.ones(5)}, None, jnp.ones(3), jnp.ones(3, jnp.int32)):
        s.value = value
        assert f(jnp.float32(2.0)) == 2.0 * sum(jnp.size(v) for v in jax.tree.leaves(value))


@transforms(without=[*LOOPS, "jit_donating"])
def test_a_write_may_change_the_shape(wrap):
    s = State(jnp.ones(()))

    def f(x):
        s.value = jnp.stack([s.value, s.value])
        return x

    wrapped = wrap(f)
    for n in (1, 2, 3):
        wrapped(jnp.float32(1.0))
        assert s.value.shape == (2,) * n


@transforms()
def test_random_keys_advance_as_in_plain_python(wrap):
    class Drop(Node):
        def __init__(self):
            self.key = State(jax.random.key(7))
            self.w = Param(jnp.array(0.0))

    def f(m, x):
        m.key.value, key = jax.random.split(m.key.value)
        m.w.value = jax.random.normal(key)
        return x

    m, oracle = Drop(), Drop()
    wrapped = wrap(lambda x: f(m, x))
    for _ in range(2):
        wrapped(jnp.float32(0.0))
        f(oracle, jnp.float32(0.0))
        assert jnp.allclose(m.w.value, oracle.w.value)
        assert jnp.array_equal(jax.random.key_data(m.key.value), jax.random.key_data(oracle.key.value))


# Under JAX_CHECK_TRACER_LEAKS, loops and branches that are traced again for such states still keep an inner trace that
# was given up; the values are right, and nothing reaches a state.
@pytest.mark.counts_traces
@transforms()
def test_states_reached_only_dynamically(wrap):
    hidden = [Net(2.0)]
    reach = {"get": lambda: hidden}

    class Dynamic:  # a class is not looked into
        @staticmethod
        def net():
            return reach["get"]()[0]

    table = {id(Dynamic): Dynamic}

    def f(x):
        return next(iter(table.values())).net()(x)

    wrapped = wrap(f)
    assert wrapped(jnp.float32(1.0)) == 2.0
    hidden[0].w.value = jnp.array(5.0)
    assert wrapped(jnp.float32(1.0)) == 5.0
    assert hidden[0].n.value == 2.0


@transforms()
def test_a_traced_value_may_stand_beside_a_model_in_a_closure(wrap):

    m = Net()

    @jit
    def outer(x):
        context = {"model": m, "x": x}
        return wrap(lambda y: context["model"](y) * context["x"])(x)

    assert outer(jnp.float32(3.0)) == 18.0
    assert m.n.value == 1.0


@transforms()
def test_a_model_that_the_outer_function_made(wrap):

    @jit
    def outer(x):
        local = Net(x)
        f = wrap(lambda y: local(y))
        return f(x) + f(x), local.n.value

    y, n = outer(jnp.float32(3.0))
    assert (y, n) == (18.0, 2.0)


@transforms()
def test_a_dropped_model_is_collected(wrap):
    m = Net()
    f = wrap(lambda x: m(x))
    f(jnp.float32(1.0))
    f(jnp.float32(1.0))
    gone = weakref.ref(m)
    f = m = None
    gc.collect()
    assert gone() is None


@transforms()
def test_the_record_of_reads_and_writes_reaches_the_enclosing_trace(wrap):
    from brainstate_graph import Overlay

    m = Net()
    with Overlay() as overlay:
        wrap(lambda x: m(x))(jnp.float32(1.0))
    assert m.w in overlay.reads
    assert m.n in overlay.reads
    assert list(overlay.writes) == [m.n]
    assert m.n.value == 0.0


@transforms()
def test_many_states_few_used(wrap):
    m = Stack(*range(40))
    f = wrap(lambda x: m.layers[3](x) + m.layers[7](x))
    assert f(jnp.float32(2.0)) == 20.0
    assert f(jnp.float32(2.0)) == 20.0
    assert [layer.n.value for layer in m.layers if layer.n.value] == [2.0, 2.0]


@transforms()
def test_the_identity_of_states_survives(wrap):
    m = Stack(1.0, 2.0)
    before = list(states(m).values())
    wrap(lambda x: m(x))(jnp.float32(1.0))
    assert all(a is b for a, b in zip(before, states(m).values(), strict=True))


# A StatefulFunction, and a function with a rule of its own, are reached from their own parts.
@transforms(without=["stateful", "custom_vjp", "custom_jvp"])
def test_a_dropped_function_is_gone_without_the_garbage_collector(wrap):
    class Token:
        pass

    def made(m, token):
        f = wrap(lambda x: (token, m(x))[1])
        return jit(lambda x: f(x)), weakref.ref(token)

    gc.collect()
    gc.disable()
    try:
        compiled, gone = made(Net(), Token())
        assert [float(compiled(jnp.float32(1.0))) for _ in range(2)] == [2.0, 2.0]
        compiled.lower(jnp.float32(1.0)).compile()
        assert gone() is not None
        del compiled
        assert gone() is None
    finally:
        gc.enable()


@transforms(in_short=True)
@pytest.mark.parametrize("donating", [False, True])
def test_a_program_given_some_states_gets_others_inside_a_trace(wrap, donating):
    many = [Param(jnp.float32(i)) for i in range(20)]
    f = jit(lambda x, i: many[i].value * x, static_argnums=1, donate_states=donating)
    x = jnp.float32(1.0)
    assert f(x, 1) == 1.0  # given one of the states from now on
    assert wrap(lambda x: f(x, 5))(x) == 5.0
    assert (f(x, 5), f(x, 1)) == (5.0, 1.0)
    stream = RandomState(0)
    draw = jit(lambda x, noisy: stream.uniform() if noisy else x + many[0].value, static_argnums=1)
    draw(x, False)
    wrap(lambda x: x * draw(x, True))(x)
    assert isinstance(float(draw(x, True)), float)
    assert not holds_tracer(many)
