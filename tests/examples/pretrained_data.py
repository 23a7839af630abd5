"""The directories under ``tests/data/pretrained``: what each holds, and what its original computes."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
from safetensors.numpy import load_file

from brainstate_transform import jit
from examples.pretrained import bert, files, gpt2, llama, resnet, vit

DATA = Path(__file__).parents[1] / "data" / "pretrained"
MODULES: dict[str, ModuleType] = {
    "gpt2": gpt2,
    "llama": llama,
    "llama_tied": llama,
    "bert": bert,
    "bert_classifier": bert,
    "bert_plain": bert,
    "vit": vit,
    "resnet": resnet,
    "resnet_basic": resnet,
}


@cache
def expected(name: str) -> dict[str, np.ndarray]:
    """The inputs and outputs of the original."""
    return load_file(DATA / name / "expected.safetensors")


@cache
def loaded(name: str) -> Any:
    """The model, which a test must not change."""
    return MODULES[name].load(DATA / name)


def tokens_of(name: str) -> tuple[np.ndarray, np.ndarray]:
    """The tokens and where they are no padding."""
    return expected(name)["input_ids"].astype(np.int32), expected(name)["attention_mask"].astype(bool)


def prompts_of(name: str) -> list[list[int]]:
    return [row[mask].tolist() for row, mask in zip(*tokens_of(name), strict=True)]


def outputs(name: str, model: Any) -> jax.Array:
    """What a model of ours computes of the inputs."""
    given = expected(name)
    if "pixel_values" in given:
        return jit(model)(given["pixel_values"].transpose(0, 2, 3, 1))
    tokens, mask = tokens_of(name)
    if "token_type_ids" in given:
        return jit(model)(tokens, mask=mask, types=given["token_type_ids"].astype(np.int32))
    return jit(model)(tokens, mask=mask, positions=given["position_ids"].astype(np.int32))


def same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return a.keys() == b.keys() and all(
        a[key].dtype == b[key].dtype and a[key].shape == b[key].shape and a[key].tobytes() == b[key].tobytes()
        for key in a
    )


def copied(name: str, path: Path, config: dict[str, Any] | None = None) -> Path:
    """A copy of a directory, with other settings."""
    shutil.copytree(DATA / name, path)
    given = files.read_config(path)
    (path / "config.json").write_text(json.dumps({**given, **(config or {})}))
    return path
