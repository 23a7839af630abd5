"""Directories of models as Hugging Face writes them: ``config.json``, and weights in one file or many shards.

What the names of the weights mean is the business of each model beside this file: it has a list of settings, modules
that are called as those of torch where that reads well, and rules for the rest, which lead there and back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

import brainstate_nn as nn

Config = dict[str, Any]
Weights = dict[str, np.ndarray]
S = TypeVar("S")
M = TypeVar("M", bound=nn.Module)

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = 5_000_000_000  # bytes: what Hugging Face cuts a model into, so that a shard can be downloaded again alone


class Family(NamedTuple):
    """What is to be known of a kind of models: how one is made of a configuration, and how its weights are called.

    Attributes:
        build: Makes the model of a configuration, with parameters of the given dtype.
        layers: The rules of its layers, as `nn.import_weights` takes them.
        rename: Given a model, returns what names in files become before the rules are asked, as `nn.import_weights`
            takes it: other names of the same weight, and what files of old versions have besides.
    """

    build: Callable[[Config, Any], Any]
    layers: Mapping[type, Any]
    rename: Callable[[Any], list[tuple[str, str | None]]] = lambda model: []


def load(family: Family, directory: str | Path, dtype: Any = jnp.float32) -> Any:
    """Return the model of a directory, ready to be evaluated.

    Args:
        family: What kind of model it is.
        directory: Where ``config.json`` and the weights are.
        dtype: The dtype of the parameters; None for that of the file.

    Raises:
        ValueError: The configuration asks for what the family has not, or the weights do not fit it.
        FileNotFoundError: A file is missing.
    """
    config, weights = read_config(directory), read_weights(directory)
    if dtype is None:
        dtype = next(array.dtype for array in weights.values() if jnp.issubdtype(array.dtype, jnp.floating))
    # Of shapes at first: nothing is drawn that would be overwritten, and no memory is taken twice.
    model = nn.abstract(lambda: family.build(config, dtype))
    nn.import_weights(model, weights, "torch", layers=family.layers, rename=family.rename(model), cast=True)
    return model.eval()


def save(family: Family, model: nn.Module, directory: str | Path, config: Config, shard: int = SHARD) -> None:
    """Write a model to a directory that `transformers` reads.

    Args:
        family: What kind of model it is.
        model: The model, without a LoRA: `nn.merge_lora` puts those into the weights.
        directory: Where to write.
        config: What ``config.json`` is to say, as `read_config` returned it for the model.
        shard: The size of a file in bytes.

    Raises:
        ValueError: The model has a LoRA.
        GraphError: A layer is none that the family has.
    """
    if model.states(nn.LoRAParam):
        raise ValueError(
            "the model has a LoRA, for which such files have no place: write `nn.merge_lora(model)` first, or "
            "`nn.save_states(path, model, nn.LoRAParam)` for the corrections alone"
        )
    weights = nn.export_weights(model, "torch", layers=family.layers)
    write(directory, config, weights, shard)


# --------------------------------------------------------------------------------------------------------- the files


def read_config(directory: str | Path) -> Config:
    """Return what ``config.json`` says."""
    path = Path(directory) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the directory that `save_pretrained` or a download made")
    return json.loads(path.read_text(encoding="utf-8"))


def read_weights(directory: str | Path) -> Weights:
    """Return the arrays of all shards by their names in torch."""
    directory = Path(directory)
    index = directory / INDEX
    if index.is_file():
        places: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        files = sorted(set(places.values()))
    else:
        places, files = {}, [SINGLE]
    lacking = [name for name in files if not (directory / name).is_file()]
    if lacking:
        raise FileNotFoundError(
            f"{directory} has no {', '.join(lacking)}: weights are read from safetensors alone, as a pickle runs the "
            "code of whoever wrote it; `model.save_pretrained(directory)` of transformers writes them"
        )
    weights: Weights = {}
    for name in files:
        with safe_open(directory / name, "numpy") as file:
            weights.update((key, file.get_tensor(key)) for key in file.keys())  # noqa: SIM118 - it is no mapping
    lost = sorted(set(places) - set(weights))
    if lost:
        raise ValueError(f"{index} names weights that are in no shard: {', '.join(lost[:4])}")
    return weights


def write(directory: str | Path, config: Config, weights: Mapping[str, np.ndarray], shard: int = SHARD) -> None:
    """Write a configuration and weights, in shards of a size in bytes; one larger weight has a shard to itself."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    shards: list[dict[str, np.ndarray]] = [{}]
    room = shard
    for name, array in weights.items():
        if shards[-1] and array.nbytes > room:
            shards.append({})
            room = shard
        shards[-1][name] = array
        room -= array.nbytes
    count = len(shards)
    names = [SINGLE] if count == 1 else [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
    for name, arrays in zip(names, shards, strict=True):
        save_file(arrays, directory / name, {"format": "pt"})  # transformers reads no file without it
    if count > 1:
        places = {key: name for name, arrays in zip(names, shards, strict=True) for key in arrays}
        total = {"total_size": sum(array.nbytes for array in weights.values())}
        (directory / INDEX).write_text(json.dumps({"metadata": total, "weight_map": places}, indent=2) + "\n")
    # Of a model that was written here before.
    for old in {INDEX, *(path.name for path in directory.glob("model*.safetensors"))} - {*names, INDEX * (count > 1)}:
        (directory / old).unlink(missing_ok=True)
    (directory / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------------ the settings


def settings(kind: type[S], config: Config, model_type: str, **only: Any) -> S:
    """Return the settings that a model has, by the names of its configuration.

    Args:
        kind: A NamedTuple with a default for each setting.
        config: What ``config.json`` says. What it does not say has the default.
        model_type: What it must say of the type of the model.
        **only: Settings with the single value that there is code for.

    Raises:
        ValueError: The configuration is of another model, or asks for what there is no code for.
    """
    if config.get("model_type") != model_type:
        raise ValueError(
            f"config.json has the model_type {config.get('model_type')!r}, and {model_type!r} is read here"
        )
    wrong = [f"{name}={config[name]!r}" for name, value in only.items() if config.get(name, value) != value]
    if wrong:
        wanted = ", ".join(f"{name}={value!r}" for name, value in only.items())
        raise ValueError(f"config.json asks for {', '.join(wrong)}, and there is code for {wanted} alone")
    return kind(**{name: config[name] for name in kind._fields if name in config})  # type: ignore[attr-defined]


def architecture(config: Config, *known: str) -> str:
    """Return which of the known architectures a directory has."""
    named = config.get("architectures") or known[:1]
    if named[0] not in known:
        raise ValueError(f"config.json has the architecture {named[0]!r}, and there is code for {', '.join(known)}")
    return named[0]


def labels(config: Config) -> int:
    """Return the number of classes, which is 2 where the configuration says nothing."""
    return len(config["id2label"]) if config.get("id2label") else config.get("num_labels", 2)


def exact_gelu(x: jax.Array) -> jax.Array:
    """The GELU by the error function, which torch takes; that of GPT-2 is by tanh."""
    return jax.nn.gelu(x, approximate=False)


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """Return the activation that Hugging Face calls by this name."""
    known = {
        "gelu": exact_gelu, "gelu_new": jax.nn.gelu, "gelu_pytorch_tanh": jax.nn.gelu, "relu": jax.nn.relu,
        "silu": jax.nn.silu, "swish": jax.nn.silu, "tanh": jnp.tanh,
    }  # fmt: skip
    if name not in known:
        raise ValueError(f"config.json asks for the activation {name!r}, and there are {', '.join(known)}")
    return known[name]
