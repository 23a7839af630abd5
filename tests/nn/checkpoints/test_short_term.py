"""Hidden states and their like are left out of checkpoints unless a filter asks for them, in writing and in reading."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import GraphError, Not, treefy_states
from tests.tables import each

SHORT = ["0.c", "0.h", "2.cache.key", "2.cache.length", "2.cache.value", "3.mask", "4.mine"]


class Mine(nn.Module):
    """A state of a kind of the user's that has two arrays, and two names."""

    class Trace(nn.ShortTermState):
        pass

    def __init__(self, value):
        self.mine = self.Trace((jnp.full(2, value), jnp.zeros(())))
        self.same = self.mine


def model(value, batch=2, made=True):
    parts = [nn.LSTMCell(4, 4), nn.BatchNorm(4), nn.MultiHeadAttention(2, 4), nn.FixedDropout(0.5, 4), Mine(value)]
    if made:
        nn.init_all_states(parts, batch, max_length=3)
        parts[0].h.value = jnp.full((batch, 4), value)
    for state in parts[0].states(nn.ParamState).values():
        state.value = jnp.full_like(state.value, value)
    return parts


def by_file(path, source, *filters):
    nn.save_states(path / "states", source, *filters)
    return functools.partial(nn.load_states, path / "states")


def by_orbax(path, source, *filters):
    with nn.Checkpoints(path / "steps") as checkpoints:
        checkpoints.save(0, source, *filters)

    def load(node, *filters, **options):
        with nn.Checkpoints(path / "steps") as checkpoints:
            return checkpoints.restore(node, *filters, **options)

    return load


WAYS = each("way", [by_file, by_orbax])


@WAYS
def test_what_is_written_and_read(tmp_path, way):
    load, target = way(tmp_path, model(1.0)), model(2.0)
    # of another batch than the one that was saved
    for node in (target, model(2.0, batch=5), model(2.0, made=False)):
        assert load(node) == ((), ())
        assert float(node[0].bias.value[0]) == 1.0
    assert float(target[0].h.value[0, 0]) == float(target[4].mine.value[0][0]) == 2.0
    missing = load(target, ..., strict=False).missing
    assert {name.removesuffix(".0").removesuffix(".1") if "mine" in name else name for name in missing} == set(SHORT)


@WAYS
def test_they_are_written_and_read_where_a_filter_asks(tmp_path, way):
    load, target = way(tmp_path, model(1.0), ...), model(2.0)
    assert load(target, nn.HiddenState, strict=False).missing == ()
    assert float(target[0].h.value[0, 0]) == 1.0
    assert load(target, ...) == ((), ())
    assert float(target[4].mine.value[0][0]) == 1.0


@WAYS
def test_a_file_that_has_them_is_read_by_a_model_that_does_not_ask(tmp_path, way):
    load = way(tmp_path, model(1.0), ...)
    for node in (model(2.0), model(2.0, batch=5)):
        before = [np.asarray(state.value) for state in node[0].states(nn.HiddenState).values()]
        assert load(node) == ((), ())
        after = [np.asarray(state.value) for state in node[0].states(nn.HiddenState).values()]
        assert [a.tolist() for a in before] == [a.tolist() for a in after]
    # hidden states that the cell has not made yet
    cell, other = nn.Sequential(nn.GRUCell(2, 3)), nn.Sequential(nn.GRUCell(2, 3))
    nn.init_all_states(cell, 4)
    (tmp_path / "cells").mkdir(exist_ok=True)
    load = way(tmp_path / "cells", cell, ...)
    assert load(other) == ((), ())
    renamed = nn.Sequential(other[0], nn.GRUCell(2, 3))
    assert load(renamed, rename=[("^layers.0", "layers.1")], strict=False).unexpected == ()


def test_a_state_tree_is_written_without_them_too(tmp_path):
    nn.save_states(tmp_path / "tree", treefy_states(model(1.0)))
    assert nn.load_states(tmp_path / "tree", model(2.0), Not(nn.ShortTermState)) == ((), ())


@WAYS
def test_a_model_of_hidden_states_alone_is_told(tmp_path, way):
    with pytest.raises(GraphError, match=r"nothing was written: Mine holds only hidden states.*: write `...` for all"):
        way(tmp_path, Mine(1.0))
    target = Mine(2.0)
    assert way(tmp_path, Mine(1.0), ...)(target, ...) == ((), ())
    assert float(target.mine.value[0][0]) == 1.0


def test_a_whole_model_has_them(tmp_path):
    cell = nn.GRUCell(2, 3)
    cell.init_state(2)
    nn.save_model(tmp_path / "model", cell)
    assert nn.load_model(tmp_path / "model").h.value.shape == (2, 3)
    with nn.Checkpoints(tmp_path / "steps") as checkpoints:
        checkpoints.save(0, cell)
        checkpoints.save(1, cell, ...)
        assert checkpoints.load_model(1).h.value.shape == (2, 3)
        with pytest.raises(
            GraphError, match=r"no array for h. To save hidden states too, write `save\(step, model, ...\)`"
        ):
            checkpoints.load_model(0)
