"""``export_weights`` and ``import_weights``: weights to and from torch, flax linen, flax nnx and equinox, by name.

Only arrays change hands. A model of the other framework is neither made nor understood, and torch need not be
installed. The rules of each framework are in a file of its own; rules for other layers are added by `register_weights`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Filter, GraphError

from .._checkpoints.pure_dicts import LoadReport, Rename, from_flat_dict, renaming, to_flat_dict
from .._core.arrays import is_key
from .._core.paths import refuse_nothing
from .._core.replacement import aval_text
from .._core.states import BatchState, ParamState
from .._training.freeze import FrozenParam
from .equinox import EQUINOX
from .flax import LINEN, NNX
from .framework_arrays import arrays_of
from .matching import Match, match_weights
from .torch import TORCH
from .weight_maps import WeightRule

__all__ = ["export_weights", "import_weights", "register_weights"]

_RULES: dict[str, dict[type, WeightRule]] = {"torch": TORCH, "linen": LINEN, "nnx": NNX, "equinox": EQUINOX}
_WEIGHTS = (ParamState, BatchState, FrozenParam)

Layers = Mapping[type, WeightRule]


def export_weights(
    model: Any,
    framework: str,
    *filters: Filter,
    like: Any = None,
    rename: Rename | None = None,
    cast: bool = False,
    layers: Layers | None = None,
) -> Any:
    """Return the weights of a model by the names, and in the layouts, of another framework.

    Args:
        model: A Node, or a container of them.
        framework: "torch", "linen", "nnx" or "equinox".
        *filters: Which states; none for parameters, frozen or not, and statistics.
        like: What to fill: variables of linen, a module of nnx, which is written to, a module of equinox or a pair of
            one and its State, or a dictionary of arrays. Its arrays may be shapes, as of `jax.eval_shape`.
        rename: What a name in `like` is by the rules, as in `import_weights`; what is left out stays as it is.
        cast: True to give floats the float dtype of `like`.
        layers: Rules for classes of layers in this call, as for `register_weights`.

    Returns:
        What `like` is, with the weights; without it a flat dictionary of NumPy arrays, which nothing else holds. A tied
        weight has an entry for each of its names, as in the `state_dict` of torch.

    Raises:
        GraphError: A layer has no counterpart, or `like` has other names, shapes or dtypes; the message lists all.

    Example:
        >>> from brainstate_nn import Linear, Sequential, export_weights
        >>> {name: array.shape for name, array in export_weights(Sequential(Linear(2, 3)), "torch").items()}
        {'0.bias': (3,), '0.weight': (3, 2)}
    """
    if like is None and rename is not None:
        raise TypeError("rename changes names of `like`: give `like`, or rename the keys of the result")
    if filters:
        refuse_nothing(model, filters, "no weights were exported")
    problems: list[str] = []
    filters = filters or _WEIGHTS
    matches = _matches(model, filters, framework, layers, problems)
    live = to_flat_dict(model, *filters)
    target = None if like is None else arrays_of(like, framework)
    names = {} if target is None else _names_by_new_name(target.arrays, rename)
    new: dict[str, tuple[np.ndarray, tuple[str, ...]]] = {}
    unplaced: dict[str, list[str]] = {}
    placed: set[str] = set()
    failed = "the weights cannot be exported"
    for match in matches:
        conversion = match.conversions[0] if target is None else match.chosen(names)
        lacking = [] if target is None else [name for name in conversion.names if name not in names]
        if lacking:
            unplaced.update(dict.fromkeys(match.ours, lacking))
            continue
        placed.update(match.ours)
        with _noting(problems, f"{_all(match.ours)} cannot become {_all(conversion.names)}"):
            theirs = conversion.to_theirs([_host(live[name]) for name in match.ours])
            new.update(
                (name, (np.array(array, order="C"), match.ours))
                for name, array in zip(conversion.names, theirs, strict=True)
            )
    if target is None:
        _raise_any(problems, failed)
        return {name: array for name, (array, _) in new.items()}
    problems += [
        f"{name} has no place in `like`, which does not have {_all(lacking)}"
        for name, lacking in unplaced.items()
        if name not in placed
    ]
    filling: dict[str, np.ndarray] = {}
    for name, olds in names.items():
        for old in olds:
            there = target.arrays[old]
            if name not in new:
                problems.append(f"{old} in `like` gets no value")
                continue
            array, ours = new[name]
            filling[old] = _as_dtype(array, there.dtype, cast)
            if aval_text(filling[old]) != aval_text(there):
                problems.append(f"{old} is {aval_text(there)} in `like`, but {aval_text(array)} from {_all(ours)}")
    _raise_any(problems, failed)
    return target.filled(filling)


def import_weights(
    model: Any,
    weights: Any,
    framework: str,
    *filters: Filter,
    strict: bool = True,
    rename: Rename | None = None,
    cast: bool = False,
    layers: Layers | None = None,
) -> LoadReport:
    """Write weights of another framework to the live states; all of them or, where something does not fit, none.

    Args:
        model: A Node, or a container of them.
        weights: Variables of linen, a module or State of nnx, a module of equinox or a pair of one and its State, or a
            dictionary of arrays, flat with dotted names or nested.
        framework: "torch", "linen", "nnx" or "equinox".
        *filters: Which states; none for parameters, frozen or not, and statistics.
        strict: False to load what both have, and to return the names of the rest. Shapes and dtypes must fit in any
            case.
        rename: How names in the weights become names of the rules. A mapping; or a function, which returns None to
            leave a name out; or pairs of a regular expression and what replaces each match, None to leave the name
            out. All pairs are applied, in their order. Two names may become one, if their arrays are equal.
        cast: True to give floats the float dtype of the model.
        layers: Rules for classes of layers in this call, as for `register_weights`.

    Returns:
        What is missing, by our names, and what is unexpected, by theirs; both are empty where `strict`.

    Raises:
        GraphError: A name is missing or unexpected, an array has another shape or dtype, two arrays for a tied weight
            differ, or a layer has no counterpart; the message lists all.

    Example:
        >>> import numpy as np
        >>> from brainstate_nn import Linear, Sequential, import_weights
        >>> state_dict = {"0.weight": np.ones((3, 2), np.float32), "0.bias": np.zeros(3, np.float32)}
        >>> net = Sequential(Linear(2, 3))
        >>> import_weights(net, state_dict, "torch"), net[0].weight.value.shape
        (LoadReport(missing=(), unexpected=()), (2, 3))
    """
    # All problems of a model are collected, and nothing is written unless there are none.
    if filters:
        refuse_nothing(model, filters, "no weights were imported")
    problems: list[str] = []
    filters = filters or _WEIGHTS
    matches = _matches(model, filters, framework, layers, problems)
    given = arrays_of(weights, framework).arrays
    names = _names_by_new_name(given, rename)
    live = to_flat_dict(model, *filters)
    data: dict[str, Any] = {}
    used: set[str] = set()
    present: set[str] = set()
    absent: dict[str, list[str]] = {}
    for match in matches:
        conversion = match.chosen(names)
        lacking = [name for name in conversion.names if name not in names]
        if lacking:
            absent.update(dict.fromkeys(match.ours, lacking))
            continue
        used.update(conversion.names)
        present.update(match.ours)
        olds = [names[name] for name in conversion.names]
        with _noting(problems, f"{_all(match.ours)} cannot be made from {_all([old for old, *_ in olds])}"):
            arrays = [_common_array(given, same, problems) for same in olds]
            # The shapes that theirs must have, found by the way there of zeros of our shapes.
            wanted = conversion.to_theirs([_zeros(live[name]) for name in match.ours])
            fits = [np.shape(array) == np.shape(want) for array, want in zip(arrays, wanted, strict=True)]
            problems += [
                f"{old[0]} is {aval_text(array)}, but {_all(match.ours)} needs {aval_text(want)}"
                for old, array, want, fit in zip(olds, arrays, wanted, fits, strict=True)
                if not fit
            ]
            if all(fits):
                for name, at, array in zip(match.ours, match.at, conversion.to_ours(arrays), strict=True):
                    data[at] = array
                    dtype = getattr(live[name], "dtype", array.dtype)
                    if array.dtype != dtype and not cast:
                        problems.append(
                            f"{name} is {dtype} in the model, but {array.dtype} in {_all([old for old, *_ in olds])}: "
                            "write `cast=True`"
                        )
    unexpected = tuple(old for name, olds in names.items() if name not in used for old in olds)
    if strict:
        problems += [
            f"missing: {n}, which is made from {_all(lacking)}" for n, lacking in absent.items() if n not in present
        ]
        problems += [f"unexpected: {name}" for name in unexpected]
    _raise_any(problems, "the weights do not fit the model, nothing was written")
    report = from_flat_dict(model, data, *filters, strict=False, cast=cast)
    return LoadReport(report.missing, unexpected)


def register_weights(framework: str, layer: type, rule: WeightRule) -> None:
    """Say how the weights of a class of layers, and of its subclasses, are spelled in another framework.

    Args:
        framework: "torch", "linen", "nnx" or "equinox".
        layer: The class.
        rule: By the name of each weight, seen from the layer, another name, a `WeightMap`, or a list of these, of which
            the first is written and each is read. A tuple of names stands for weights that belong together. The name of
            a part, as ``"query"``, changes how the names of what it holds begin; ``""`` leaves it out. Or a function
            that is given a layer and returns this. What is not mentioned keeps its name.

    Raises:
        ValueError: There is no such framework.
        TypeError: `layer` is not a class.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Module, ParamState, export_weights, register_weights
        >>> class Scale(Module):
        ...     def __init__(self):
        ...         self.factor = ParamState(jnp.ones(3))
        >>> register_weights("torch", Scale, {"factor": "gamma"})
        >>> export_weights(Scale(), "torch")
        {'gamma': array([1., 1., 1.], dtype=float32)}
    """
    _rules(framework)[_checked(layer)] = rule


def _rules(framework: str) -> dict[type, WeightRule]:
    if framework not in _RULES:
        raise ValueError(f"framework must be one of {', '.join(_RULES)}, not {framework!r}")
    return _RULES[framework]


def _checked(layer: Any) -> type:
    if not isinstance(layer, type):
        raise TypeError(f"a rule must be for a class of layers, such as Linear, not {layer!r}")
    return layer


def _matches(
    model: Any, filters: Sequence[Filter], framework: str, layers: Layers | None, problems: list[str]
) -> list[Match]:
    rules = {**_rules(framework), **{_checked(layer): rule for layer, rule in (layers or {}).items()}}
    matches = match_weights(model, filters, framework, rules, problems)
    owner: dict[str, Match] = {}
    for match in matches:
        for name in match.conversions[0].names:
            other = owner.setdefault(name, match)
            if other.ours != match.ours:
                problems.append(f"{_all(other.ours)} and {_all(match.ours)} would both be named {name}")
    return matches


def _names_by_new_name(arrays: Mapping[str, Any], rename: Rename | None) -> dict[str, list[str]]:
    """Return the names by what they are by the rules."""
    new_name = renaming(rename)
    found: dict[str, list[str]] = {}
    for old in arrays:
        name = new_name(old)
        if name is not None:
            found.setdefault(name, []).append(old)
    return found


@contextmanager
def _noting(problems: list[str], what: str) -> Iterator[None]:
    """Note what a rule refuses, with the names on both sides."""
    try:
        yield
    except (ValueError, IndexError, BufferError) as error:
        problems.append(f"{what}: {error}")


def _raise_any(problems: list[str], what: str) -> None:
    if problems:
        raise GraphError(f"{what}: {'; '.join(problems)}")


def _common_array(given: Mapping[str, Any], names: list[str], problems: list[str]) -> np.ndarray:
    """Return the array of these names, which are one in the model."""
    first, *others = arrays = [_host(given[name]) for name in names]
    if any(aval_text(other) != aval_text(first) or other.tobytes() != first.tobytes() for other in others):
        problems.append(f"{_all(names)} are one state in the model, but differ here")
    return arrays[0]


def _host(array: Any) -> np.ndarray:
    if isinstance(array, jax.ShapeDtypeStruct):
        raise ValueError("it holds shapes, not values")
    if isinstance(array, jax.Array) and is_key(array):
        raise ValueError("random keys exist only in JAX")
    if not isinstance(array, (np.ndarray, jax.Array)) and hasattr(array, "__dlpack__"):
        # A tensor of torch, which NumPy cannot take where it is bfloat16.
        array = jnp.from_dlpack(array)
    return np.asarray(array)


def _zeros(array: Any) -> np.ndarray:
    return np.broadcast_to(np.zeros((), getattr(array, "dtype", None)), np.shape(array))


def _as_dtype(array: np.ndarray, dtype: Any, cast: bool) -> np.ndarray:
    """Cast floats if asked to, and counters, which are whole numbers, in any case."""
    for kind, wanted in ((jnp.floating, cast), (jnp.integer, True)):
        if wanted and jnp.issubdtype(array.dtype, kind) and jnp.issubdtype(dtype, kind):
            return array.astype(dtype)
    return array


def _all(names: Sequence[str]) -> str:
    """List names in a sentence; of many, as those of a Stack, the first."""
    *others, final = names if len(names) <= 8 else (*names[:4], f"{len(names) - 4} more")
    return f"{', '.join(others)} and {final}" if others else final
