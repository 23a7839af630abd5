"""Altered text and damaged files: an error that says what is wrong, or something that a graph can really give."""

from __future__ import annotations

import collections
import json
import os
import random

import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import State, from_json, graphdef, states, to_json, treefy_merge
from tests.fuzz.files import altered, damaged
from tests.graph.data.museum import ALLOW, gallery, museum
from tests.laws.graphs import cyclic, net, odd, tied
from tests.nn.whole import all_bits

FIRST = int(os.environ.get("FUZZ_FROM", "0"))
MANY = int(os.environ.get("FUZZ_FILES", "1000"))


def texts():
    shared = State(1.0)
    ordered = collections.OrderedDict(b=shared, a=[nn.Dropout(0.5)])
    made = [make() for make in (cyclic, net, odd, tied, museum, gallery)]
    return [to_json(graphdef(root)) for root in (*made, ordered, {"x": [shared, (shared, {"y": 2.5})], "z": None})]


def refusal_of(read):
    """Return what is read, and the message of the error, or None."""
    try:
        return read(), None
    except (ValueError, OSError) as error:
        return None, str(error)


def try_text(texts, seed):
    """Alter a text; what is accepted can be put together, and taken apart into the same again."""
    rng = random.Random(seed)
    data = json.dumps(altered(rng, json.loads(rng.choice(texts))))
    shape, said = refusal_of(lambda: from_json(data, allow=ALLOW))
    if said is not None:
        assert 0 < len(said) < 5000, data
        return False
    assert from_json(to_json(shape), allow=ALLOW) is shape, data
    values = {path: jnp.float32(0.0) for path in shape_paths(shape)}
    root = treefy_merge(shape, values)
    assert graphdef(root) is shape, data
    assert len(states(root)) == len(values)
    return True


def shape_paths(shape):
    return [shape.layout.path(index) for index in range(len(shape.state_rows))]


class Net(nn.Module):
    def __init__(self, seed):
        self.layers = [nn.Linear(3, 2, rng=nn.RandomState(seed)), nn.Dropout(0.5, rng=nn.RandomState(seed))]
        self.wide = nn.State({"c": jnp.arange(3.0) + seed, "r": 0.5 + seed})


def try_file(path, name, seed):
    """Damage a file; a load that is refused changes nothing, and one that is not gives what was saved."""
    rng, saved, model = random.Random(seed), Net(1), Net(0)
    path = path / name
    nn.save_states(path, saved)
    path.write_bytes(damaged(rng, path.read_bytes()))
    before = all_bits(model)
    _, said = refusal_of(lambda: nn.load_states(path, model))
    assert said is None or path.name in said
    assert all_bits(model) == (before if said else all_bits(saved))


def test_a_few_texts():
    rows = texts()
    accepted = [try_text(rows, seed) for seed in range(150)]
    assert any(accepted)
    assert not all(accepted)


@pytest.mark.slow
def test_many_texts():
    rows = texts()
    for seed in range(FIRST, FIRST + MANY // 2):
        try_text(rows, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["states.msgpack", "states.safetensors"])
def test_many_files(tmp_path, name):
    for seed in range(FIRST, FIRST + MANY // 4):
        try_file(tmp_path, name, seed)
