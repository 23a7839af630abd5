"""Generation: token by token what the whole pass gives, and what transformers writes."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import brainstate_nn as nn
from brainstate_graph import clone, graphdef, treefy_states
from brainstate_transform import jit
from examples.pretrained import bert, gpt2, llama, vit
from examples.pretrained import generate as writing
from examples.pretrained.command import classify_picture
from examples.pretrained.files import stop_tokens
from examples.pretrained.generate import choose, generate, main, padded, positions_of, ranked
from tests.examples.pretrained_data import DATA, MODULES, expected, loaded, prompts_of, tokens_of
from tests.tables import each

TEXTS = ("gpt2", "llama", "llama_tied")


@each("name", TEXTS)
def test_greedy_texts_are_those_of_transformers(name):
    model = loaded(name)
    shape, before = graphdef(model), treefy_states(model)
    # It ends a text with the token that config.json says, and fills up with 0.
    theirs = [row[: row.index(2) + 1] if 2 in row else row for row in expected(name)["generated"].tolist()]
    assert generate(model, prompts_of(name), 12, stop=stop_tokens(DATA / name)) == theirs
    assert graphdef(model) is shape  # there is no cache in it
    assert jax.tree.all(jax.tree.map(lambda a, b: a is b, before, treefy_states(model)))
    # Without any, it goes on; with others, each text ends with the first of them. A number of NumPy is one, too.
    longer = generate(model, prompts_of(name), 12)
    assert [row[: len(short)] for row, short in zip(longer, theirs, strict=True)] == theirs
    assert {len(row) for row in longer} == {12}
    for stop in (longer[0][4], np.int64(longer[1][2]), [longer[0][4], longer[2][1]]):
        ends = [next((i + 1 for i, token in enumerate(row) if token in np.ravel(stop)), 12) for row in longer]
        wanted = [row[:end] for row, end in zip(longer, ends, strict=True)]
        assert generate(model, prompts_of(name), 12, stop=stop) == wanted


@each("name", TEXTS)
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


@pytest.mark.counts_traces
def test_one_program_serves_all_choices(monkeypatch):
    traced = []

    def counted(*args):
        traced.append(args)
        return choose(*args)

    monkeypatch.setattr(writing, "choose", counted)
    generate(loaded("gpt2"), [[1]], 2)
    first = len(traced)
    assert first > 0
    for options in ({"temperature": 0.5}, {"temperature": 2, "top_k": 3, "top_p": 0.9}, {"stop": 2}, {"stop": [2, 3]}):
        generate(loaded("gpt2"), [[5]], 2, key=jax.random.key(1), **options)
    assert len(traced) == first
    generate(loaded("gpt2"), [[5, 6]], 2)
    assert len(traced) == 2 * first  # prompts of another length


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
    "a long prompt": ({"prompts": [[1] * 30]}, r"more than the 40 that the model sees: shorten .* `prompt\[-28:\]`"),
    "a long text": ({"max_new_tokens": 40}, r"more than the 40 that the model sees: ask for fewer"),
    "a prompt alone": ({"prompts": [1, 2]}, r"write `\[prompt\]` for a single one"),
    "a token too large": ({"prompts": [[1], [2, 96]]}, r"prompts\[1\] has the token 96, and the model knows 0 to 95"),
    "a token below 0": ({"prompts": [[-1]]}, r"prompts\[0\] has the token -1"),
    "words": ({"prompts": [["the"]]}, r"prompts\[0\] must have whole numbers, not <U3: a tokenizer makes them"),
    "fractions": ({"prompts": [[0.5]]}, r"must have whole numbers, not float64"),
    "no number": ({"temperature": float("nan")}, "temperature must be 0 or more"),
}


@each("title, row", WRONG.items())
def test_wrong_arguments_are_refused(title, row):
    options, text = row
    with pytest.raises((TypeError, ValueError), match=text):
        generate(loaded("gpt2"), **{"prompts": [[1]], "max_new_tokens": 12, **options})


# ------------------------------------------------------------------------------------------------------ the commands


def words(*values):
    return list(map(str, values))


def test_the_commands_print_what_the_originals_computed(tmp_path, capsys):
    def printed(run, *line):
        run(words(*line))
        return capsys.readouterr().out.split()

    # Its first text has no padding, and no stop token.
    line = [DATA / "llama", *prompts_of("llama")[0], "--length", 5]
    wanted = words(*expected("llama")["generated"][0, :5])
    assert printed(partial(main, llama.load, llama.__doc__), *line) == wanted

    # Of one sentence, and that of the directory has two: what the model says of it.
    text = expected("bert")["input_ids"][0]
    output = {name: np.asarray(jit(loaded(name))(text[None].astype(np.int32))[0]) for name in ("bert", "bert_plain")}
    assert printed(bert.main, DATA / "bert", *text) == words(*output["bert"].argmax(-1))
    lengths = printed(bert.main, DATA / "bert_plain", *text)
    np.testing.assert_allclose(np.asarray(lengths, float), np.linalg.norm(output["bert_plain"], axis=-1), rtol=1e-5)
    assert sorted(printed(bert.main, DATA / "bert_classifier", *text)[1::2]) == ["LABEL_0", "LABEL_1", "LABEL_2"]

    for name in ("vit", "resnet"):
        np.save(tmp_path / "a.npy", expected(name)["pixel_values"][1].transpose(1, 2, 0))
        lines = printed(partial(classify_picture, MODULES[name].load, ""), DATA / name, tmp_path / "a.npy")
        shares = np.exp(expected(name)["logits"][1])
        order = np.argsort(-shares)[:5]
        assert lines[1::2] == [f"LABEL_{i}" for i in order]
        np.testing.assert_allclose(np.asarray(lines[::2], float), shares[order] / shares.sum(), atol=1e-3)


def test_a_command_ends_with_one_line_where_something_is_wrong(tmp_path, capsys):
    np.save(tmp_path / "a.npy", np.zeros((3, 32, 32)))
    for run, line, text in (
        (
            partial(main, gpt2.load, ""),
            [DATA / "llama", 1],
            "write `from examples.pretrained import llama`",
        ),
        (partial(main, gpt2.load, ""), [DATA / "gpt2", 96], "the model knows 0 to 95"),
        (partial(main, gpt2.load, ""), [tmp_path, 1], "config.json is missing"),
        (bert.main, [DATA / "bert", 5, 96], "the model knows 0 to 95"),
        (partial(classify_picture, vit.load, ""), [DATA / "vit", tmp_path / "a.npy"], "of torch"),
        (partial(classify_picture, vit.load, ""), [DATA / "vit", tmp_path / "b.npy"], "No such file"),
        (partial(classify_picture, vit.load, ""), [DATA / "vit", DATA / "vit" / "config.json"], "is no array of NumPy"),
    ):
        with pytest.raises(SystemExit) as caught:
            run(words(*line))
        assert caught.value.code == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert "error: " in last
        assert text in last


def test_stop_tokens_are_those_of_the_configuration_for_generation(tmp_path):
    assert stop_tokens(DATA / "llama") == [2]
    (tmp_path / "config.json").write_text("{}")
    assert stop_tokens(tmp_path) == []
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": [3, 4]}')
    assert stop_tokens(tmp_path) == [3, 4]
