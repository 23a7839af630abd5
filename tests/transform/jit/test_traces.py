"""What a `StatefulFunction` keeps, for which arguments, and how much of it."""

from __future__ import annotations

import jax.numpy as jnp
import pytest

from brainstate_graph import State
from brainstate_transform import CacheKey, StatefulFunction
from tests.laws.transforms import Net, Runs

x = jnp.array([0.5, 0.5])


one = jnp.float32(1.0)


class Hidden:
    pass


@pytest.mark.counts_traces
def test_stale_shapes_are_traced_anew():
    m, runs = Net(), Runs()

    def f(x):
        runs()
        return m(x)

    sf = StatefulFunction(f)
    sf(one), sf(one)
    assert runs.since() <= 2
    m.w.value = jnp.ones(3)
    assert sf(one).shape == (3,)
    assert sf.get_out_shapes(one)[0].shape == (3,)
    assert runs.since() == 1


def test_two_models_of_one_shape_as_arguments():
    a, b = Net(2.0), Net(3.0)
    sf = StatefulFunction(lambda m, x: m(x))
    assert (sf(a, one), sf(b, one)) == (2.0, 3.0)
    assert (a.n.value, b.n.value) == (1.0, 1.0)
    assert set(sf.get_states(b, one)) == {b.w, b.n}
    assert set(sf.get_states(a, one)) == {a.w, a.n}


@pytest.mark.counts_traces
def test_a_warm_call_runs_no_python_and_every_change_is_seen():
    m, runs = Net(), Runs()
    m.by = 1.0

    def f(m, x):
        runs()
        return m(x) * m.by

    sf = StatefulFunction(f)
    assert sf(m, one) == sf(m, one) == 2.0
    assert runs.since() <= 2
    hits = sf.get_cache_stats()["compilation_cache"]["hits"]
    for _ in range(3):
        sf(m, one)
    assert runs.since() == 0
    assert sf.get_cache_stats()["compilation_cache"]["hits"] == hits + 3
    m.by = 3.0
    assert sf(m, one) == 6.0
    m.by = 1.0
    assert sf(m, one) == 2.0
    m.w.value = jnp.ones(2)
    assert sf(m, one).shape == (2,)
    m.w = State(jnp.float32(4.0))
    assert sf(m, one) == 4.0
    before = runs.since()
    sf.clear_cache()
    sf(m, one)
    assert before
    assert runs.since()


def test_nodes_in_results_belong_to_their_call():
    a, b = Net(2.0), Net(3.0)
    sf = StatefulFunction(lambda m, x: (m, m(x), Net(5.0)))
    for m in (a, b, a):
        out, y, new = sf(m, one)
        assert out is m
        assert y == m.w.value
        assert isinstance(new, Net)
        assert new not in (a, b)
        assert new.w.value == 5.0
    assert (a.n.value, b.n.value) == (2.0, 1.0)


def test_nodes_in_static_arguments():
    a, b = Net(2.0), Net(3.0)
    for given, get in (
        (lambda m: m, lambda m: m),
        (lambda m: (m, "k", 2), lambda m: m[0]),
        (lambda m: {"m": m}, lambda m: m["m"]),
    ):
        sf = StatefulFunction(lambda x, m, get=get: get(m)(x), 1)
        assert [float(sf(one, given(m))) for m in (a, b, a)] == [2.0, 3.0, 2.0]
    assert (a.n.value, b.n.value) == (6.0, 3.0)


def test_few_of_many_states_and_more_of_them_later():
    states = [State(jnp.float32(i)) for i in range(40)]

    def f(x, n):
        for s in states[:n]:
            s.value += x
        return states[-1].value

    sf = StatefulFunction(f, static_argnums=1)
    for n in (2, 30, 2):
        assert sf(one, n) == 39.0
        assert len(sf.get_states(one, n)) == n + 1
    assert [float(s.value) - i for i, s in enumerate(states)] == [3.0] * 2 + [1.0] * 28 + [0.0] * 10


def test_states_that_cannot_be_seen_beforehand():
    hidden = {"a": State(jnp.float32(1.0))}
    sf = StatefulFunction(lambda x: x * vars(Hidden)["of"]()["a"].value)
    Hidden.of = lambda: hidden
    assert (sf(one), sf(one)) == (1.0, 1.0)
    hidden["a"].value = jnp.float32(2.0)
    assert sf(one) == 2.0
    hidden["a"].value = jnp.ones(2)
    assert sf(one).shape == (2,)


def test_a_state_that_cannot_be_seen_in_place_of_one_that_is_not_used():
    # Both traces have one state of one shape, so that JAX would take the first for the second.
    seen, hidden = State(jnp.float32(1.0)), State(jnp.float32(2.0))
    sf = StatefulFunction(lambda x: x * vars(Hidden)["of"](seen))
    Hidden.of = lambda _: hidden.value
    assert sf(one) == 2.0
    assert sf.get_states(one) == (hidden,)
    hidden.value = jnp.float32(3.0)
    assert sf(one) == 3.0


def test_an_error_while_tracing_leaves_no_entry():
    fail = True

    def f(x):
        if fail:
            raise RuntimeError("first")
        return x

    sf = StatefulFunction(f)
    with pytest.raises(RuntimeError):
        sf(one)
    fail = False
    assert sf(one) == 1.0


def test_keys():
    sf = StatefulFunction(lambda x, n, **k: x, static_argnums=1, static_argnames="s")
    key = sf.get_arg_cache_key(x, 2, s="a", d=1.0)
    assert isinstance(key, CacheKey)
    assert key._fields == ("static_args", "dyn_args", "static_kwargs", "dyn_kwargs")
    assert hash(key) == hash(sf.get_arg_cache_key(x + 1.0, 2, d=2.0, s="a"))
    assert key == sf.get_arg_cache_key(x + 1.0, 2, d=2.0, s="a")
    others = [
        sf.get_arg_cache_key(x, 3, s="a", d=1.0), sf.get_arg_cache_key(x, 2.0, s="a", d=1.0),
        sf.get_arg_cache_key(x, 2, s="b", d=1.0), sf.get_arg_cache_key(x, 2, s="a", d=1),
        sf.get_arg_cache_key(x[:1], 2, s="a", d=1.0), sf.get_arg_cache_key((x,), 2, s="a", d=1.0),
    ]  # fmt: skip
    assert all(key != other for other in others)


def test_the_cache_is_bounded_and_counts():
    sf = StatefulFunction(lambda n: n, static_argnums=0)
    for n in range(140):
        sf.make_jaxpr(n)
    stats = sf.get_cache_stats()["compilation_cache"]
    assert (stats["size"], stats["maxsize"]) == (128, 128)
    assert set(stats) == {"size", "maxsize", "hits", "misses", "hit_rate"}
    assert 0.0 <= stats["hit_rate"] <= 1.0
    with pytest.raises(ValueError):
        sf.get_jaxpr_by_cache(sf.get_arg_cache_key(0))
    sf.get_jaxpr_by_cache(sf.get_arg_cache_key(139))
    sf.clear_cache()
    assert sf.get_cache_stats()["compilation_cache"]["size"] == 0
