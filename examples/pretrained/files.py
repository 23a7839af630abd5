"""The files of a directory of Hugging Face: ``config.json``, and weights as safetensors, in one file or in shards."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

Config = dict[str, Any]
Weights = dict[str, np.ndarray]

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = 5_000_000_000  # bytes: what Hugging Face cuts a model into, so that a shard can be downloaded again alone


def read_config(directory: str | Path) -> Config:
    """Return what ``config.json`` says."""
    path = Path(directory) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: give the directory that `save_pretrained` or a download made")
    return read_object(path)


def read_object(path: Path) -> dict[str, Any]:
    """Return the object of JSON that a file has."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must have an object of JSON, as {{...}}, and has a {type(found).__name__}")
    return found


def read_weights(directory: str | Path) -> Weights:
    """Return the arrays of all shards by their names in torch."""
    directory = Path(directory)
    index = directory / INDEX
    places: dict[str, str] = read_object(index).get("weight_map", {}) if index.is_file() else {}
    if index.is_file() and not places:
        raise ValueError(f"{index} has no weight_map, which says in which file each weight is")
    files = sorted(set(places.values())) or [SINGLE]
    outside = [name for name in files if Path(name).name != name]
    if outside:
        raise ValueError(f"{index} names files that are not beside it: {', '.join(outside)}")
    lacking = [name for name in files if not (directory / name).is_file()]
    if lacking and places:
        raise FileNotFoundError(
            f"{directory} has no {', '.join(lacking)}, which {INDEX} names: get what is missing again"
        )
    if lacking:
        raise FileNotFoundError(
            f"{directory} has no {SINGLE}: weights are read from safetensors alone, as a pickle runs the "
            "code of whoever wrote it; `model.save_pretrained(directory)` of transformers writes them"
        )
    weights: Weights = {}
    for name in files:
        try:
            with safe_open(directory / name, "numpy") as file:
                weights.update((key, file.get_tensor(key)) for key in file.keys())  # noqa: SIM118 - it is no mapping
        except SafetensorError as error:
            raise ValueError(
                f"{directory / name} cannot be read as safetensors: {error}; what has some 130 bytes is a pointer of "
                "Git LFS, and `git lfs pull` gets the file"
            ) from error
    lost = sorted(set(places) - set(weights))
    if lost:
        raise ValueError(f"{index} names weights that are in no shard: {', '.join(lost[:4])}")
    return weights


def write(directory: str | Path, config: Config, weights: Mapping[str, np.ndarray], shard: int = SHARD) -> None:
    """Write a configuration and weights, in shards of a size in bytes; one larger weight has a shard to itself."""
    directory = Path(directory)
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
    texts = {"config.json": json.dumps(config, indent=2, sort_keys=True)}
    if count > 1:
        places = {key: name for name, arrays in zip(names, shards, strict=True) for key in arrays}
        total = {"total_size": sum(array.nbytes for array in weights.values())}
        texts[INDEX] = json.dumps({"metadata": total, "weight_map": places}, indent=2)
    directory.mkdir(parents=True, exist_ok=True)
    # All is there before the first file of a former model goes: a full disk or an interrupt loses nothing.
    with tempfile.TemporaryDirectory(dir=directory) as made:
        for name, arrays in zip(names, shards, strict=True):
            save_file(arrays, Path(made, name), {"format": "pt"})  # transformers reads no file without it
        for name, text in texts.items():
            Path(made, name).write_text(f"{text}\n", encoding="utf-8")
        for old in (directory / INDEX, *directory.glob("model*.safetensors")):
            old.unlink(missing_ok=True)
        for name in (*names, *texts):
            Path(made, name).replace(directory / name)


def stop_tokens(directory: str | Path) -> list[int]:
    """Return the tokens that end a text by ``generation_config.json`` or, without it, ``config.json``."""
    own = Path(directory) / "generation_config.json"
    found = (read_object(own) if own.is_file() else read_config(directory)).get("eos_token_id")
    return [] if found is None else [found] if isinstance(found, int) else list(found)
