from __future__ import annotations

import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_transform import jit
from tests.tables import each

KINDS = {
    "one_to_one": lambda rng, **o: nn.one_to_one(40),
    "all_to_all": lambda rng, **o: nn.all_to_all(30, 40, **o),
    "fixed_probability": lambda rng, **o: nn.fixed_probability(30, 40, 0.2, rng=rng, **o),
    "fixed_probability to fewer": lambda rng, **o: nn.fixed_probability(40, 30, 0.9, rng=rng, **o),
    "fixed_number, pre": lambda rng, **o: nn.fixed_number(40, 30, 7, rng=rng, **o),
    "fixed_number, post": lambda rng, **o: nn.fixed_number(40, 30, 7, per="post", rng=rng, **o),
    "fixed_number, pre, of all": lambda rng, **o: nn.fixed_number(10, 8, 7, rng=rng, **o),
}
each_kind = each("kind", KINDS.values(), KINDS)


@each_kind
def test_pairs_are_sorted_and_none_is_there_twice(kind):
    pre, post = kind(nn.RandomState(0))
    assert pre.dtype == post.dtype == np.int32
    pairs = list(zip(pre.tolist(), post.tolist(), strict=True))
    assert sorted(pairs) == pairs
    assert len(set(pairs)) == len(pairs) > 0


@each("kind", [kind for name, kind in KINDS.items() if name != "one_to_one"])
def test_no_neuron_is_connected_to_its_own_number(kind):
    pre, post = kind(nn.RandomState(0), include_self=False)
    assert (pre != post).all()
    assert len(pre) > 0
    pre, post = kind(nn.RandomState(0), include_self=True)
    assert (pre == post).any()


@each_kind
def test_a_seed_gives_the_same_and_another_seed_others(kind):
    one, same, other = (np.stack(kind(nn.RandomState(seed))) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    drawn = kind not in (KINDS["one_to_one"], KINDS["all_to_all"])
    assert (one.shape != other.shape or (one != other).any()) == drawn


def test_one_to_one_and_all_to_all_are_the_unit_matrix_and_ones():
    for (pre, post), matrix in ((nn.one_to_one(5), np.eye(5)), (nn.all_to_all(3, 4), np.ones((3, 4)))):
        np.testing.assert_array_equal([pre, post], np.nonzero(matrix))


def test_each_pair_has_the_probability_and_knows_nothing_of_the_others():
    pairs = np.zeros((20, 30))
    rng = nn.RandomState(0)
    for _ in range(400):
        pairs[nn.fixed_probability(20, 30, 0.3, rng=rng)] += 1
    # 600 binomial counts: with a standard deviation of 9.2 none is further off than 5 of them
    assert abs(pairs - 120).max() < 46
    assert abs(pairs.std() - (400 * 0.3 * 0.7) ** 0.5) < 1
    assert abs(np.corrcoef(pairs[:, :-1].ravel(), pairs[:, 1:].ravel())[0, 1]) < 0.15
    assert len(nn.fixed_probability(3, 4, 0.0)[0]) == 0
    np.testing.assert_array_equal(nn.fixed_probability(3, 4, 1.0), nn.all_to_all(3, 4))


def test_a_draw_that_ends_too_early_goes_on(monkeypatch):
    generator = np.random.default_rng(0)

    class Short:
        """One that gives a tenth of the distances that are asked for."""

        def geometric(self, probability, number):
            return generator.geometric(probability, number // 10 + 1)

    monkeypatch.setattr("brainstate_nn._sparse.connections._generator", lambda rng: Short())
    pre, post = nn.fixed_probability(300, 200, 0.1)
    np.testing.assert_allclose(np.bincount(pre, minlength=300).reshape(10, 30).sum(1), 600, atol=120)
    np.testing.assert_allclose(np.bincount(post, minlength=200).reshape(10, 20).sum(1), 600, atol=120)
    assert len({*zip(pre.tolist(), post.tolist(), strict=True)}) == len(pre)


@each("include_self", [True, False])
@each("sizes", [(20, 30), (30, 20)])
@each("per", ["pre", "post"])
def test_each_neuron_has_the_number_and_all_are_chosen_alike(per, sizes, include_self):
    chosen = np.zeros(sizes)
    rng = nn.RandomState(0)
    for _ in range(60):
        pairs = nn.fixed_number(*sizes, 5, per=per, include_self=include_self, rng=rng)
        chosen[pairs] += 1
        assert set(np.bincount(pairs[0 if per == "pre" else 1]).tolist()) == {5}
    others = chosen[~np.eye(*sizes, dtype=bool)]
    assert others.min() > 0
    assert abs(others.mean() / (60 * 5 / sizes[per == "pre"]) - 1) < 0.1


@each("call, message", [
    (lambda: nn.fixed_probability(3, 4, 1.1), "probability must be the probability of a connection, between 0 and 1"),
    (lambda: nn.fixed_number(3, 4, 5), "number must be at most 4, the number of neurons to choose from, not 5"),
    (lambda: nn.fixed_number(3, 4, 4, per="post"), "number must be at most 3"),
    (lambda: nn.fixed_number(3, 4, 4, include_self=False), "number must be at most 3"),
    (lambda: nn.fixed_number(3, 4, 2.5), "number must be a positive whole number"),
    (lambda: nn.fixed_number(3, 4, 2, per="both"), 'per must be "pre" or "post"'),
    (lambda: nn.all_to_all(0, 4), "in_size must be a positive whole number"),
    (lambda: nn.one_to_one(-1), "size must be a positive whole number"),
])  # fmt: skip
def test_errors_name_the_argument(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_draw_inside_of_jit_says_where_to_draw():
    rng = nn.RandomState(0)

    @jit
    def make():
        return len(nn.fixed_probability(3, 4, 0.5, rng=rng)[0])

    with pytest.raises(TypeError, match="connections are drawn outside of jit"):
        make()
    assert len(nn.fixed_probability(3, 4, 1.0, rng=rng)[0]) == 12
