"""Seeds, keys and streams by their older names: what starts a stream, who shares it, and what repeats."""

from __future__ import annotations

import contextlib
import copy
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import random as jr

import brainstate_nn as nn
import brainstate_transform as bt
from brainstate_nn.compat import random
from tests.tables import each


@pytest.fixture(autouse=True)
def _as_it_was():
    with random.seed_context(0):
        yield


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
    value, random.DEFAULT.value = random.DEFAULT.value, (jr.key(3), jnp.uint32(0))
    assert random.rand() == random.RandomState(3).rand()
    random.DEFAULT.value = value
    assert nn.default_rng().value is value
    assert random.default_rng(0).value[1] == random.clone_rng().value[1] == 0


@each(
    "seed",
    [
        0,
        7,
        -1,
        2**32 + 7,
        np.int64(7),
        np.array([7]),
        jnp.uint32(7),
        jr.key(7),
        jr.key_data(jr.key(7)),
        np.array([1, 2], np.uint32),
    ],
)
def test_a_seed_may_be_a_number_or_a_key(seed):
    if jnp.issubdtype(jnp.result_type(seed), jax.dtypes.prng_key):
        key = seed
    elif np.size(seed) == 1:
        key = jr.key(int(np.ravel(seed)[0]))
    else:
        key = jr.wrap_key_data(jnp.asarray(seed))
    want = jr.uniform(jr.fold_in(key, 0))
    random.seed(seed)
    assert random.rand() == want
    assert random.RandomState(seed).rand() == random.default_rng(seed).rand() == random.clone_rng(seed).rand() == want
    with random.seed_context(seed):
        assert random.rand() == want
    for start in (random.set_key, random.DEFAULT.set_key, random.DEFAULT.seed):
        start(seed)
        assert random.rand() == want
    assert random.rand(key=seed) == jr.uniform(key)


@each("seed", [1.5, "a", True, np.zeros(3), jnp.zeros(2, jnp.int32), jr.key_data(jr.key(7))[:1].astype(float)])
def test_what_is_no_seed_changes_nothing(seed):
    value, of_numpy = random.DEFAULT.value, np.random.get_state()[2]
    for call in (random.seed, random.set_key, random.RandomState, lambda key: random.rand(key=key)):
        with pytest.raises(TypeError, match=r"from a whole number, a typed key|takes a typed key"):
            call(seed)
    assert random.DEFAULT.value is value
    assert np.random.get_state()[2] == of_numpy


def test_a_traced_seed_repeats():
    def draw(seed):
        with random.seed_context(seed):
            return random.rand()

    seeds = jnp.arange(3)
    want = [draw(int(seed)) for seed in seeds]
    for run in (lambda: [bt.jit(draw)(seed) for seed in seeds], lambda: bt.vmap(draw)(seeds)):
        np.testing.assert_array_equal(run(), want)


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_stream_may_take_the_place_of_a_key():
    stream = random.RandomState(0)
    assert random.rand(key=stream) == random.RandomState(0).rand() == jr.uniform(jr.fold_in(jr.key(0), 0))
    assert stream.value[1] == 1


def test_streams_are_streams_of_ours():
    class Net(nn.Module):
        def __init__(self):
            self.own, self.common = random.RandomState(0), random.DEFAULT
            self.drop = nn.Dropout(0.5)

        def __call__(self):
            return self.own.normal(1.0, size=2) + self.common.normal(size=2)

    net = Net()
    assert len(net.states(random.RandomState)) == len(net.states(nn.RandomState)) == 3
    assert isinstance(random.DEFAULT, random.RandomState)
    assert not isinstance(net, random.RandomState)
    random.seed(0)
    want = 1 + 2 * jr.normal(jr.fold_in(jr.key(0), 0), (2,))
    np.testing.assert_allclose(bt.jit(net)(), want, rtol=1e-6)
    assert (net.own.value[1], nn.default_rng().value[1]) == (1, 1)
    for twin in (copy.deepcopy(net.own), pickle.loads(pickle.dumps(net.own))):
        assert type(twin) is random.RandomState
        assert copy.copy(net.own).rand() == twin.rand()


def test_a_stream_is_an_argument_and_has_lanes():
    stream = random.RandomState(0)
    got = bt.jit(lambda rng: (rng.rand(), rng.clone()))(stream)
    assert got[0] == random.RandomState(0).rand()
    assert type(got[1]) is type(stream.fork()) is random.RandomState
    assert len(set(bt.vmap(lambda _: stream.rand())(jnp.arange(3)).tolist())) == 3
    nn.Dropout(0.5)(jnp.ones(3), rngs=random.DEFAULT)
    assert nn.Linear(2, 3, rng=random.DEFAULT).weight.value.shape == (2, 3)


def test_a_name_that_is_absent_is_no_stream():
    for where, name in [
        (random, "restore_key"),
        (random.DEFAULT, "restore_key"),
        (random.RandomState(0), "backup_key"),
    ]:
        with pytest.raises(AttributeError):
            getattr(where, name)
    with pytest.raises(AttributeError, match=r"write `with random\.seed_context\(seed\):`"):
        random.DEFAULT.self_assign_multi_keys(3)
