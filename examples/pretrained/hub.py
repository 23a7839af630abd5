"""What the models here have in common: how one is made of a directory of Hugging Face, and written as one again.

What the names of the weights mean is the business of each model beside this file: it has a list of settings, modules
that are called as those of torch where that reads well, and rules for the rest, which lead there and back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from examples.pretrained.files import SHARD, Config, read_config, read_weights, write

S = TypeVar("S")
M = TypeVar("M", bound=nn.Module)

KNOWN = ("bert", "gpt2", "llama", "resnet", "vit")  # the models beside this file, each called as its model_type


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
        dtype: The dtype of the parameters; None for that of the files, the widest if they have several.

    Raises:
        ValueError: The configuration asks for what the family has not, or a file is damaged.
        GraphError: The weights do not fit the configuration; the message lists all that do not.
        FileNotFoundError: A file is missing.
    """
    config = read_config(directory)
    # Of shapes at first: nothing is drawn that would be overwritten, and what is refused is so before weights are read.
    abstract = nn.abstract(lambda: family.build(config, jnp.float32 if dtype is None else dtype))
    weights = read_weights(directory)
    rules = family.rename(abstract)
    model = nn.abstract(lambda: family.build(config, dtype_of(weights, rules))) if dtype is None else abstract
    nn.import_weights(model, weights, "torch", layers=family.layers, rename=rules, cast=True)
    return model.eval()


def save(family: Family, model: nn.Module, directory: str | Path, config: Config, shard: int = SHARD) -> None:
    """Write a model to a directory that `transformers` reads.

    Args:
        family: What kind of model it is.
        model: The model, without a LoRA: `nn.merge_lora` puts those into the weights.
        directory: Where to write.
        config: What ``config.json`` is to say, as `read_config` returned it for the model. Its dtype is written as that
            of the weights.
        shard: The size of a file in bytes.

    Raises:
        ValueError: The model has a LoRA, or is not of this configuration.
        GraphError: A layer is none that the family has.
    """
    if model.states(nn.LoRAParam):
        raise ValueError(
            "the model has a LoRA, for which such files have no place: write `nn.merge_lora(model)` first, or "
            "`nn.save_states(path, model, nn.LoRAParam)` for the corrections alone"
        )
    ours, wanted = shapes_of(model), shapes_of(nn.abstract(lambda: family.build(config, jnp.float32)))
    wrong = sorted(name for name in ours.keys() | wanted if ours.get(name) != wanted.get(name))
    if wrong:
        raise ValueError(
            f"the configuration is of another model: it has {wrong[0]} of shape {wanted.get(wrong[0])}, and the model "
            f"of {ours.get(wrong[0])} ({len(wrong)} such); give what `read_config` returned where it was loaded"
        )
    weights = nn.export_weights(model, "torch", layers=family.layers)
    said = {key: str(dtype_of(weights)) for key in ("dtype", "torch_dtype") if key in config}
    write(directory, {**config, **said}, weights, shard)


def dtype_of(weights: Mapping[str, np.ndarray], rules: Sequence[tuple[str, str | None]] = ()) -> Any:
    """Return the dtype that all floats among the weights can have without loss, but for those that rules leave out."""
    floats = set()
    for name, array in weights.items():
        for pattern, new in rules:
            if new is None and re.search(pattern, name):
                break
            name = re.sub(pattern, new or "", name)
        else:
            floats |= {array.dtype} if jnp.issubdtype(array.dtype, jnp.floating) else set()
    return jnp.result_type(*floats) if floats else jnp.dtype(jnp.float32)


def shapes_of(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what is written of a model."""
    arrays = nn.to_flat_dict(model, (nn.ParamState, nn.BatchState, nn.FrozenParam))
    return {name: np.shape(array) for name, array in arrays.items()}


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
    given = config.get("model_type")
    if given != model_type:
        hint = (
            f": write `from examples.pretrained import {given}` and `{given}.load(directory)`" if given in KNOWN else ""
        )
        raise ValueError(f"config.json has the model_type {given!r}, and {model_type!r} is read here{hint}")
    only = {"quantization_config": None, **only}
    wrong = [f"{name}={config[name]!r}" for name, value in only.items() if config.get(name, value) != value]
    if wrong:
        wanted = ", ".join(f"{name}={value!r}" for name, value in only.items())
        raise ValueError(f"config.json asks for {', '.join(wrong)}, and there is code for {wanted} alone")
    # Null says nothing, too.
    return kind(**{name: config[name] for name in kind._fields if config.get(name) is not None})  # type: ignore[attr-defined]


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
