from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import brainstate_nn as nn
from benchmarks import nn as benchmark
from benchmarks._gpt_peers import HandWritten, NnxGPT, nnx_step, values_of
from brainstate_graph import graphdef, treefy_states
from brainstate_transform import jit
from examples import gpt

TINY = gpt.Settings(width=16, heads=2, depth=2, context=12, batch=4, steps=10, text=40_000)


def made():
    return gpt.GPT(gpt.CHARACTERS, TINY, nn.RandomState(0))


def test_the_curve_is_that_of_nnx_and_of_plain_jax():
    model, tx = made(), optax.adam(1e-2)
    values, others = values_of(model), values_of(model)
    windows = gpt.windows_of(gpt.source_text(TINY.text), TINY, 0)
    ours = gpt.train(model, tx, windows)
    assert ours[-1] < 0.9 * ours[0]

    by_hand, step, state = [], HandWritten(TINY).step(tx), tx.init(values)
    for batch in windows:
        values, state, loss = step(values, state, batch)
        by_hand.append(float(loss))
    np.testing.assert_allclose(ours, by_hand, rtol=1e-4)
    for name, param in model.named_parameters():
        np.testing.assert_allclose(param.value, values[name], atol=1e-3)

    theirs = NnxGPT(gpt.CHARACTERS, TINY, others)
    optimizer = nnx.Optimizer(theirs, tx, wrt=nnx.Param)
    np.testing.assert_allclose(ours, [float(nnx_step(theirs, optimizer, batch)) for batch in windows], rtol=1e-4)


def test_the_step_takes_the_memory_of_the_one_by_hand():
    model, tx, batch = made(), optax.adam(1e-2), jnp.zeros((TINY.batch, TINY.context + 1), int)
    by_hand = benchmark.by_hand(values_of(model), TINY, tx, batch)
    ours = benchmark.ours(model, tx, batch)
    assert benchmark.bytes_of(ours.program) <= 1.05 * benchmark.bytes_of(by_hand.program)


def test_what_is_sampled_with_the_cache_is_what_is_sampled_without():
    model, key, length = made(), jax.random.key(0), 8
    prompt = jnp.asarray(np.stack([gpt.encoded("def "), gpt.encoded("from")]))
    shape, before = graphdef(model), treefy_states(model)
    texts = gpt.sample(model, prompt, length, temperature=0.5, key=key)
    assert graphdef(model) is shape  # there is no cache in it
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, before, treefy_states(model)))

    whole = jnp.concatenate([prompt, jnp.zeros((2, length), int)], 1)
    logits = jit(model)
    for place, each in enumerate(jax.random.split(key, length), start=prompt.shape[1]):
        drawn = jax.random.categorical(each, logits(whole)[:, place - 1] / 0.5)
        whole = whole.at[:, place].set(drawn)
    np.testing.assert_array_equal(texts, whole[:, prompt.shape[1] :])


def test_the_text():
    text = gpt.source_text(30_000)
    assert text.shape == (30_000,)
    assert text.max() < gpt.CHARACTERS
    assert "import " in gpt.decoded(text)
    assert gpt.decoded(gpt.encoded("def f(é):\n")) == "def f(?):\n"
    seen, unseen = gpt.divided(np.arange(45_000))
    assert (len(seen), len(unseen)) == (38_000, 2_000)
    assert not set(seen) & set(unseen)
    assert gpt.entropy(np.array([0, 1, 2, 3])) == pytest.approx(np.log(4))


@pytest.mark.exhaustive
def test_the_script(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    gpt.main(
        tmp_path, gpt.Settings(width=32, heads=2, depth=1, context=32, batch=16, steps=200, rate=1e-2, text=60_000)
    )
    assert "ok    loss" in capsys.readouterr().out
    assert (tmp_path / "gpt.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "gpt.msgpack").stat().st_size > 30_000
