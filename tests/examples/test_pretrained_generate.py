"""Generation: token by token what the whole pass gives, and what transformers writes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import brainstate_nn as nn
from brainstate_graph import clone, graphdef, treefy_states
from brainstate_transform import jit
from examples.pretrained.generate import choose, generate, padded, positions_of, ranked
from tests.examples.pretrained_data import DATA, expected, loaded, prompts_of, tokens_of
from tests.tables import each

TEXTS = ("gpt2", "llama")


@pytest.mark.parametrize("name", TEXTS)
def test_greedy_texts_are_those_of_transformers(name):
    model = loaded(name)
    shape, before = graphdef(model), treefy_states(model)
    theirs = expected(name)["generated"].tolist()
    assert generate(model, prompts_of(name), 12) == theirs
    assert graphdef(model) is shape  # there is no cache in it
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, before, treefy_states(model)))
    # The stop token ends the one text, and goes with it; the others go on to it, or to the end.
    stop = theirs[0][4]
    ends = [row.index(stop) + 1 if stop in row else 12 for row in theirs]
    wanted = [row[:end] for row, end in zip(theirs, ends, strict=True)]
    assert generate(model, prompts_of(name), 12, stop=stop) == wanted


@pytest.mark.parametrize("name", TEXTS)
def test_token_by_token_the_logits_are_those_of_the_whole_pass(name):
    model, (tokens, mask) = loaded(name), tokens_of(name)
    positions = np.asarray(positions_of(mask))
    whole = np.asarray(jit(model)(tokens, mask=mask, positions=positions))
    decoder = clone(model)
    nn.init_all_states(decoder, batch_size=len(tokens), max_length=tokens.shape[1])

    @jit
    def decode(some, at):
        return decoder(some, mask=mask, positions=at, decode=True)

    places = [slice(0, 5), *(slice(i, i + 1) for i in range(5, tokens.shape[1]))]
    apart = np.concatenate([decode(tokens[:, p], positions[:, p]) for p in places], 1)
    np.testing.assert_allclose(apart[mask], whole[mask], atol=1e-5)


def test_texts_drawn_at_random():
    model, prompts, key = loaded("llama"), prompts_of("llama"), jax.random.key(0)
    greedy = generate(model, prompts, 12)
    drawn = generate(model, prompts, 12, temperature=1.0, key=key)
    assert drawn != greedy
    assert drawn == generate(model, prompts, 12, temperature=1.0, key=key)
    assert drawn != generate(model, prompts, 12, temperature=1.0, key=jax.random.key(1))
    # Of one token to draw from, it is that one.
    for few in ({"top_k": 1}, {"top_p": 1e-6}):
        assert generate(model, prompts, 12, temperature=2.0, key=key, **few) == greedy


def sampling():
    tensors = load_file(DATA / "sampling.safetensors")
    scores = tensors.pop("scores")
    return {name: (scores, shares) for name, shares in tensors.items()}


@each("name, row", sampling().items())
def test_what_is_left_to_draw_from_is_what_transformers_leaves(name, row):
    (scores, theirs), (k, p, temperature) = row, map(float, name.split(","))
    order, kept = ranked(jnp.asarray(scores), jnp.float32(temperature), jnp.int32(k), jnp.float32(p))
    shares = np.zeros_like(theirs)
    np.put_along_axis(shares, np.asarray(order), np.asarray(jax.nn.softmax(kept, -1)), -1)
    np.testing.assert_allclose(np.sort(shares), np.sort(theirs), atol=1e-6)
    alone = [i for i in range(len(scores)) if i != 1]  # of two equal ones, either may be left
    np.testing.assert_allclose(shares[alone], theirs[alone], atol=1e-6)
    np.testing.assert_array_equal(np.asarray(order)[:, 0], scores.argmax(-1))


def test_tokens_are_drawn_as_often_as_their_shares_say():
    logits = jnp.log(jnp.asarray([0.5, 0.1, 0.3, 0.1]))[None].repeat(20_000, 0)
    drawn = choose(logits, jax.random.key(0), jnp.float32(1.0), jnp.int32(2), jnp.float32(1.0))
    # Of the two best ones, 0.5 and 0.3: four deviations of a share of 20,000 draws are 0.014.
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20_000, [0.625, 0, 0.375, 0], atol=0.014)


def test_prompts_are_padded_on_the_left():
    tokens, mask = padded([[5], [6, 7, 8]])
    assert tokens.tolist() == [[0, 0, 5], [6, 7, 8]]
    assert positions_of(mask).tolist() == [[0, 0, 0], [0, 1, 2]]


WRONG = {
    "no key": ({"temperature": 1.0}, "give `key=jax.random.key"),
    "a temperature below 0": ({"temperature": -1.0}, "temperature must be 0 or more"),
    "a share of 0": ({"top_p": 0.0}, "top_p above 0"),
    "none of the best": ({"top_k": 0}, "top_k and max_new_tokens 1 or more"),
    "nothing to write": ({"max_new_tokens": 0}, "max_new_tokens 1 or more"),
    "an empty prompt": ({"prompts": [[1], []]}, "a token in each"),
    "no prompt": ({"prompts": []}, "there must be a prompt"),
    "a long prompt": ({"prompts": [[1] * 30]}, r"more than the 40 that the model sees: shorten the prompt"),
}


@each("title, row", WRONG.items())
def test_wrong_arguments_are_refused(title, row):
    options, text = row
    with pytest.raises(ValueError, match=text):
        generate(loaded("gpt2"), **{"prompts": [[1]], "max_new_tokens": 12, **options})
