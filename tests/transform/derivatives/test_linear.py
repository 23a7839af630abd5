"""`vjp`, `jvp`, `linearize` and `hvp`, against JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import FlattedDict, Node, State, StateArgumentError, states
from brainstate_nn import RandomState
from brainstate_transform import cond, for_loop, grad, hvp, jit, jvp, linearize, vjp, vmap
from tests.laws.transforms import Count, Net, Param, Runs
from tests.tables import each

X, DX = jnp.array([0.5, -1.0]), jnp.array([2.0, 1.0])
DW = jnp.array([[1.0, -1.0], [0.5, 0.0]])


class Model(Node):
    def __init__(self):
        self.w = Param(jnp.array([[1.0, 2.0], [0.5, -1.0]]))
        self.b = Param(jnp.array([0.1, 0.2]))
        self.n = Count(jnp.array(0))

    def __call__(self, x, scale=1.0):
        self.n.value += 1
        return plain(self.w.value, self.b.value, x, scale)

    def energy(self, x):
        return jnp.sum(self(x) ** 2)


def plain(w, b, x, scale=1.0):
    return jnp.tanh(w @ x + b) * scale


def close(got, want):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


class TestVjp:
    def test_it_follows_jax_where_no_states_are_chosen(self):
        f = lambda x, y: x * jnp.sin(y)
        ours, theirs = vjp(f, X, DX), jax.vjp(f, X, DX)
        close(ours[0], theirs[0])
        close(ours[1](X), theirs[1](X))
        close(vjp(f, X, DX, argnums=-1)[1](X), theirs[1](X)[1])
        close(vjp(f, X, DX, argnums=(1, 0))[1](X), theirs[1](X)[::-1])

    @pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
    def test_cotangents_of_states(self, wrap):
        m = Model()
        value, pull = jax.vjp(plain, m.w.value, m.b.value, X)
        of_w, of_b, of_x = pull(DX)
        for options, want in (
            ({"wrt": m.w}, of_w),
            ({"wrt": [m.b, m.w]}, [of_b, of_w]),
            ({"wrt": states(m, Param)}, FlattedDict({("w",): of_w, ("b",): of_b})),
            ({"wrt": m.w, "argnums": 0}, (of_w, of_x)),
            ({"wrt": m.w, "argnums": [0]}, (of_w, (of_x,))),
        ):
            got, ct = wrap(lambda x, options=options: (lambda out, back: (out, back(DX)))(*vjp(m, x, **options)))(X)
            close(got, value)
            for key, leaf in want.items() if isinstance(want, FlattedDict) else [(None, want)]:
                close(ct if key is None else ct[key], leaf)
        assert m.n.value == 5

    def test_the_pullback_is_reusable_mappable_and_crosses_jit(self):
        m, runs = Model(), Runs()

        def f(x):
            runs()
            return m(x)

        _, pull, aux = vjp(lambda x: (f(x), "aux"), X, wrt=m.w, has_aux=True)
        m.w.value = m.w.value * 100.0  # the pullback is of the values of then
        assert aux == "aux"
        theirs = jax.vjp(lambda w: plain(w, m.b.value, X), m.w.value / 100.0)[1]
        for ct in (X, DX):
            close(pull(ct), theirs(ct)[0])
        close(vmap(pull)(jnp.eye(2)), jax.vmap(lambda ct: theirs(ct)[0])(jnp.eye(2)))
        close(jit(lambda pull, ct: pull(ct))(pull, DX), theirs(DX)[0])
        close(jit(lambda x: vjp(f, x)[1])(X)(DX), jax.vjp(plain, m.w.value, m.b.value, X)[1](DX)[2:])
        assert runs.since() == 2
        assert m.n.value == 2

    def test_states_alone(self):
        w = Param(jnp.array(3.0))
        value, pull = vjp(lambda: w.value**2, wrt=w)
        assert (value, pull(1.0)) == (9.0, 6.0)
        assert vjp(lambda x: x * w.value, 2.0, wrt=w, argnums=None)[1](1.0) == 2.0

    def test_what_cannot_be_differentiated(self):
        w = Param(jnp.array(3.0))
        with pytest.raises(ValueError, match=r"nothing to differentiate in .*: name states by wrt"):
            vjp(lambda: w.value)
        with pytest.raises(ValueError, match=r"argnums=3.* called with 1 positional"):
            vjp(lambda x: x, 1.0, argnums=3)
        with pytest.raises(ValueError, match=r"names one argument of .* twice"):
            vjp(lambda x, y: x, 1.0, 1.0, argnums=(1, -1))
        with pytest.raises(TypeError, match=r"argument 0 .* holds a Node"):
            vjp(lambda m, x: m(x), Model(), X)
        with pytest.raises(ValueError, match="does not use these states"):
            vjp(lambda x: x, 1.0, wrt=w)
        with pytest.raises(StateArgumentError, match="argument 'x'"):
            vjp(lambda x: x, w)

    def test_keywords_are_constant_and_whole_numbers_may_be_arguments(self):
        m = Model()
        close(vjp(m, X, scale=3.0)[1](DX)[0], 3.0 * jax.vjp(lambda x: plain(m.w.value, m.b.value, x), X)[1](DX)[0])
        got = vjp(lambda x, n: x * n, 2.0, 3)[1](1.0)
        assert got[0] == 3.0
        assert got[1].dtype == jax.dtypes.float0


class TestJvp:
    @pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
    def test_arguments_and_states_move(self, wrap):
        m = Model()
        w, b = m.w.value, m.b.value
        zero = jnp.zeros_like
        for options, tangents, want in (
            ({}, (DX,), (zero(w), zero(b), DX)),
            ({"wrt": m.w, "state_tangents": DW}, None, (DW, zero(b), zero(X))),
            ({"wrt": m.w, "state_tangents": DW}, [None], (DW, zero(b), zero(X))),
            ({"wrt": {"w": m.w, "b": m.b}, "state_tangents": {"w": DW, "b": X}}, (DX,), (DW, X, DX)),
            ({"wrt": m.w, "state_tangents": DW}, (DX,), (DW, zero(b), DX)),
        ):
            got = wrap(lambda x, t=tangents, options=options: jvp(m, (x,), t, **options))(X)
            close(got, jax.jvp(plain, (w, b, X), want))
        by_path = grad(m.energy, states(m, Param))(X)
        got = jvp(m, (X,), None, wrt=states(m, Param), state_tangents=by_path)
        close(got, jax.jvp(plain, (w, b, X), (by_path["w",], by_path["b",], zero(X))))
        close(jvp(m, (X,), None, wrt=states(m, Param), state_tangents=dict(by_path)), got)  # by path is enough
        assert m.n.value == 8

    def test_aux_keywords_and_decay_of_pytrees(self):
        m = Model()
        f = lambda p, scale: (m(p["x"], scale), {"aux": p["x"]})
        value, tangent, aux = jvp(f, ({"x": X},), ({"x": DX},), has_aux=True, scale=2.0)
        close((value, tangent), jax.jvp(lambda x: plain(m.w.value, m.b.value, x, 2.0), (X,), (DX,)))
        close(aux["aux"], X)
        assert m.n.value == 1

    def test_through_branches_and_loops(self):
        m = Model()
        f = lambda x: cond(x.sum() > 0, m, lambda x: m(-x), x)
        close(jvp(f, (X,), (DX,)), jax.jvp(lambda x: plain(m.w.value, m.b.value, -x), (X,), (DX,)))
        loop = lambda xs: for_loop(m, xs)
        xs = jnp.stack([X, DX])
        want = jax.jvp(jax.vmap(lambda x: plain(m.w.value, m.b.value, x)), (xs,), (xs,))
        close(jvp(loop, (xs,), (xs,)), want)
        assert m.n.value == 3

    @each(
        ("args", "options", "message"),
        [
            ((X, (DX,)), {}, r"primals of .*f` is a .*Array.*: give a tuple"),
            (((X,), DX), {}, r"tangents of .*f` is a .*Array.*: give a tuple"),
            (((X,), (DX, DX)), {}, "has 1 primals and 2 tangents: give one tangent each, None to hold one constant"),
            (((X,), (DX,)), {"state_tangents": DW}, "`.*f` needs wrt beside state_tangents"),
            (((X,), (DX,)), {"wrt": Param}, "`.*f` needs state_tangents beside wrt"),
            (((X,), (DX[:1],)), {}, r"tangents\[0\] is float32\[1\], but its primal needs float32\[2\]"),
            (((X,), ({"a": DX},)), {}, r"tangents\[0\] is \{a: .*give it the same structure"),
            (((1,), (1.0,)), {}, r"tangents\[0\] is float32\[\], but its primal needs .*float0"),
        ],
        ids=range(8),
    )
    def test_bad_arguments(self, args, options, message):
        m = Model()

        def f(x):
            return m(x)

        for transform in (jvp, hvp):
            if transform is hvp and "float0" in message:
                continue
            with pytest.raises(TypeError, match=message):
                transform(f, *args, **options)
        assert m.n.value == 0

    def test_bad_state_tangents(self):
        m = Model()
        for tangents, message in (
            ({"q": DW}, "state_tangents must have the structure of `wrt`"),
            (
                {"w": DX},
                r"state_tangents for Param at Model.w is float32\[2\], but its primal needs float32\[2, 2\]",
            ),
        ):
            with pytest.raises(TypeError, match=message):
                jvp(m, (X,), None, wrt={"w": m.w}, state_tangents=tangents)
        with pytest.raises(ValueError, match="nothing to differentiate"):
            jvp(m, (X,), None)
        assert m.n.value == 0


class TestLinearize:
    @pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
    def test_it_is_the_jvp_of_then(self, wrap):
        m, runs = Model(), Runs()

        def f(x):
            runs()
            return m(x)

        for options, tangents in (
            ({}, (DX,)),
            ({"wrt": m.w}, (DW,)),
            ({"wrt": m.w, "argnums": 0}, (DW, DX)),
            ({"wrt": [m.w], "argnums": (0,)}, ([DW], DX)),
        ):
            value, push = wrap(lambda x, options=options: linearize(f, x, **options))(X)
            assert runs.since() == 1
            moved = {"w": DW} if "wrt" in options else {}
            extra = {"wrt": m.w, "state_tangents": moved["w"]} if moved else {}
            want = jvp(m, (X,), (DX,) if len(tangents) > (1 if moved else 0) else None, **extra)
            close((value, push(*tangents)), want)
            close(vmap(push)(*jax.tree.map(lambda t: t[None], tangents)), want[1][None])
        assert runs.since() == 0

    def test_aux_and_keywords_and_a_wrong_number_of_tangents(self):
        m = Model()
        value, push, aux = linearize(lambda x, k: (m(x) * k, "aux"), X, wrt=m.w, argnums=0, has_aux=True, k=2.0)
        assert aux == "aux"
        with pytest.raises(TypeError, match="one for the states and 1 for the arguments, and got 1"):
            push(DW)
        with pytest.raises(TypeError, match=r"nothing like|must have the structure of `wrt`"):
            linearize(m, X, wrt={"w": m.w})[1]({"q": DW})
        close(value, 2.0 * plain(m.w.value, m.b.value, X))


class TestHvp:
    def test_it_is_the_product_with_the_hessian(self):
        m = Model()
        w, b = m.w.value, m.b.value
        energy = lambda w, x: jnp.sum(plain(w, b, x) ** 2)
        (ww, wx), (xw, xx) = jax.jit(jax.hessian(energy, (0, 1)))(w, X)
        dot = lambda h, v: jnp.tensordot(h, v, v.ndim)
        close(jit(lambda x: hvp(m.energy, (x,), (DX,)))(X), (dot(xx, DX),))
        close(jit(lambda x: hvp(m.energy, (x,), None, wrt=m.w, state_tangents=DW))(X), dot(ww, DW))
        both = jit(lambda x: hvp(m.energy, (x,), (DX,), wrt={"w": m.w}, state_tangents={"w": DW}))(X)
        close(both, ({"w": dot(ww, DW) + dot(wx, DX)}, (dot(xw, DW) + dot(xx, DX),)))
        assert m.n.value == 3

    def test_aux_constants_and_errors(self):
        m = Model()
        f = lambda x, k: (m.energy(x) * k, "aux")
        (product, none), aux = hvp(f, (X, 2.0), (DX, None), has_aux=True)
        assert none is None
        assert aux == "aux"
        close((product,), jax.tree.map(lambda p: 2.0 * p, hvp(m.energy, (X,), (DX,))))
        with pytest.raises(TypeError, match="only a scalar has a gradient"):
            hvp(m, (X,), (DX,))
        with pytest.raises(TypeError, match=r"argument 0 .* has no derivative"):
            hvp(lambda x: x * 1.0, (1,), (1,))


def evaluations(f, energy):
    return {
        "vjp": lambda x: vjp(f, x)[1](DX)[0],
        "jvp": lambda x: jvp(f, (x,), (DX,))[1],
        "linearize": lambda x: linearize(f, x)[1](DX),
        "hvp": lambda x: hvp(energy, (x,), (DX,))[0],
    }


def in_jax(f, energy):
    return {
        "vjp": lambda x: jax.vjp(f, x)[1](DX)[0],
        "jvp": lambda x: jax.jvp(f, (x,), (DX,))[1],
        "linearize": lambda x: jax.linearize(f, x)[1](DX),
        "hvp": lambda x: jax.jvp(jax.grad(energy), (x,), (DX,))[1],
    }


NAMES = pytest.mark.parametrize("name", ["vjp", "jvp", "linearize", "hvp"])


@NAMES
def test_nested_in_other_transforms(name):
    m = Net(0.7)
    f, plain = lambda x: jnp.sin(m(x)), lambda x: jnp.sin(0.7 * x)
    ours = evaluations(f, lambda x: f(x).sum())[name]
    theirs = in_jax(plain, lambda x: plain(x).sum())[name]
    xs = jnp.stack([X, DX])
    close(jit(vmap(ours))(xs), jax.vmap(theirs)(xs))
    close(jit(lambda x: grad(lambda x: ours(x).sum())(x))(X), jax.grad(lambda x: theirs(x).sum())(X))
    close(jit(lambda x: jvp(ours, (x,), (DX,)))(X), jax.jvp(theirs, (X,), (DX,)))
    with jax.checking_leaks():
        close(jit(lambda xs: for_loop(ours, xs))(xs), jax.vmap(theirs)(xs))
    with jax.disable_jit():
        close(ours(X), theirs(X))
    assert m.n.value == 6.0


@NAMES
def test_draws_are_those_of_a_plain_call_and_errors_take_them_back(name):
    rng, bad = RandomState(0), []

    def noisy(x):
        draw = rng.normal()
        if bad:
            raise KeyError("half way")
        return x * draw

    f = evaluations(noisy, lambda x: jnp.sum(noisy(x) ** 2))[name]
    f(X)
    assert rng.value[1] == 1
    bad.append(1)
    with pytest.raises(KeyError):
        f(X)
    assert rng.value[1] == 1


def test_a_tied_state_moves_once():
    a = Net(2.0)
    a.n = State(jnp.array(0))
    f = lambda x: a.w.value * a.w.value * x
    assert jvp(f, (3.0,), None, wrt=a.w, state_tangents=1.0)[1] == 12.0
