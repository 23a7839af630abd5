"""Draws with the arguments of NumPy: the distributions of SciPy, repeated by a seed, and transformed as streams are."""

from __future__ import annotations

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import brainstate_nn as nn
import brainstate_transform as bt
from brainstate_nn.compat import environ, random
from tests.tables import each

N = 4000
CONTINUOUS = {
    "rand": (lambda: random.rand(N), stats.uniform()),
    "random": (lambda: random.random(N), stats.uniform()),
    "uniform": (lambda: random.uniform(-1, 3, N), stats.uniform(-1, 4)),
    "randn": (lambda: random.randn(N), stats.norm()),
    "standard_normal": (lambda: random.standard_normal(N), stats.norm()),
    "normal": (lambda: random.normal(2, 3, size=N), stats.norm(2, 3)),
    "truncated_normal": (lambda: random.truncated_normal(-1, 2, N, 0.5, 2), stats.truncnorm(-0.75, 0.75, 0.5, 2)),
    "lognormal": (lambda: random.lognormal(0.5, 0.3, N), stats.lognorm(0.3, scale=np.exp(0.5))),
    "maxwell": (lambda: random.maxwell(N), stats.maxwell()),
    "rayleigh": (lambda: random.rayleigh(2.0, N), stats.rayleigh(scale=2)),
    "gamma": (lambda: random.gamma(2, 3, N), stats.gamma(2, scale=3)),
    "standard_gamma": (lambda: random.standard_gamma(2, N), stats.gamma(2)),
    "loggamma": (lambda: random.loggamma(2.0, N), stats.loggamma(2)),
    "beta": (lambda: random.beta(2, 3, N), stats.beta(2, 3)),
    "chisquare": (lambda: random.chisquare(3, N), stats.chi2(3)),
    "noncentral_chisquare": (lambda: random.noncentral_chisquare(3, 2, N), stats.ncx2(3, 2)),
    "f": (lambda: random.f(4, 6, N), stats.f(4, 6)),
    "noncentral_f": (lambda: random.noncentral_f(4, 6, 2, N), stats.ncf(4, 6, 2)),
    "standard_t": (lambda: random.standard_t(5, N), stats.t(5)),
    "exponential": (lambda: random.exponential(2.0, N), stats.expon(scale=2)),
    "standard_exponential": (lambda: random.standard_exponential(N), stats.expon()),
    "gumbel": (lambda: random.gumbel(1, 2, N), stats.gumbel_r(1, 2)),
    "laplace": (lambda: random.laplace(1, 2, N), stats.laplace(1, 2)),
    "logistic": (lambda: random.logistic(1, 2, N), stats.logistic(1, 2)),
    "standard_cauchy": (lambda: random.standard_cauchy(N), stats.cauchy()),
    "pareto": (lambda: random.pareto(3.0, N), stats.pareto(3)),
    "power": (lambda: random.power(3.0, N), stats.powerlaw(3)),
    "triangular": (lambda: random.triangular(0, 1, 4, N), stats.triang(0.25, 0, 4)),
    "wald": (lambda: random.wald(2.0, 3.0, N), stats.invgauss(2 / 3, scale=3)),
    "weibull": (lambda: random.weibull(1.5, N), stats.weibull_min(1.5)),
    "weibull_min": (lambda: random.weibull_min(1.5, 2.0, N), stats.weibull_min(1.5, scale=2)),
    "vonmises": (lambda: random.vonmises(0.0, 2.0, N), stats.vonmises(2.0)),
    "vonmises of a small kappa": (lambda: random.vonmises(0.0, 5e-3, N), stats.vonmises(5e-3)),
}
DISCRETE = {
    "randint": (lambda: random.randint(2, 7, N), stats.randint(2, 7)),
    "random_integers": (lambda: random.random_integers(2, 6, N), stats.randint(2, 7)),
    "randint to": (lambda: random.randint(7, size=N), stats.randint(0, 7)),
    "choice": (
        lambda: random.choice(5, N, p=[0.1, 0.2, 0.4, 0.2, 0.1]),
        stats.rv_discrete(values=([0, 1, 2, 3, 4], [0.1, 0.2, 0.4, 0.2, 0.1])),
    ),
    "bernoulli": (lambda: random.bernoulli(0.3, N), stats.bernoulli(0.3)),
    "binomial": (lambda: random.binomial(9, 0.3, N), stats.binom(9, 0.3)),
    "negative_binomial": (lambda: random.negative_binomial(4, 0.3, N), stats.nbinom(4, 0.3)),
    "poisson": (lambda: random.poisson(3.0, N), stats.poisson(3)),
    "geometric": (lambda: random.geometric(0.3, N), stats.geom(0.3)),
    "hypergeometric": (lambda: random.hypergeometric(7, 5, 4, N), stats.hypergeom(12, 7, 4)),
    "logseries": (lambda: random.logseries(0.6, N), stats.logser(0.6)),
    "zipf": (lambda: random.zipf(2.5, N), stats.zipf(2.5)),
    "categorical": (lambda: random.categorical(jnp.zeros(3), size=N), stats.randint(0, 3)),
    "multinomial": (lambda: random.multinomial(9, [0.3, 0.7], N)[:, 0], stats.binom(9, 0.3)),
}


@pytest.fixture(autouse=True)
def _as_it_was():
    with random.seed_context(0):
        yield
    environ.reset()


@each("name", CONTINUOUS)
def test_distribution(name):
    draw, want = CONTINUOUS[name]
    random.seed(1)
    sample = draw()
    assert sample.shape == (N,)
    assert sample.dtype == jnp.float32
    assert stats.kstest(np.asarray(sample, np.float64), want.cdf).pvalue > 1e-3


@each("name", DISCRETE)
def test_distribution_of_whole_numbers(name):
    draw, want = DISCRETE[name]
    random.seed(1)
    sample = np.asarray(draw()).astype(np.int64)
    p = want.pmf(np.arange(12))
    error = np.bincount(sample, minlength=12)[:12] / N - p
    assert np.all(np.abs(error) <= 4.5 * np.sqrt(p * (1 - p) / N))


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
    environ.set(precision="bf16")
    assert random.rand().dtype == random.normal(0, 1).dtype == random.exponential(2.0).dtype == jnp.bfloat16
    assert random.rand(dtype=jnp.float32).dtype == jnp.float32


DRAWS = {
    "normal": lambda: random.normal(0.0, 1.0, size=2),
    "shuffle": lambda: random.shuffle(jnp.arange(50)),
    "zipf": lambda: random.zipf(1.2, 2),
}


def eager(draw):
    random.seed(3)
    return [np.asarray(draw()) for _ in range(3)]


@each("name", DRAWS)
def test_transforms_draw_what_python_draws(name):
    draw, want = DRAWS[name], eager(DRAWS[name])
    once = bt.jit(draw)
    np.testing.assert_allclose(eager(once), want, rtol=1e-6)
    random.seed(3)
    np.testing.assert_allclose(bt.for_loop(lambda _: draw(), jnp.arange(3)), want, rtol=1e-6)
    random.seed(3)
    lanes = np.asarray(bt.vmap(lambda _: draw())(jnp.arange(3)))
    assert len({lane.tobytes() for lane in lanes}) == 3
    assert nn.default_rng().value[1] == 1


def test_a_derivative_goes_through_a_draw():
    random.seed(3)
    want = random.normal(0.0, 1.0)
    random.seed(3)
    assert bt.grad(lambda scale: random.normal(0.0, scale), argnums=0)(2.0) == want


def test_a_seed_repeats_and_a_block_is_left_as_it_was_found():
    random.seed(5)
    first, of_numpy = random.rand(), np.random.rand()
    random.seed(5)
    with contextlib.suppress(ZeroDivisionError), random.seed_context(5):
        assert (random.rand(), np.random.rand()) == (first, of_numpy)
        1 / 0  # noqa: B018
    assert (random.rand(), np.random.rand()) == (first, of_numpy)

    @bt.jit
    def inside():
        with random.seed_context(5):
            return random.rand()

    before = nn.default_rng().value[1]
    assert inside() == inside() == first
    assert nn.default_rng().value[1] == before


def test_keys():
    random.rand()
    key = random.get_key()
    assert (jax.random.key_data(key) == random.get_key_data()).all()
    first = random.rand(2)
    for again in (key, jax.random.key_data(key)):
        random.set_key(again)
        assert (random.rand(2) == first).all()
    assert random.split_keys(3).shape == random.split_key(3).shape == (3,)
    assert random.rand(key=key) == random.rand(key=key) != random.rand()
    assert random.rand(key=0) == jax.random.uniform(jax.random.key(0))
    assert random.clone_rng(clone=False) is random.default_rng() is random.DEFAULT
    assert random.default_rng(0).value[1] == random.clone_rng().value[1] == 0


@each(
    "call, words",
    [
        (lambda: random.bernoulli(1.5), "p is between 0 and 1, not 1.5"),
        (lambda: random.binomial(3, -0.5), "p is between 0 and 1"),
        (lambda: random.power(0.0), "a is above 0"),
        (lambda: random.geometric(0.0), "p is above 0 and at most 1"),
        (lambda: random.zipf(1.0), "a is above 1"),
        (lambda: random.chisquare(-1), "df is above 0"),
        (lambda: random.truncated_normal(1.0, 0.0), "upper is above lower"),
        (lambda: random.multinomial(3, [0.7, 0.7, 0.1]), "pvals has a sum of at most 1"),
    ],
)
def test_arguments_out_of_range_draw_nothing(call, words):
    before = nn.default_rng().value[1]
    with pytest.raises(ValueError, match=words):
        call()
    assert nn.default_rng().value[1] == before
