from __future__ import annotations

import copy
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import Overlay, TraceContextError, clone, treefy_merge, treefy_split, treefy_states


def words(keys):
    return np.asarray(jax.random.key_data(keys)).tolist()


def test_the_value_is_a_typed_key_and_the_number_of_draws():
    rng = nn.RandomState(3)
    key, count = rng.value
    assert words(key) == words(jax.random.key(3))
    assert count.dtype == jnp.uint32
    assert count.shape == ()
    rng.split_key()
    rng.normal()
    assert words(rng.value[0]) == words(key)
    assert int(rng.value[1]) == 2


def test_a_draw_is_the_key_folded_with_its_number():
    rng = nn.RandomState(3)
    assert [words(rng.split_key()) for _ in range(3)] == [
        words(jax.random.fold_in(jax.random.key(3), n)) for n in range(3)
    ]


def test_several_keys_are_one_draw():
    rng = nn.RandomState(0)
    keys = rng.split_key(5)
    assert keys.shape == (5,)
    assert len({tuple(w) for w in words(keys)}) == 5
    assert int(rng.value[1]) == 1


def test_the_same_seed_gives_the_same_numbers_and_another_one_others():
    def draw(seed):
        return nn.RandomState(seed).normal((8,)).tolist()

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)
    assert draw(jax.random.key(0)) == draw(0)
    assert draw(np.int64(0)) == draw(0)


def test_without_a_seed_two_streams_differ():
    assert nn.RandomState().normal((8,)).tolist() != nn.RandomState().normal((8,)).tolist()


def test_other_implementations_of_keys_are_kept():
    rng = nn.RandomState(jax.random.key(0, impl="rbg"))
    assert jax.random.key_impl(rng.split_key()) == "rbg"


def test_a_fork_is_independent_and_one_draw():
    rng = nn.RandomState(0)
    first, second = rng.fork(), rng.fork()
    assert int(rng.value[1]) == 2
    drawn = [s.normal((64,)) for s in (rng, first, second)]
    for i in range(3):
        for j in range(i):
            assert abs(float(jnp.corrcoef(drawn[i], drawn[j])[0, 1])) < 0.5
    assert first.value[0].shape == ()
    again = nn.RandomState(0)
    assert again.fork().normal((64,)).tolist() == drawn[1].tolist()


def test_a_copy_draws_the_same_again():
    rng = nn.RandomState(0)
    rng.normal()
    twins = [copy.copy(rng), copy.deepcopy(rng), clone([rng])[0], nn.RandomState(rng)]
    expected = rng.normal((4,)).tolist()
    assert [t.normal((4,)).tolist() for t in twins] == [expected] * 4


def test_seed_starts_anew():
    rng = nn.RandomState(0)
    first = rng.normal((4,)).tolist()
    rng.seed(0)
    assert rng.normal((4,)).tolist() == first
    rng.seed(jax.random.key(0))
    assert rng.normal((4,)).tolist() == first


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda r: r.normal((3,), jnp.bfloat16), lambda k: jax.random.normal(k, (3,), jnp.bfloat16)),
        (lambda r: r.uniform((3,), minval=2.0, maxval=3.0), lambda k: jax.random.uniform(k, (3,), float, 2.0, 3.0)),
        (lambda r: r.bernoulli(0.3, (3,)), lambda k: jax.random.bernoulli(k, 0.3, (3,))),
        (lambda r: r.randint((3,), 0, 9), lambda k: jax.random.randint(k, (3,), 0, 9)),
        (lambda r: r.permutation(6), lambda k: jax.random.permutation(k, 6)),
        (lambda r: r.choice(6, (2,), replace=False), lambda k: jax.random.choice(k, 6, (2,), replace=False)),
    ],
    ids=["normal", "uniform", "bernoulli", "randint", "permutation", "choice"],
)
def test_a_draw_is_that_of_jax(draw, expected):
    got, wanted = draw(nn.RandomState(5)), expected(nn.RandomState(5).split_key())
    assert got.dtype == wanted.dtype
    assert got.tolist() == wanted.tolist()


@pytest.mark.parametrize("source", [1.5, "0", True, [0, 1], jnp.zeros(2)])
def test_other_seeds_are_refused(source):
    with pytest.raises(TypeError, match=r"made from a whole number, a typed key or None, not \w+: write `RandomState"):
        nn.RandomState(source)


def test_a_raw_key_is_refused_with_the_line_to_write():
    with pytest.raises(TypeError, match=r"write `RandomState\(jax.random.wrap_key_data\(key\)\)`"):
        nn.RandomState(jax.random.key_data(jax.random.key(0)))


def test_inside_raw_jit_through_split_and_merge():
    class Noise(nn.Module):
        def __init__(self):
            self.rng = nn.RandomState(0)

        def __call__(self):
            return self.rng.normal((2,)) + self.rng.fork().normal((2,))

    shape, tree = treefy_split(Noise())

    @jax.jit
    def step(tree):
        noise = treefy_merge(shape, tree)
        return noise(), treefy_states(noise)

    eager = Noise()
    for _ in range(3):
        y, tree = step(tree)
        assert y.tolist() == pytest.approx(eager().tolist())
    assert int(tree["rng"].value[1]) == int(eager.rng.value[1]) == 6


def test_many_streams_in_one_vmap():
    rng = nn.RandomState(0)
    keys = rng.split_key(4)
    drawn = jax.vmap(lambda key: nn.RandomState(key).normal())(keys)
    assert len(set(drawn.tolist())) == 4


def test_drawing_under_an_overlay_leaves_the_stream_alone():
    rng = nn.RandomState(0)
    with Overlay() as overlay:
        rng.normal()
        assert int(rng.value[1]) == 1
    assert int(rng.value[1]) == 0
    assert list(overlay.writes) == [rng]


def test_a_captured_stream_is_refused_by_raw_jit_and_stays_as_it_was():
    rng = nn.RandomState(0, "noise")
    with pytest.raises(TraceContextError, match="RandomState 'noise' cannot take a traced value here"):
        jax.jit(lambda: rng.normal())()
    assert int(rng.value[1]) == 0


def test_threads_never_draw_one_key():
    rng = nn.RandomState(0)
    drawn: list[list[int]] = []

    def draw():
        drawn.extend([words(rng.split_key()) for _ in range(50)])

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tuple(w) for w in drawn}) == 200
    assert int(rng.value[1]) == 200


@pytest.fixture
def no_default(monkeypatch):
    import brainstate_nn._random as module

    monkeypatch.setattr(module, "_default", None)


@pytest.mark.usefixtures("no_default")
def test_the_default_stream_is_made_once_and_seeded_before_or_after():
    nn.seed(7)
    before = nn.default_rng().normal((4,)).tolist()
    nn.seed(7)
    assert nn.default_rng() is nn.default_rng()
    assert nn.default_rng().normal((4,)).tolist() == before
    nn.seed(7)
    first = nn.split_key()
    assert words(first) == words(jax.random.fold_in(jax.random.key(7), 0))
    assert nn.split_key(3).shape == (3,)


@pytest.mark.usefixtures("no_default")
def test_the_default_stream_outlives_the_trace_in_which_it_is_made():
    def made_inside(x):
        with Overlay() as overlay:
            y = nn.default_rng().normal() + x
        assert list(overlay.writes) == [nn.default_rng()]
        return y

    jax.jit(made_inside)(1.0)
    assert int(nn.default_rng().value[1]) == 0
    nn.default_rng().normal()
    assert int(nn.default_rng().value[1]) == 1


def test_a_seed_makes_a_model_repeat():
    nn.seed(0)
    first = nn.Linear(3, 4)
    nn.seed(0)
    second = nn.Linear(3, 4)
    third = nn.Linear(3, 4)
    assert first.weight.value.tolist() == second.weight.value.tolist() != third.weight.value.tolist()
