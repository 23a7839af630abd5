from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import (
    Overlay,
    TraceContextError,
    catch_new_states,
    clone,
    graphdef,
    states,
    treefy_merge,
    treefy_split,
    treefy_states,
)
from brainstate_nn._core.samplers import Samplers
from brainstate_transform import for_loop, jit, vmap
from tests.tables import each


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


DRAWS = {
    "ball": ((3,), {"shape": (2,)}),
    "bernoulli": ((0.3, (3,)), {}),
    "beta": ((2.0, 3.0), {"shape": (2,)}),
    "binomial": ((5.0, 0.4, (2,)), {}),
    "bits": (((2,),), {"dtype": "uint8"}),
    "categorical": ((jnp.zeros((2, 3)),), {"axis": 1}),
    "cauchy": (((2,),), {}),
    "chisquare": ((3.0, (2,)), {}),
    "choice": ((6, (2,)), {"replace": False}),
    "dirichlet": ((jnp.ones(3), (2,)), {}),
    "double_sided_maxwell": ((0.0, 1.0, (2,)), {}),
    "exponential": (((2,),), {}),
    "f": ((2.0, 3.0, (2,)), {}),
    "gamma": ((2.0,), {"shape": (2,), "dtype": "float16"}),
    "generalized_normal": ((1.5, (2,)), {}),
    "geometric": ((0.3, (2,)), {}),
    "gumbel": (((2,),), {}),
    "laplace": (((2,),), {}),
    "loggamma": ((0.01, (2,)), {}),
    "logistic": (((2,),), {}),
    "lognormal": ((), {"sigma": 0.5, "shape": (2,)}),
    "maxwell": (((2,),), {}),
    "multinomial": ((4.0, jnp.array([0.2, 0.8])), {}),
    "multivariate_normal": ((jnp.zeros(2), jnp.eye(2), (3,)), {}),
    "normal": (((3,), jnp.bfloat16), {}),
    "orthogonal": ((2,), {"shape": (2,)}),
    "pareto": ((2.0, (2,)), {}),
    "permutation": ((6,), {}),
    "poisson": ((3.0, (2,)), {}),
    "rademacher": (((4,),), {}),
    "randint": (((3,), 0, 9), {}),
    "rayleigh": ((1.0, (2,)), {}),
    "t": ((3.0, (2,)), {}),
    "triangular": ((0.0, 0.3, 1.0, (2,)), {}),
    "truncated_normal": ((-1.0, 2.0), {"shape": (2,)}),
    "uniform": (((3,),), {"minval": 2.0, "maxval": 3.0}),
    "wald": ((1.0, (2,)), {}),
    "weibull_min": ((1.0, 2.0, (2,)), {}),
}


@each("name", DRAWS)
def test_a_draw_is_the_program_of_jax(name):
    args, kwargs = DRAWS[name]

    def ours(key):
        rng = nn.RandomState(key)
        return getattr(rng, name)(*args, **kwargs), rng.value[1]

    def theirs(key):
        rng = nn.RandomState(key)
        return getattr(jax.random, name)(rng.split_key(), *args, **kwargs), rng.value[1]

    # as programs, for compiling all of them takes half a minute
    one, other = (str(jax.make_jaxpr(draw)(jax.random.key(0))) for draw in (ours, theirs))
    assert one == other


@each("name", ["normal", "uniform", "bernoulli", "randint", "permutation", "choice", "categorical"])
def test_a_draw_is_that_of_jax(name):
    args, kwargs = DRAWS[name]
    rng = nn.RandomState(5)
    wanted = getattr(jax.random, name)(nn.RandomState(5).split_key(), *args, **kwargs)
    got = getattr(rng, name)(*args, **kwargs)
    assert got.dtype == wanted.dtype
    assert got.tolist() == wanted.tolist()
    assert int(rng.value[1]) == 1


def test_all_samplers_of_jax_are_there():
    about_keys = {"PRNGKey", "key", "key_data", "key_dtype", "key_impl", "wrap_key_data", "split", "fold_in", "clone"}
    functions = {
        name for name, item in vars(jax.random).items() if inspect.isfunction(item) and not name.startswith("_")
    }
    assert functions - about_keys == set(DRAWS) == {n for n in vars(Samplers) if not n.startswith("_")}


def test_samplers_show_the_arguments_of_jax_without_the_key():
    for name in DRAWS:
        method, theirs = getattr(nn.RandomState(0), name), inspect.signature(getattr(jax.random, name))
        assert [*inspect.signature(method).parameters.values()] == [*theirs.parameters.values()][1:]
        assert method.__name__ == name
        assert method.__doc__.startswith("Draw ")
    page = pydoc.render_doc(nn.RandomState(0).truncated_normal, renderer=pydoc.plaintext)
    assert "lower: 'RealArray', upper: 'RealArray', shape:" in " ".join(page.split())
    assert pickle.loads(pickle.dumps(nn.RandomState(5).normal))().shape == ()


@each("source", [1.5, "0", True, [0, 1], jnp.zeros(2)])
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
    with pytest.raises(TraceContextError, match="RandomState 'noise' cannot advance here"):
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
    import brainstate_nn._core.random as module

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
    with pytest.warns(UserWarning, match="made_inside` keeps the old value"):  # it is a constant there
        nn.default_rng().normal()
    assert int(nn.default_rng().value[1]) == 1


@pytest.mark.usefixtures("no_default")
def test_the_default_stream_is_no_new_state_of_what_is_made_when_it_is_first_asked_for():
    with catch_new_states("mine") as caught:
        net = nn.Linear(2, 3)
    assert sorted(map(id, caught)) == sorted([id(net.weight), id(net.bias)])
    assert not nn.default_rng().tag
    assert nn.default_rng().name == "default_rng"


def test_a_seed_makes_a_model_repeat():
    nn.seed(0)
    first = nn.Linear(3, 4)
    nn.seed(0)
    second = nn.Linear(3, 4)
    third = nn.Linear(3, 4)
    assert first.weight.value.tolist() == second.weight.value.tolist() != third.weight.value.tolist()


def test_streams_by_name_and_the_default_for_other_names():
    streams = nn.RandomStreams(0, dropout=1, noise=nn.RandomState(2))
    assert streams.params is streams.default is streams.anything
    assert streams.dropout is not streams.default
    assert words(streams.noise.value[0]) == words(jax.random.key(2))
    assert list(states(streams)) == [("default",), ("dropout",), ("noise",)]
    shared = nn.RandomState(3)
    assert nn.RandomStreams(shared, dropout=shared).dropout is shared
    with pytest.raises(AttributeError, match="_private"):
        _ = streams._private


def test_layers_take_their_stream_by_purpose_and_share_it():
    streams = nn.RandomStreams(0, dropout=1)
    net = nn.Sequential(nn.Linear(2, 3, rng=streams), nn.Dropout(0.5, rng=streams), nn.Dropout(0.5, rng=streams))
    assert net[1].rng is net[2].rng is streams.dropout
    assert int(streams.default.value[1]) == 2
    assert int(streams.dropout.value[1]) == 0
    same = nn.Linear(2, 3, rng=nn.RandomState(0))
    assert same.weight.value.tolist() == net[0].weight.value.tolist()
    net(jnp.ones((4, 2)))
    assert int(streams.dropout.value[1]) == 2
    assert list(net.states(nn.RandomState)) == [("layers", 1, "rng")]


class Noisy(nn.Module):
    def __init__(self):
        self.streams = nn.RandomStreams(0, noise=1)

    def __call__(self, x):
        return x + self.streams.noise.normal() + self.streams.other.uniform()


def test_streams_are_split_merged_copied_and_pickled():
    net = Noisy()
    shape, tree = treefy_split(net)
    twins = [treefy_merge(shape, tree), clone(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    expected = float(net(0.0))
    assert [float(twin(0.0)) for twin in twins] == [expected] * 4
    assert all(graphdef(twin) is graphdef(net) for twin in twins)
    assert float(net(0.0)) != expected
    shallow = copy.copy(net.streams)
    assert shallow.noise is net.streams.noise
    assert copy.copy(net.streams).whatever is net.streams.default


def test_streams_compiled_in_a_loop_and_in_lanes():
    eager, compiled, looped = Noisy(), Noisy(), Noisy()
    wanted = [float(eager(0.0)) for _ in range(4)]
    step = jit(compiled)
    assert [float(step(0.0)) for _ in range(4)] == pytest.approx(wanted)
    assert for_loop(looped, jnp.zeros(4)).tolist() == pytest.approx(wanted)
    assert int(looped.streams.noise.value[1]) == int(looped.streams.default.value[1]) == 4
    lanes = Noisy()
    few, many = vmap(lanes)(jnp.zeros(3)).tolist(), vmap(Noisy())(jnp.zeros(5)).tolist()
    assert len(set(few)) == 3
    assert few == pytest.approx(many[:3])
    assert int(lanes.streams.noise.value[1]) == 1


def test_forked_streams_are_independent_under_the_same_names():
    streams = nn.RandomStreams(0, dropout=1)
    streams.both = streams.dropout
    fork = streams.fork()
    assert fork.both is fork.dropout is not streams.dropout
    assert fork.params is fork.default
    drawn = {float(s.normal()) for s in (streams.default, streams.dropout, fork.default, fork.dropout)}
    assert len(drawn) == 4
    assert int(streams.default.value[1]) == int(streams.dropout.value[1]) == 2
    again = nn.RandomStreams(0, dropout=1).fork()
    assert words(again.dropout.value[0]) == words(nn.RandomState(1).fork().value[0])


def test_names_that_streams_cannot_have():
    for name in ("fork", "graph_invisible_attrs"):
        with pytest.raises(
            ValueError, match=f"a stream cannot be named '{name}', because RandomStreams has an attribute of this name"
        ):
            nn.RandomStreams(0, **{name: 1})
    with pytest.raises(TypeError, match="rng takes a RandomState or RandomStreams, not int: write `rng=RandomState"):
        nn.Linear(2, 3, rng=0)


def test_a_seed_of_the_process_reaches_layers_and_scripts():
    def draw():
        nn.seed(3)
        net = nn.Sequential(nn.Linear(2, 3), nn.Dropout(0.5))
        return net(jnp.ones((2, 2))).tolist(), nn.default_rng().normal().tolist(), words(nn.split_key())

    assert draw() == draw()


def test_a_stream_stays_where_it_is_under_a_mesh(no_default):
    del no_default
    mesh = jax.make_mesh((1,), ("d",))
    with jax.set_mesh(mesh):
        nn.Linear(2, 3)
    assert not any(leaf.committed for leaf in nn.default_rng().value)
    assert not nn.Linear(2, 3).weight.value.committed
    with jax.set_mesh(jax.make_mesh((1,), ("other",))):
        nn.Linear(2, 3)
    placed = nn.RandomState(jax.device_put(jax.random.key(0), jax.NamedSharding(mesh, jax.P())))
    placed.split_key()
    assert placed.value[0].committed
