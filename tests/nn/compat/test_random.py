"""Draws with the arguments of NumPy: the distributions of SciPy, repeated by a seed, and transformed as streams are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random as jr
from scipy import stats

import brainstate_nn as nn
import brainstate_transform as bt
from brainstate_nn.compat import environ, init, random
from tests.tables import each

N = 4000


class Row(NamedTuple):
    """A function of `random`: how a stream or the module draws, from which distribution, and by which one of JAX."""

    args: tuple
    draw: Callable
    law: Any
    of_jax: Callable | None = None  # of a key and the arguments; None where JAX has none


def row(name, args, law, of_jax=None, **options):
    return Row(args, lambda where, *args: getattr(where, name)(*args, size=N, **options), law, of_jax)


CONTINUOUS = {
    "rand": Row((), lambda where: where.rand(N), stats.uniform(), lambda k: jr.uniform(k, (N,))),
    "random": row("random", (), stats.uniform(), lambda k: jr.uniform(k, (N,))),
    "uniform": row(
        "uniform", (-1.0, 3.0), stats.uniform(-1, 4), lambda k, a, b: jr.uniform(k, (N,), minval=a, maxval=b)
    ),
    "randn": Row((), lambda where: where.randn(N), stats.norm(), lambda k: jr.normal(k, (N,))),
    "standard_normal": row("standard_normal", (), stats.norm(), lambda k: jr.normal(k, (N,))),
    "normal": row("normal", (2.0, 3.0), stats.norm(2, 3), lambda k, a, b: a + b * jr.normal(k, (N,))),
    "truncated_normal": row(
        "truncated_normal",
        (-1.0, 2.0),
        stats.truncnorm(-0.75, 0.75, 0.5, 2),
        lambda k, a, b: 0.5 + 2 * jr.truncated_normal(k, (a - 0.5) / 2, (b - 0.5) / 2, (N,)),
        loc=0.5,
        scale=2.0,
    ),
    "lognormal": row(
        "lognormal",
        (0.5, 0.3),
        stats.lognorm(0.3, scale=np.exp(0.5)),
        lambda k, a, b: jnp.exp(a + b * jr.normal(k, (N,))),
    ),
    "maxwell": row("maxwell", (), stats.maxwell(), lambda k: jr.maxwell(k, (N,))),
    "rayleigh": row("rayleigh", (2.0,), stats.rayleigh(scale=2), lambda k, a: jr.rayleigh(k, a, (N,))),
    "gamma": row("gamma", (2.0, 3.0), stats.gamma(2, scale=3), lambda k, a, b: b * jr.gamma(k, a, (N,))),
    "standard_gamma": row("standard_gamma", (2.0,), stats.gamma(2), lambda k, a: jr.gamma(k, a, (N,))),
    "loggamma": row("loggamma", (2.0,), stats.loggamma(2), lambda k, a: jr.loggamma(k, a, (N,))),
    "beta": row("beta", (2.0, 3.0), stats.beta(2, 3), lambda k, a, b: jr.beta(k, a, b, (N,))),
    "chisquare": row("chisquare", (3.0,), stats.chi2(3), lambda k, a: jr.chisquare(k, a, (N,))),
    "noncentral_chisquare": row("noncentral_chisquare", (3.0, 2.0), stats.ncx2(3, 2)),
    "f": row("f", (4.0, 6.0), stats.f(4, 6), lambda k, a, b: jr.f(k, a, b, (N,))),
    "noncentral_f": row("noncentral_f", (4.0, 6.0, 2.0), stats.ncf(4, 6, 2)),
    "standard_t": row("standard_t", (5.0,), stats.t(5), lambda k, a: jr.t(k, a, (N,))),
    "exponential": row("exponential", (2.0,), stats.expon(scale=2), lambda k, a: a * jr.exponential(k, (N,))),
    "standard_exponential": row("standard_exponential", (), stats.expon(), lambda k: jr.exponential(k, (N,))),
    "gumbel": row("gumbel", (1.0, 2.0), stats.gumbel_r(1, 2), lambda k, a, b: a + b * jr.gumbel(k, (N,))),
    "laplace": row("laplace", (1.0, 2.0), stats.laplace(1, 2), lambda k, a, b: a + b * jr.laplace(k, (N,))),
    "logistic": row("logistic", (1.0, 2.0), stats.logistic(1, 2), lambda k, a, b: a + b * jr.logistic(k, (N,))),
    "standard_cauchy": row("standard_cauchy", (), stats.cauchy(), lambda k: jr.cauchy(k, (N,))),
    "pareto": row("pareto", (3.0,), stats.pareto(3), lambda k, a: jr.pareto(k, a, (N,))),
    "power": row("power", (3.0,), stats.powerlaw(3)),
    "triangular": row(
        "triangular", (0.0, 1.0, 4.0), stats.triang(0.25, 0, 4), lambda k, *args: jr.triangular(k, *args, (N,))
    ),
    "wald": row("wald", (2.0, 3.0), stats.invgauss(2 / 3, scale=3), lambda k, a, b: b * jr.wald(k, a / b, (N,))),
    "weibull": row("weibull", (1.5,), stats.weibull_min(1.5), lambda k, a: jr.weibull_min(k, 1.0, a, (N,))),
    "weibull_min": row(
        "weibull_min", (1.5, 2.0), stats.weibull_min(1.5, scale=2), lambda k, a, b: jr.weibull_min(k, b, a, (N,))
    ),
    "vonmises": row("vonmises", (0.0, 2.0), stats.vonmises(2.0)),
    "vonmises of a small kappa": row("vonmises", (0.0, 5e-3), stats.vonmises(5e-3)),
}
CHANCES = (0.1, 0.2, 0.4, 0.2, 0.1)
DISCRETE = {
    "randint": row("randint", (2, 7), stats.randint(2, 7), lambda k, a, b: jr.randint(k, (N,), a, b)),
    "randint to": row("randint", (7,), stats.randint(0, 7), lambda k, a: jr.randint(k, (N,), 0, a)),
    "random_integers": row(
        "random_integers", (2, 6), stats.randint(2, 7), lambda k, a, b: jr.randint(k, (N,), a, b + 1)
    ),
    "choice": Row(
        (jnp.array(CHANCES),), lambda where, p: where.choice(5, N, p=p),
        stats.rv_discrete(values=(range(5), CHANCES)), lambda k, p: jr.choice(k, 5, (N,), p=p),
    ),
    "bernoulli": row("bernoulli", (0.3,), stats.bernoulli(0.3), lambda k, p: jr.bernoulli(k, p, (N,))),
    "binomial": row("binomial", (9.0, 0.3), stats.binom(9, 0.3), lambda k, n, p: jr.binomial(k, n, p, (N,))),
    "negative_binomial": row("negative_binomial", (4, 0.3), stats.nbinom(4, 0.3)),
    "poisson": row("poisson", (3.0,), stats.poisson(3), lambda k, a: jr.poisson(k, a, (N,))),
    "geometric": row("geometric", (0.3,), stats.geom(0.3), lambda k, p: jr.geometric(k, p, (N,))),
    "hypergeometric": row("hypergeometric", (7, 5, 4), stats.hypergeom(12, 7, 4)),
    "logseries": row("logseries", (0.6,), stats.logser(0.6)),
    "zipf": row("zipf", (2.5,), stats.zipf(2.5)),
    "categorical": row(
        "categorical", (jnp.zeros(3),), stats.randint(0, 3), lambda k, logits: jr.categorical(k, logits, shape=(N,))
    ),
    "multinomial": Row(
        (9.0, jnp.array([0.3, 0.7])), lambda where, n, p: where.multinomial(n, p, N)[:, 0], stats.binom(9, 0.3),
        lambda k, n, p: jr.multinomial(k, jnp.full(N, n), jnp.broadcast_to(p, (N, 2)))[:, 0],
    ),
}  # fmt: skip
ROWS = CONTINUOUS | DISCRETE


@pytest.fixture(autouse=True)
def _as_it_was():
    with random.seed_context(0):
        yield
    environ.reset()


def first_draw_of_five(row):
    """Draw as the fifth draw of a seed, and see that the key was the one of that draw, and no more were taken."""
    random.seed(1)
    [random.split_key() for _ in range(4)]
    sample = row.draw(random, *row.args)
    assert random.DEFAULT.value[1] == 5
    if row.of_jax is not None:
        # Arrays, as they are for JAX in there, so that both run one compiled program.
        want = row.of_jax(jr.fold_in(jr.key(1), 4), *[jnp.float32(a) if isinstance(a, float) else a for a in row.args])
        np.testing.assert_allclose(sample, want, rtol=2e-6, atol=1e-6)
    return sample


@each("name", CONTINUOUS)
def test_distribution(name):
    sample = first_draw_of_five(CONTINUOUS[name])
    assert sample.shape == (N,)
    assert sample.dtype == jnp.float32
    assert stats.kstest(np.asarray(sample, np.float64), CONTINUOUS[name].law.cdf).pvalue > 1e-3


@each("name", DISCRETE)
def test_distribution_of_whole_numbers(name):
    sample = np.asarray(first_draw_of_five(DISCRETE[name])).astype(np.int64)
    p = DISCRETE[name].law.pmf(np.arange(12))
    error = np.bincount(sample, minlength=12)[:12] / N - p
    assert np.all(np.abs(error) <= 4.5 * np.sqrt(p * (1 - p) / N))


@each("name", ROWS)
def test_each_function_is_a_method_of_streams_and_takes_traced_arguments(name):
    draw, args = ROWS[name].draw, ROWS[name].args
    random.seed(1)
    want = draw(random, *args)
    random.seed(1)
    for stream in (random.RandomState(1), random.DEFAULT):
        np.testing.assert_array_equal(draw(stream, *args), want)
        assert stream.value[1] == 1
    traced = bt.eval_shape(lambda *args: draw(random, *args), *args)
    assert (traced.shape, traced.dtype) == (want.shape, want.dtype)


@each("name", ["bernoulli", "binomial", "negative_binomial", "geometric", "logseries", "multinomial", "hypergeometric"])
def test_chances_are_exact_at_a_low_precision(name):
    random.seed(1)
    want = ROWS[name].draw(random, *ROWS[name].args)
    random.seed(1)
    with environ.context(precision="bf16"):
        got = ROWS[name].draw(random, *ROWS[name].args)
    assert got.dtype == (bool if name == "bernoulli" else jnp.int16)
    assert got.tolist() == want.tolist()


@each("precision", [8, 16, "bf16", 64])
def test_linear_algebra_has_the_precision_that_is_set(precision):
    with environ.context(precision=precision):
        q, sample = random.orthogonal(3), random.multivariate_normal(np.zeros(2), np.eye(2))
        assert q.dtype == sample.dtype == environ.dftype()
    np.testing.assert_allclose(np.float32(q) @ np.float32(q).T, np.eye(3), atol=0.3 if precision == 8 else 0.02)


@each("name", ROWS)
def test_a_size_that_is_none_draws_nothing(name):
    before, fun = random.DEFAULT.value[1], getattr(random, name.split()[0])
    with pytest.raises(TypeError, match="size takes a whole number or several, not "):
        fun(1.5) if name in ("rand", "randn") else fun(*ROWS[name].args, size=1.5)
    assert random.DEFAULT.value[1] == before


def test_no_function_is_left_out():
    others = {
        "choice", "dirichlet", "multivariate_normal", "orthogonal", "permutation", "rand_like", "randint_like",
        "randn_like", "random_sample", "ranf", "sample", "shuffle", "t",
    }  # fmt: skip
    of_streams = {
        "RandomState", "clone_rng", "default_rng", "get_key", "get_key_data", "seed", "seed_context", "set_key",
        "split_key", "split_keys",
    }  # fmt: skip
    assert set(random.__all__) == {*ROWS, *others, *of_streams} - {"randint to", "vonmises of a small kappa"}
    assert not [name for name in others if not hasattr(random.RandomState, name)]


def test_vectors_and_matrices():
    q = random.orthogonal(3, size=2)
    np.testing.assert_allclose(q @ q.mT, np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-5)
    cov = np.array([[2.0, 0.5], [0.5, 1.0]])
    sample = random.multivariate_normal(np.array([1.0, -1.0]), cov, N)
    np.testing.assert_allclose(np.cov(np.asarray(sample).T), cov, atol=0.15)
    np.testing.assert_allclose(random.dirichlet(np.ones(3), 5).sum(-1), np.ones(5), rtol=1e-5)
    assert random.multinomial(np.array([5, 6]), np.array([0.2, 0.8]), 3).sum(-1).tolist() == [[5] * 3, [6] * 3]


def test_orders():
    x = jnp.arange(10)
    for order in (random.permutation(10), random.permutation(x), random.shuffle(x)):
        assert sorted(order.tolist()) == list(range(10))
        assert order.tolist() != list(range(10))
    assert set(random.choice(["a", "b"], 20)) == {"a", "b"}
    assert len(set(random.choice(x, 10, replace=False).tolist())) == 10


def test_shapes_and_dtypes():
    x = jnp.ones((2, 3), jnp.bfloat16)
    assert random.rand_like(x).dtype == random.randn_like(x).dtype == random.randint_like(x, 0, 3).dtype == x.dtype
    assert random.rand_like(x).shape == random.normal(x).shape == random.randint(0, np.full((2, 3), 4)).shape == (2, 3)
    assert random.normal(size=(4, 1)).shape == (4, 1)
    assert random.randint(3).dtype == jnp.int32
    assert random.gamma([2, 3], [[1.0], [2.0]]).shape == random.rand_like([[1.0, 2.0], [3.0, 4.0]]).shape == (2, 2)
    assert random.multinomial([5, 6], [0.2, 0.8]).sum(-1).tolist() == [5, 6]
    environ.set(precision="bf16")
    assert random.rand().dtype == random.normal(0, 1).dtype == random.exponential(2.0).dtype == jnp.bfloat16
    assert random.rand(dtype=jnp.float32).dtype == jnp.float32


def draws():
    """Draw in each way: by a function, by a method, in a loop until all is accepted, in a block, and beside keys."""
    drawn = {
        "function": random.permutation(5),
        "method": random.DEFAULT.normal(0.0, 1.0, size=2),
        "loop": random.zipf(1.2, 2),
    }
    with random.seed_context(5):
        drawn["block"] = random.rand()
    return drawn | {"key": random.get_key_data(), "after": random.randn()}


def stacked(*trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def nothing_drawn():
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), bt.eval_shape(draws))


RUNS = {
    "jit": lambda: stacked(*[once() for _ in range(3)]),
    "for_loop": lambda: bt.for_loop(lambda _: draws(), jnp.arange(3)),
    "scan": lambda: bt.scan(lambda carry, _: (carry, draws()), 0.0, jnp.arange(3))[1],
    "cond": lambda: stacked(bt.cond(jnp.array(True), draws, nothing_drawn)),
    "checkpoint": lambda: stacked(bt.checkpoint(draws)()),
    "derivative": lambda: stacked(bt.grad(lambda x: (x, draws()), argnums=0, has_aux=True)(1.0)[1]),
}
once = bt.jit(draws)


@each("run", RUNS)
def test_transforms_draw_what_python_draws(run):
    random.seed(3)
    got, count = RUNS[run](), random.DEFAULT.value[1]
    random.seed(3)
    want = stacked(*[draws() for _ in got["after"]])
    jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-6), got, want)
    assert random.DEFAULT.value[1] == count


def test_lanes_draw_from_streams_of_their_own():
    random.seed(3)
    got = bt.vmap(lambda _: draws())(jnp.arange(3))
    assert random.DEFAULT.value[1] == 1
    want = []
    for lane in range(3):
        random.seed(jr.fold_in(jr.fold_in(jr.key(3), 0), lane))
        want.append(draws())
    jax.tree.map(lambda got, want: np.testing.assert_allclose(got, want, rtol=1e-6), got, stacked(*want))


def test_a_derivative_goes_through_a_draw():
    random.seed(3)
    want = random.normal(0.0, 1.0)
    random.seed(3)
    assert bt.grad(lambda scale: random.normal(0.0, scale), argnums=0)(2.0) == want


def test_what_is_no_distribution_ends_all_the_same_where_it_is_traced():
    a = jnp.array([jnp.nan, 0.5, 1.0, 1.0001, 1e6])
    drawn = bt.jit(lambda a: random.zipf(a))(a)
    assert (drawn >= 1).tolist() == [False, False, False, True, True]
    assert (drawn[:3].tolist(), int(drawn[-1])) == ([-1] * 3, 1)
    assert jnp.isnan(bt.jit(lambda kappa: random.vonmises(0.0, kappa))(jnp.nan))


@each("name", ["zipf", "vonmises", "hypergeometric", "multinomial"])
def test_a_loop_is_compiled_once(name, caplog):
    def draw():
        return ROWS[name].draw(random, *ROWS[name].args)

    draw()
    caplog.clear()
    with jax.log_compiles():
        draw()
    assert [record.message for record in caplog.records if "ompil" in record.message] == []


# -- what draws first values -------------------------------------------------------------------------------------------


@each("seed", [0, jr.key(0), random.RandomState(jr.key(0)), None])
def test_an_initialiser_draws_with_its_seed_and_the_precision_that_is_set(seed):
    start = init.Normal(1.0, 0.1, seed=seed)
    key = jr.key(0) if isinstance(seed, (int, jax.Array)) else jr.fold_in(jr.key(0), 0)
    random.seed(0)
    np.testing.assert_allclose(start((2, 3)), 1 + 0.1 * jr.normal(key, (2, 3)), rtol=1e-6)
    with environ.context(precision="bf16"):
        assert start((2, 3)).dtype == init.param(start, 3).dtype == jnp.bfloat16
        assert start(jr.key(0), (2,), jnp.float32).dtype == jnp.float32


def test_a_parameter_has_a_shape_and_a_batch():
    batch = init.param(init.Normal(), 3, batch_size=2)
    assert batch.shape == (2, 3)
    assert not jnp.any(batch[0] == batch[1])
    assert init.param(jnp.ones((1, 3)), (2, 3), batch_size=4).shape == (4, 2, 3)
    assert (init.param(2.0, 3), init.param(None, 3)) == (2.0, None)
    for call in (
        lambda: init.param(2.0, 3, allow_scalar=False),
        lambda: init.param(None, 3, allow_none=False),
        lambda: init.param(jnp.ones((2, 3)), 3),
    ):
        with pytest.raises(ValueError, match=r"must have the shape \(3,\), not|parameter is None"):
            call()


@each(
    "call, words",
    [
        (lambda: random.bernoulli(1.5), "p must be between 0 and 1, not 1.5"),
        (lambda: random.binomial(3, -0.5), "p must be between 0 and 1"),
        (lambda: random.power(0.0), "a must be above 0"),
        (lambda: random.geometric(0.0), "p must be above 0 and at most 1"),
        (lambda: random.zipf(1.0), "a must be above 1"),
        (lambda: random.hypergeometric(2, 3, [1, 6]), r"nsample must be at most ngood \+ nbad, not \[1, 6\]"),
        (lambda: random.chisquare(-1), "df must be above 0"),
        (lambda: random.truncated_normal(1.0, 0.0), "upper must be above lower"),
        (lambda: random.power(2.0, size=-1), "size takes numbers of 0 or more, not -1"),
        (lambda: random.normal(jnp.zeros(3), size=2), r"size=2 does not fit arguments of shape \(3,\)"),
        (lambda: random.normal(jnp.zeros((2, 3)), size=3), r"size=3 does not fit arguments of shape \(2, 3\)"),
        (lambda: random.multinomial(3, [0.7, 0.7, 0.1]), "pvals must have a sum of at most 1"),
    ],
)
def test_arguments_out_of_range_draw_nothing(call, words):
    before = nn.default_rng().value[1]
    with pytest.raises(ValueError, match=words):
        call()
    assert nn.default_rng().value[1] == before
