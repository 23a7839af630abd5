from __future__ import annotations

import numpy as np
import pytest

import brainstate_nn as nn
from examples import gpt, lora

TINY = gpt.Settings(width=16, heads=2, depth=1, context=16, batch=16, steps=60, rate=1e-2, text=40_000)


def test_only_the_corrections_are_trained_and_the_loss_falls():
    model = gpt.GPT(gpt.CHARACTERS, TINY, nn.RandomState(0))
    before = lora.as_bytes(model)
    losses = lora.fine_tune(model, lora.prose(TINY.text), TINY)
    assert lora.as_bytes(model) == before
    assert np.mean(losses[-10:]) < losses[0] - 0.3
    trained = model.states(nn.LoRAParam)
    assert len(trained) == 2 * 6  # two for each linear layer, and none for the table
    assert all(np.asarray(state.value).any() for state in trained.values())


def test_the_prose_is_no_source_text():
    text = gpt.decoded(lora.prose(20_000))
    assert len(text) == 20_000
    assert text.count(" the ") > 100


@pytest.mark.exhaustive
def test_the_script(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    base = tmp_path / "base.msgpack"
    nn.save_states(base, gpt.GPT(gpt.CHARACTERS, TINY, nn.RandomState(0)), nn.ParamState)
    lora.main(tmp_path, TINY._replace(steps=150), base)
    printed = capsys.readouterr().out
    assert "FAIL" not in printed
    assert printed.count("ok  ") == 3
    assert (tmp_path / "lora.msgpack").stat().st_size < base.stat().st_size
    assert (tmp_path / "lora.png").exists()
