"""Where states live: `state_shardings`, and shardings of arguments; run in a process with four devices."""

from __future__ import annotations

import jax
import pytest


@pytest.fixture
def mesh():
    return jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))


def models():
    from jax import numpy as jnp

    from brainstate_graph import Node, State
    from tests.laws.transforms import Param

    class Model(Node):
        def __init__(self):
            self.w = Param(jnp.ones((8, 4)))
            self.n = State(jnp.zeros(()))

        def __call__(self, x):
            self.n.value = self.n.value + 1.0
            self.w.value = self.w.value + x.mean()
            return self.w.value.sum()

    return Model(), Param


def spec(mesh, *axes):
    from jax.sharding import NamedSharding, PartitionSpec

    return NamedSharding(mesh, PartitionSpec(*axes))


class Compilations:
    """Counts what XLA compiles."""

    def __init__(self):
        import jax

        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._note)

    def _note(self, event, *_, **__):
        self.count += event.endswith("backend_compile_duration")


def test_one_logical_function_is_one_program(mesh):
    from jax import device_put
    from jax import numpy as jnp

    from brainstate_transform import jit
    from tests.laws.transforms import Runs

    m, Param = models()
    runs, compiled = Runs(), Compilations()
    x = device_put(jnp.ones((8, 2)), spec(mesh, "d"))

    @jit(state_shardings={spec(mesh, "d"): Param, spec(mesh): ...})
    def f(x):
        runs()
        return m(x)

    f(x)
    assert runs.count == 1
    after_one = compiled.count
    for _ in range(4):
        f(x)
        assert m.w.value.sharding == spec(mesh, "d")
        assert m.n.value.sharding.is_fully_replicated
    assert runs.count == 1
    assert compiled.count == after_one
    assert m.n.value == 5.0
    assert (m.w.value == 6.0).all()


def test_states_keep_their_places(mesh):
    from jax import device_put
    from jax import numpy as jnp

    from brainstate_transform import jit

    for donate in (False, True):
        m, _ = models()
        place = spec(mesh, None, "d")
        f = jit(lambda x, m=m: m(x), state_shardings={m.w: place}, donate_states=donate)
        for where in (spec(mesh, "d"), spec(mesh), spec(mesh, None, "d")):
            f(device_put(jnp.ones((8, 4)), where))
            assert m.w.value.sharding == place
        m.w.value = jnp.zeros((8, 4))  # somewhere else
        f(jnp.ones(3))
        assert m.w.value.sharding == place
        assert (m.w.value == 1.0).all()


def test_every_form(mesh):
    import jax
    from jax import numpy as jnp
    from jax.sharding import PartitionSpec

    from brainstate_transform import jit

    m, Param = models()
    rows, everywhere = spec(mesh, "d"), spec(mesh)
    forms = [
        {m.w: rows}, {rows: m.w}, {rows: Param}, {Param: rows}, {"m.w": rows}, {rows: "w"}, {rows: [m.w]},
        {rows: m.w, everywhere: m.n}, {rows: m.w, everywhere: ...}, {PartitionSpec("d"): m.w},
        {"w": PartitionSpec("d")},
    ]  # fmt: skip
    for form in forms:
        m.w.value = jnp.ones((8, 4))
        f = jit(lambda x, m=m: m(x), state_shardings=form)
        with jax.set_mesh(mesh):
            f(jnp.ones(2))
        assert m.w.value.sharding == rows, form
    f = jit(lambda x, m=m: m(x), state_shardings=everywhere)  # one for all
    f(jnp.ones(2))
    assert m.w.value.sharding == everywhere
    assert m.n.value.sharding == everywhere


def test_states_that_are_only_read_are_moved_once(mesh):
    from jax import numpy as jnp

    from brainstate_transform import jit

    m, _ = models()
    f = jit(lambda x, m=m: m.w.value.sum() * x, state_shardings={m.w: spec(mesh, "d")})
    assert f(jnp.ones(())) == 32.0
    kept = m.w.value
    assert kept.sharding == spec(mesh, "d")
    assert f(jnp.ones(())) == 32.0
    assert m.w.value is kept


def test_a_failing_call_moves_nothing(mesh):
    from jax import numpy as jnp

    from brainstate_transform import jit

    m, _ = models()
    before = m.w.value

    def fails(x):
        m(x)
        raise KeyError("half way")

    try:
        jit(fails, state_shardings={m.w: spec(mesh, "d")})(jnp.ones(2))
    except KeyError:
        pass
    else:
        raise AssertionError("it did not fail")
    assert m.w.value is before


def test_a_tree_and_a_key(mesh):
    import jax
    from jax import numpy as jnp

    from brainstate_graph import State
    from brainstate_transform import jit

    tree = State({"a": jnp.ones((4, 2)), "b": 3.0})
    key = State(jax.random.key(0))

    @jit(state_shardings=spec(mesh))
    def f():
        tree.value = {"a": tree.value["a"] + 1.0, "b": tree.value["b"] + 1.0}
        key.value, mine = jax.random.split(key.value)
        return jax.random.normal(mine)

    want = jax.random.normal(jax.random.split(jax.random.key(0))[1])
    assert f() == want
    assert f() != want
    assert tree.value["a"].sharding == spec(mesh)
    assert float(tree.value["b"]) == 5.0


def test_inside_other_transforms(mesh):
    import jax
    from jax import numpy as jnp

    from brainstate_transform import for_loop, grad, jit

    m, _ = models()
    inner = jit(lambda x, m=m: m(x), state_shardings={m.w: spec(mesh, "d")})
    with jax.checking_leaks():
        jit(inner)(jnp.ones(2))
        for_loop(inner, jnp.ones((2, 3)))
        grad(lambda x: inner(x))(jnp.ones(2))
    assert m.n.value == 4.0
    with jax.disable_jit():
        inner(jnp.ones(2))
    assert m.n.value == 5.0
    assert m.w.value.sharding == spec(mesh, "d")


def test_compiled_ahead_of_time(mesh):
    from jax import device_put
    from jax import numpy as jnp

    from brainstate_transform import jit
    from tests.laws.transforms import Runs

    for donate in (False, True):
        m, _ = models()
        runs = Runs()

        def f(x, m=m, runs=runs):
            runs()
            return m(x)

        places = {spec(mesh, "d"): m.w, spec(mesh): ...}
        f = jit(f, state_shardings=places, in_shardings=spec(mesh), donate_states=donate)
        before = m.w.value
        compiled = f.compile(jnp.ones(4))
        assert m.w.value is before
        compiled(device_put(jnp.ones(4), spec(mesh)))
        compiled(device_put(jnp.ones(4), spec(mesh)))
        f(jnp.ones(4))
        assert runs.count == 1
        assert m.w.value.sharding == spec(mesh, "d")
        assert (m.w.value == 4.0).all()
        assert compiled.input_shardings == ((spec(mesh),), {})
        assert "sharding" in f.lower(jnp.ones(4)).as_text()


def test_shardings_of_arguments_as_in_jax(mesh):
    import jax
    import numpy as np
    from jax import numpy as jnp

    from brainstate_transform import jit
    from tests.laws.transforms import Net

    net = Net()
    rows, everywhere = spec(mesh, "d"), spec(mesh)
    x, y = jnp.ones((8, 4)), {"a": jnp.ones((4, 8)), "b": (jnp.ones(8), jnp.ones(4))}

    def pure(x, y):
        return x * 2.0, jax.tree.map(lambda leaf: leaf + 1.0, y)

    def ours(x, y):
        return net(x), jax.tree.map(lambda leaf: leaf + 1.0, y)

    for given in (
        (None, rows), [rows, everywhere], (rows, {"a": None, "b": (rows, None)}), rows,
    ):  # fmt: skip
        extra = {"donate_states": True} if given is rows else {"state_shardings": everywhere} if given[0] else {}
        for out in (rows, (everywhere, {"a": rows, "b": (everywhere, None)})):
            f = jit(ours, in_shardings=given, out_shardings=out, **extra)
            want, got = jax.jit(pure, in_shardings=given, out_shardings=out)(x, y), f(x, y)
            assert jax.tree.structure(want) == jax.tree.structure(got)
            for w, g in zip(jax.tree.leaves(want), jax.tree.leaves(got), strict=True):
                assert w.sharding.is_equivalent_to(g.sharding, w.ndim), (given, out, extra)
                assert np.array_equal(w, g)
    assert net.n.value == 4 * 2


def test_an_optimizer_step_like_by_hand(mesh):
    import jax
    import optax
    from jax import numpy as jnp

    import brainstate_nn as nn
    from brainstate_transform import jit, value_and_grad

    net = nn.Linear(8, 8)
    params = net.states(nn.ParamState)
    tx = optax.sgd(0.1, momentum=0.9)
    weights = {path: state.value for path, state in params.items()}
    optimizer = nn.Optimizer(params, tx)
    x = jax.device_put(jnp.ones((16, 8)), spec(mesh, "d"))

    @jit(state_shardings=spec(mesh), donate_states=True)
    def step(x):
        value, grads = value_and_grad(lambda: jnp.mean(net(x) ** 2), params)()
        optimizer.update(grads)
        return value

    def loss(weights, x):
        return jnp.mean((x @ weights[("weight",)] + weights[("bias",)][None]) ** 2)

    @jax.jit
    def by_hand(weights, opt, x):
        value, grads = jax.value_and_grad(loss)(weights, x)
        updates, opt = tx.update(grads, opt, weights)
        return value, optax.apply_updates(weights, updates), opt

    opt = tx.init(weights)
    weights = jax.tree.map(jnp.copy, weights)
    for _ in range(3):
        value, weights, opt = by_hand(weights, opt, x)
        assert jnp.allclose(step(x), value, rtol=1e-4)
    for path, state in params.items():
        assert jnp.allclose(state.value, weights[path], rtol=1e-3, atol=1e-4)
        assert state.value.sharding == spec(mesh)


def test_bad_selectors(mesh):
    import jax
    from jax import numpy as jnp
    from jax.sharding import PartitionSpec

    from brainstate_graph import State
    from brainstate_transform import jit

    m, _ = models()
    before, rows, stranger = m.w.value, spec(mesh, "d"), State(1.0)
    for selector, error, text in [
        ("w", TypeError, "state_shardings is 'w': expected a sharding"),
        (m.w, TypeError, "expected a sharding for all states"),
        ({m.w: 3}, TypeError, "expected a sharding for all states"),
        ({rows: "nope"}, ValueError, "state_shardings='nope' selects no state"),
        ({m.w: rows, m: spec(mesh)}, ValueError, "gives Param at Model.w two places"),
        (
            {stranger: rows},
            ValueError,
            "state_shardings names State, which `test_bad_selectors.<locals>.f` does not use",
        ),
        ({m.w: PartitionSpec("d")}, ValueError, "there is no mesh: call within `jax.set_mesh"),
        ({m.n: spec(mesh, "d")}, ValueError, "rank"),
    ]:

        def f(x):
            return m(x)

        with pytest.raises(error) as caught:
            jit(f, state_shardings=selector)(jnp.ones(2))
        assert text in str(caught.value), str(caught.value)
        assert m.w.value is before
        assert m.n.value == 0.0
    with jax.set_mesh(mesh):
        jit(lambda x: m(x), state_shardings={m.w: PartitionSpec("d")})(jnp.ones(2))
    assert m.w.value.sharding == rows


def test_states_do_not_shift_the_shardings_of_arguments(mesh):
    from jax import numpy as jnp

    from brainstate_transform import jit
    from tests.laws.transforms import Net

    net = Net()
    for extra in ({}, {"donate_states": True}, {"state_shardings": spec(mesh)}):
        f = jit(lambda x, y: (net(x), y + 1.0), in_shardings=(spec(mesh, "d"), None), **extra)
        x, y = f(jnp.ones((8, 2)), jnp.ones(3))  # 3 rows do not fit on 4 devices
        assert x.sharding.is_equivalent_to(spec(mesh, "d"), 2)
        assert (y == 2.0).all()
        stages = f.compile(jnp.ones((8, 2)), jnp.ones(3))
        assert stages.input_shardings[0][0] == spec(mesh, "d")
        stages(jnp.ones((8, 2)), jnp.ones(3))
