"""Known traps of such systems that concern every transform, each by its number; those of one transform stand with it.

The numbers are those of the list of bugs that the reference system fixed, and `w` of those that it still has.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import (
    Node,
    State,
    WithTag,
    catch_new_states,
    merge_context,
    pop_states,
    split_context,
    states,
    treefy_merge,
    treefy_split,
    update_states,
)
from brainstate_transform import BatchAxisError, StatefulFunction, cond, for_loop, grad, jit, vmap
from tests.laws.transforms import (
    CORE,
    DERIVATIVES,
    TRANSFORMS,
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

one = jnp.float32(1.0)
PAIRS = list(itertools.product(CORE, CORE))
pairs = pytest.mark.parametrize(("outer", "inner"), PAIRS, ids=[f"{a}({b})" for a, b in PAIRS])


class Boom(Exception):
    pass


class Noisy(Node):
    """Parameters, a counter and a random stream."""

    def __init__(self):
        self.net = Net()
        self.rng = nn.RandomState(0)

    def __call__(self, x):
        bits = jax.random.key_data(self.rng.split_key())[-1]  # quicker to compile than a number of a distribution
        return self.net(x) + (bits >> 8).astype(jnp.float32) / 2**24


def run_python(code, *options):
    """Run some lines in a process of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ------------------------------------------------------------------------------------------------ programs


@pytest.mark.parametrize("unused", [0, 40], ids=["whole", "the used ones"])
def test_trap_15_equations_of_every_form_survive_the_second_look(unused):
    """A program that is given only what it uses is made by evaluating the traced one again."""
    m = Stack(*[2.0] * (1 + unused))
    constant = jnp.arange(3.0)

    @jax.jit
    def half_used(x, unused):
        return x * 2.0

    @jax.checkpoint
    def remat(x, unused):
        return jnp.sin(x)

    def pure(w, x):
        with_constant = jax.lax.scan(lambda c, i: (c + constant[i], c), x, jnp.arange(3))[0]
        ignoring = jax.lax.scan(lambda c, _: (c, jnp.sum(constant)), x, None, length=2)[1]
        doubled = half_used(w, x) + remat(x, w)
        return with_constant + jnp.sum(ignoring) + doubled + jnp.sum(jnp.cos(constant))

    f = jit(lambda x: pure(m.layers[0].w.value, x))
    for _ in range(2):
        np.testing.assert_allclose(f(one), pure(jnp.float32(2.0), one), rtol=1e-6)


@transforms()
def test_trap_16_copies_inside_share_no_hooks_and_no_tags(wrap):
    s = State(jnp.array(1.0), tag="old")
    fired = []
    s.register_hook("read", lambda context: fired.append("original"))

    def f(x):
        copy, other = s.copy(), s.replace(x, tag="new")
        hook = copy.register_hook("read", lambda context: fired.append("copy"))
        fired.clear()
        y = copy.value + other.value
        hook.remove()
        assert fired == ["copy"]
        assert (copy.tag, other.tag, s.tag) == ({"old"}, {"new"}, {"old"})
        return y

    assert wrap(f)(one) == 2.0
    assert len(s.hooks) == 1


@pairs
def test_trap_17_73_an_error_half_way_comes_out_of_every_nest_as_it_is(outer, inner):
    m, error = Noisy(), KeyboardInterrupt("mine")
    before = noisy_values(m)

    def f(x):
        m.net.w.value = m.net.w.value + m(x)
        raise error

    def around(x):
        m(x)
        return TRANSFORMS[inner](f)(x)

    with pytest.raises(KeyboardInterrupt) as caught:
        TRANSFORMS[outer](around)(one)
    assert caught.value is error
    assert caught.value.args == ("mine",)
    seen = error.__cause__ or error.__context__
    while seen is not None:  # nothing of ours on top: JAX itself may note that it has shortened the traceback
        assert not type(seen).__module__.startswith("brainstate")
        seen = seen.__cause__ or seen.__context__
    assert same(noisy_values(m), before)
    assert not holds_tracer(m)


def test_trap_20_broken_optional_packages_are_no_matter(tmp_path):
    for name in ("flax", "optax", "tqdm", "pydot", "diffrax", "equinox"):
        (tmp_path / f"{name}.py").write_text("raise AttributeError('broken installation')\n")
    code = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import brainstate_graph, brainstate_transform, brainstate_nn
        from brainstate_transform import jit
        print(float(jit(lambda x: x + 1.0)(1.0)))
    """
    assert run_python(code).strip() == "2.0"


def test_trap_33_bad_arguments_are_refused_with_optimised_python():
    code = """
        import jax.numpy as jnp
        import brainstate_transform as t
        from brainstate_graph import State
        s, xs = State(jnp.zeros(2)), jnp.arange(3.0)
        bad = {
            "not callable": lambda: t.jit(3),
            "no such argument": lambda: t.jit(lambda x: x, static_argnums=4),
            "unhashable": lambda: t.jit(lambda x: x, static_argnums=0)([1]),
            "state": lambda: t.jit(lambda x: x)(s),
            "state result": lambda: t.jit(lambda: s)(),
            "argnums": lambda: t.grad(lambda x: x, argnums=-2)(1.0),
            "no such state": lambda: t.grad(lambda x: x, s)(1.0),
            "not a pair": lambda: t.grad(lambda x: x, has_aux=True)(1.0),
            "lanes": lambda: t.vmap(lambda x: x, in_axes=None)(1.0),
            "per lane": lambda: t.vmap(lambda x: setattr(s, "value", x))(xs),
            "length": lambda: t.for_loop(lambda x: x, xs, length=5),
            "no length": lambda: t.for_loop(lambda: 0.0),
            "scalar": lambda: t.for_loop(lambda x: x, 1.0),
            "pair": lambda: t.scan(lambda c, x: c, 0.0, xs),
            "drift": lambda: t.for_loop(lambda x: setattr(s, "value", jnp.zeros(3)), xs),
            "predicate": lambda: t.cond(None, lambda: 0.0, lambda: 0.0),
            "branch": lambda: t.cond(True, 1.0, lambda: 0.0),
            "static": lambda: t.checkpoint(lambda x: x, static_argnums=-1),
            "axis": lambda: t.StatefulFunction(lambda x: x, static_argnums=3)(1.0),
        }
        for name, call in bad.items():
            try:
                call()
            except (TypeError, ValueError) as error:
                assert str(error), name
            else:
                print("accepted:", name)
        print(s.value.tolist())
    """
    assert run_python(code, "-O").strip() == "[0.0, 0.0]"


# ------------------------------------------------------------------------------------------------ graphs inside


@transforms()
def test_trap_40_merging_in_a_context_inside_gives_the_live_parts(wrap):
    m = Tied()

    def f(x):
        m.a.w.value = m.a.w.value + x
        with split_context() as (ctx, _):
            parts = ctx.treefy_split(m)
        with merge_context() as (ctx, table):
            again = ctx.treefy_merge(*parts)
            assert any(item is again for item in table.values())
            populated = [item for item in table.values() if item is again.a]
        assert populated == [again.a]  # what was looked up is the node itself, no copy of it
        populated[0].w.value = populated[0].w.value * 2.0
        return again.b.w.value + m.a.w.value

    assert wrap(f)(one) == 9.0
    assert m.b.w.value == 3.0


@transforms()
def test_trap_41_any_layer_is_a_good_node_inside(wrap):
    nn.seed(0)
    layers = [nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5)), nn.LayerNorm(2), nn.Dropout(0.5)]
    shapes = [jax.tree.structure(treefy_split(layer)) for layer in layers]

    def f(x):
        for layer, shape in zip(layers, shapes, strict=True):
            again = treefy_merge(*treefy_split(layer))
            assert type(again) is type(layer)
            assert jax.tree.structure(treefy_split(again)) == shape
        return x

    assert wrap(f)(one) == 1.0
    assert not any(map(holds_tracer, layers))


@transforms()
def test_trap_42_states_popped_inside_leave_no_alias(wrap):
    m = Tied()

    def f(x):
        own = treefy_merge(*treefy_split(m))
        own.again = own.a
        popped = pop_states(own, Param)
        assert len(popped) == 1
        assert "w" not in vars(own.a)
        assert "w" not in vars(own.b)
        (value,) = jax.tree.leaves(popped)
        return jnp.asarray(value.value if isinstance(value, State) else value) * x

    assert wrap(f)(one) == 2.0
    assert m.a.w is m.b.w


@transforms()
def test_trap_84_states_are_caught_by_tag_inside(wrap):
    def f(x):
        with catch_new_states("first") as first:
            a = State(x)
        with catch_new_states("second", exclude=Param) as second:
            b, c = State(x * 2.0), Param(x * 3.0)
        assert first == [a]
        assert second == [b]
        assert (a.tag, b.tag) == ({"first"}, {"second"})
        assert "second" not in (c.tag or ())
        found = states([a, b, c], WithTag("second"))
        assert list(found.values()) == [b]
        return next(iter(found.values())).value

    assert wrap(f)(one) == 2.0


@transforms()
def test_trap_111_private_containers_are_part_of_the_graph(wrap):
    class Hiding(Node):
        def __init__(self):
            self._table = {"w": State(jnp.array(2.0)), "inner": Net(3.0)}

    m = Hiding()

    def f(x):
        m._table["w"].value = m._table["w"].value + x
        again = treefy_merge(*treefy_split(m))
        return again._table["w"].value * again._table["inner"](x)

    assert wrap(f)(one) == 9.0
    assert m._table["w"].value == 3.0
    assert m._table["inner"].n.value == 0.0


# ------------------------------------------------------------------------------------------------ errors


def noisy_values(m):
    return jax.tree.map(lambda v: jax.random.key_data(v) if v.dtype == m.rng.value[0].dtype else v, values(m))


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt])
@transforms()
def test_trap_73_an_exception_half_way_undoes_everything(wrap, error):
    m = Noisy()
    before, fail = noisy_values(m), [True]

    def f(x):
        y = m(x)
        m.net.w.value = m.net.w.value + m.net(x)
        if fail[0]:
            raise error
        return y

    wrapped = wrap(f)
    with pytest.raises(error):
        wrapped(one)
    assert same(noisy_values(m), before)
    assert not holds_tracer(m)
    fail[0] = False
    wrapped(one)
    assert m.rng.value[1] == 1
    assert (m.net.n.value, m.net.w.value) == (2.0, 4.0)


@transforms(without=["jit_donating", *DERIVATIVES])  # donated buffers are gone; a callback has no derivative
def test_trap_73_a_failure_at_run_time_undoes_everything(wrap):
    m = Noisy()

    def at_run_time(x):
        if x > 2.0:
            raise Boom("at run time")
        return np.asarray(x)

    def f(x):
        m(x)
        m.net.w.value = m.net.w.value + 1.0
        return jax.pure_callback(at_run_time, jax.ShapeDtypeStruct((), jnp.float32), x, vmap_method="sequential")

    wrapped = wrap(f)
    assert wrapped(one) == 1.0
    before = noisy_values(m)
    with pytest.raises(Exception, match="at run time"):
        jax.block_until_ready(wrapped(jnp.float32(3.0)))
    assert same(noisy_values(m), before)
    assert not holds_tracer(m)
    assert wrapped(one) == 1.0
    assert m.net.n.value == 2.0


@transforms(without=["jit_donating"])
def test_trap_73_a_result_that_jax_refuses_undoes_everything(wrap):
    m = Noisy()
    before = noisy_values(m)
    for out in (object(), "text", lambda: 0):

        def f(x, out=out):
            m.net.w.value = m.net.w.value + m(x)
            return {"y": x, "bad": out}

        with pytest.raises((TypeError, ValueError, AttributeError)):
            wrap(f)(one)
    assert same(noisy_values(m), before)
    assert not holds_tracer(m)


def test_trap_126_a_mismatch_of_lanes_says_what_has_how_many():
    s = State(jnp.zeros(4), name="memory")

    def f(x, y=0.0):
        s.value = s.value + x + y

    with pytest.raises(ValueError, match=r"3 in argument 'x'.*4 in State 'memory'"):
        vmap(f, in_states=s)(jnp.zeros(3))
    with pytest.raises(ValueError, match=r"3 in argument 'x'.*2 in argument 'y'"):
        vmap(lambda x, y: x)(jnp.zeros(3), jnp.zeros(2))
    with pytest.raises(BatchAxisError, match="memory"):
        vmap(f)(jnp.zeros(3))
    with pytest.raises(ValueError, match="number of steps") as caught:
        for_loop(lambda x, y: x, jnp.zeros(3), jnp.zeros(2))
    assert "[0]" in str(caught.value)
    assert same(s.value, jnp.zeros(4))


# ------------------------------------------------------------------------------------------------ jit disabled


def body(m, x):
    m.net.w.value = m.net.w.value * 0.5 + x
    return m.net(x) + m.net.n.value + m.net.w.value


@pairs
def test_w15_a_nest_is_the_same_with_jit_disabled(outer, inner):
    def make(m):
        def f(x):
            m.net.w.value = m.net.w.value + x
            y = TRANSFORMS[inner](lambda x: body(m, x))(x)
            m.net.w.value = m.net.w.value * 2.0
            return y + m.net.w.value

        return TRANSFORMS[outer](f)

    enabled, disabled = Noisy(), Noisy()
    want = make(enabled)(one)
    with jax.disable_jit():
        got = make(disabled)(one)
    assert same(got, want)
    assert same(noisy_values(disabled), noisy_values(enabled))


@transforms(without=["vmap"])
def test_w15_random_draws_are_the_same_with_jit_disabled(wrap):
    enabled, disabled = Noisy(), Noisy()
    want = [wrap(enabled)(one) for _ in range(2)]
    with jax.disable_jit():
        got = [wrap(disabled)(one) for _ in range(2)]
    assert same(got, want)
    assert same(noisy_values(disabled), noisy_values(enabled))


FAULTS = {
    "error of the user": lambda m, x: (_ for _ in ()).throw(Boom("mine")),
    "a state as result": lambda m, x: m.net.w,
    "shapes": lambda m, x: jnp.ones(2) @ jnp.ones(3),
    "wrong structure": lambda m, x: update_states(m, {"nothing": 1.0}),
}


@transforms()
def test_w15_the_same_errors_with_jit_disabled(wrap):
    def attempt(fault):
        m = Noisy()
        before = noisy_values(m)

        def f(x):
            body(m, x)
            m.rng.split_key()
            return fault(m, x)

        with pytest.raises(Exception) as caught:
            wrap(f)(one)
        assert same(noisy_values(m), before)
        return type(caught.value), str(caught.value).splitlines()[0]

    for name, fault in FAULTS.items():
        want = attempt(fault)
        with jax.disable_jit():
            assert attempt(fault) == want, name


def test_w15_the_rules_of_loops_and_branches_hold_with_jit_disabled():
    s = State(jnp.zeros(()), name="s")

    def grow(*_):
        s.value = jnp.zeros(2)

    def attempts():
        for call in (lambda: for_loop(grow, jnp.arange(2.0)), lambda: cond(True, grow, lambda x: None, 1.0)):
            with pytest.raises(TypeError, match="'s'") as caught:
                call()
            yield str(caught.value)

    want = list(attempts())
    with jax.disable_jit():
        assert list(attempts()) == want
    assert s.value == 0.0


@pytest.mark.parametrize("disabled", [False, True], ids=["enabled", "disabled"])
def test_w15_a_pure_call_stays_pure(disabled):
    m = Net()
    f = StatefulFunction(lambda x: m(x))
    f.make_jaxpr(one)
    n, w = (list(f.get_states(one)).index(s) for s in (m.n, m.w))
    given = [None, None]
    given[n], given[w] = jnp.float32(10.0), jnp.float32(5.0)
    with jax.disable_jit(disabled):
        new, out = f.jaxpr_call(given, one)
    assert out == 5.0
    assert new[n] == 11.0
    assert (m.n.value, m.w.value) == (0.0, 2.0)


def test_w15_grad_of_a_mapped_loop_is_the_same_with_jit_disabled():
    def make():
        m = twin(Net(0.5))
        f = grad(lambda xs: jnp.sum(vmap(lambda x: jnp.sum(for_loop(lambda y: m.w.value**2 * y, x)))(xs)), m.w)
        return f(jnp.arange(6.0).reshape(2, 3))

    want = make()
    with jax.disable_jit():
        assert same(make(), want)
