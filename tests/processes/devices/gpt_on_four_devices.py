"""The GPT of ``examples/gpt_sharded.py``; `test_several_devices.py` runs this file in a process with four devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import graphdef, treefy_states
from brainstate_transform import jit
from examples import gpt, gpt_sharded

TINY = gpt_sharded.Settings(
    width=16, heads=2, depth=2, context=12, batch=8, steps=4, text=40_000, dtype=jnp.float32
)  # fmt: skip
MESH = jax.make_mesh((4,), ("data",))  # with explicit axes


def windows(settings):
    return gpt_sharded.windows_of(gpt.source_text(settings.text), settings)


def prompts():
    return np.stack([gpt.encoded(text) for text in ("def ", "from", "self", "    ")])


@pytest.mark.parametrize(("dtype", "rtol"), [("float32", 1e-5), pytest.param("bfloat16", 2e-3, marks=pytest.mark.slow)])
def test_training_and_writing_are_those_of_one_device(dtype, rtol):
    settings = TINY._replace(dtype=jnp.dtype(dtype))
    losses, texts, runs = [], [], []
    for mesh in (MESH, None):
        model = gpt_sharded.made(settings, mesh)
        losses.append(gpt_sharded.train(model, settings, windows(settings), mesh))
        shape, before = graphdef(model), treefy_states(model)
        texts.append(gpt_sharded.sample(model, prompts(), 5, mesh))
        assert graphdef(model) is shape  # there is no cache in it
        assert jax.tree.all(jax.tree.map(lambda a, b: a is b, before, treefy_states(model)))
        runs.append(model)
    np.testing.assert_allclose(*losses, rtol=rtol)
    assert not np.allclose(losses[0], losses[0][0], rtol=1e-3)
    if dtype == "float32":
        np.testing.assert_array_equal(*texts)
        for (name, one), (_, other) in zip(*(model.named_parameters() for model in runs), strict=True):
            np.testing.assert_allclose(one.value, other.value, atol=2e-3, err_msg=name)
    assert texts[0].sharding.spec[0] == "data"


def test_each_device_has_a_part_of_all_that_is_large():
    model = gpt_sharded.made(TINY, MESH)
    for name, state in model.named_parameters():
        assert not state.value.sharding.is_fully_replicated, name


def logits(model, batch):
    """Return what a model with an empty cache says of prompts, and of one token more."""
    decode = jit(lambda tokens: model(tokens, decode=True))
    return decode(batch), decode(batch[:, :1])


def test_a_cache_lies_as_the_batch_does_wherever_it_was_made():
    settings, batch = TINY._replace(depth=2, dropout=0.0), prompts()
    alone, writer = (gpt_sharded.made(settings, mesh).eval() for mesh in (None, MESH))
    nn.init_all_states(alone, batch_size=len(batch), max_length=6)
    want = logits(alone, batch)
    for spread, set_before in ((True, False), (True, True), (False, False)):
        with gpt_sharded.on(MESH if set_before else None):
            nn.init_all_states(writer, batch_size=len(batch), max_length=6)
        with jax.set_mesh(MESH):
            got = logits(writer, gpt_sharded.rows(MESH, batch) if spread else jnp.asarray(batch))
        for one, other in zip(got, want, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
        key = next(state.value for path, state in writer.states(nn.CacheState).items() if path[-1] == "key")
        assert ("data" in key.sharding.spec) == spread
