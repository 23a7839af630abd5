"""Weights to and from other frameworks, by name: torch, flax linen, flax nnx and equinox.

Only arrays change hands. A model of the other framework is neither made nor understood; torch need not be there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import Filter, GraphError

from .._checkpoints.pure import LoadReport, Rename, from_flat_dict, renaming, to_flat_dict
from .._core.placing import is_key
from .._core.states import BatchState, ParamState
from .._training.freeze import FrozenParam
from .equinox import EQUINOX
from .flax import LINEN, NNX
from .foreign import opened
from .torch import TORCH
from .weight_maps import Rule
from .weight_plan import Binding, plan

__all__ = ["export_weights", "import_weights", "register_weights"]

_RULES: dict[str, dict[type, Rule]] = {"torch": TORCH, "linen": LINEN, "nnx": NNX, "equinox": EQUINOX}
_WEIGHTS = (ParamState, BatchState, FrozenParam)

Layers = Mapping[type, Rule]


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
        weight stands there under each of its names, as in the `state_dict` of torch.

    Raises:
        GraphError: A layer has no counterpart, or `like` has other names, shapes or dtypes; the message lists all.

    Example:
        >>> from brainstate_nn import Linear, Sequential, export_weights
        >>> {name: array.shape for name, array in export_weights(Sequential(Linear(2, 3)), "torch").items()}
        {'0.bias': (3,), '0.weight': (3, 2)}
    """
    if like is None and rename is not None:
        raise TypeError("rename is about the names of `like`: give it, or rename the keys of what is returned")
    problems: list[str] = []
    filters = filters or _WEIGHTS
    bindings = _bindings(model, filters, framework, layers, problems)
    live = to_flat_dict(model, *filters)
    target = None if like is None else opened(like, framework)
    names = {} if target is None else _by_new_name(target.arrays, rename)
    new: dict[str, tuple[np.ndarray, tuple[str, ...]]] = {}
    homeless: dict[str, list[str]] = {}
    placed: set[str] = set()
    failed = "the weights cannot be exported"
    for binding in bindings:
        form = binding.forms[0] if target is None else binding.chosen(names)
        lacking = [] if target is None else [name for name in form.names if name not in names]
        if lacking:
            homeless.update(dict.fromkeys(binding.ours, lacking))
            continue
        placed.update(binding.ours)
        with _noting(problems, f"{_all(binding.ours)} cannot become {_all(form.names)}"):
            theirs = form.to_theirs([_host(live[name]) for name in binding.ours])
            new.update(
                (name, (np.array(array, order="C"), binding.ours))
                for name, array in zip(form.names, theirs, strict=True)
            )
    if target is None:
        _raise_any(problems, failed)
        return {name: array for name, (array, _) in new.items()}
    problems += [
        f"{name} has no place in `like`, which has no {_all(lacking)}"
        for name, lacking in homeless.items()
        if name not in placed
    ]
    filling: dict[str, np.ndarray] = {}
    for name, olds in names.items():
        for old in olds:
            there = target.arrays[old]
            if name not in new:
                problems.append(f"{old} in `like` gets nothing")
                continue
            array, ours = new[name]
            filling[old] = _as_dtype(array, there.dtype, cast)
            if _told(filling[old]) != _told(there):
                problems.append(f"{old} is {_told(there)} in `like`, and {_told(array)} of {_all(ours)}")
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
        strict: False to load what both have, and to be told of the rest. Shapes and dtypes must fit all the same.
        rename: What a name in the weights is by the rules: a mapping, a function that returns None for what is to be
            left out, or pairs of a regular expression and what takes the place of each match (None to leave the name
            out), applied one after the other. Two names may become one, if their arrays are equal.
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
    problems: list[str] = []
    filters = filters or _WEIGHTS
    bindings = _bindings(model, filters, framework, layers, problems)
    given = opened(weights, framework).arrays
    names = _by_new_name(given, rename)
    live = to_flat_dict(model, *filters)
    data: dict[str, Any] = {}
    used: set[str] = set()
    present: set[str] = set()
    absent: dict[str, list[str]] = {}
    for binding in bindings:
        form = binding.chosen(names)
        lacking = [name for name in form.names if name not in names]
        if lacking:
            absent.update(dict.fromkeys(binding.ours, lacking))
            continue
        used.update(form.names)
        present.update(binding.ours)
        olds = [names[name] for name in form.names]
        with _noting(problems, f"{_all(binding.ours)} cannot be made of {_all([old for old, *_ in olds])}"):
            arrays = [_one(given, same, problems) for same in olds]
            wanted = form.to_theirs([_zeros(live[name]) for name in binding.ours])
            fits = [np.shape(array) == np.shape(want) for array, want in zip(arrays, wanted, strict=True)]
            problems += [
                f"{old[0]} is {_told(array)}, and {_told(want)} would be {_all(binding.ours)}"
                for old, array, want, fit in zip(olds, arrays, wanted, fits, strict=True)
                if not fit
            ]
            if all(fits):
                for name, at, array in zip(binding.ours, binding.at, form.to_ours(arrays), strict=True):
                    data[at] = array
                    dtype = getattr(live[name], "dtype", array.dtype)
                    if array.dtype != dtype and not cast:
                        problems.append(
                            f"{name} is {dtype} in the model, and {array.dtype} as {_all([old for old, *_ in olds])}: "
                            "give `cast=True`"
                        )
    unexpected = tuple(old for name, olds in names.items() if name not in used for old in olds)
    if strict:
        problems += [
            f"missing: {n}, which is made of {_all(lacking)}" for n, lacking in absent.items() if n not in present
        ]
        problems += [f"unexpected: {name}" for name in unexpected]
    _raise_any(problems, "the weights do not fit the model, nothing was written")
    report = from_flat_dict(model, data, *filters, strict=False, cast=cast)
    return LoadReport(report.missing, unexpected)


def register_weights(framework: str, layer: type, rule: Rule) -> None:
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
        TypeError: `layer` is no class.

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


def _rules(framework: str) -> dict[type, Rule]:
    if framework not in _RULES:
        raise ValueError(f"framework must be one of {', '.join(_RULES)}, not {framework!r}")
    return _RULES[framework]


def _checked(layer: Any) -> type:
    if not isinstance(layer, type):
        raise TypeError(f"a rule is for a class of layers, such as Linear, not {layer!r}")
    return layer


def _bindings(
    model: Any, filters: Sequence[Filter], framework: str, layers: Layers | None, problems: list[str]
) -> list[Binding]:
    rules = {**_rules(framework), **{_checked(layer): rule for layer, rule in (layers or {}).items()}}
    bindings = plan(model, filters, framework, rules, problems)
    owner: dict[str, Binding] = {}
    for binding in bindings:
        for name in binding.forms[0].names:
            other = owner.setdefault(name, binding)
            if other.ours != binding.ours:
                problems.append(f"{_all(other.ours)} and {_all(binding.ours)} would both be {name}")
    return bindings


def _by_new_name(arrays: Mapping[str, Any], rename: Rename | None) -> dict[str, list[str]]:
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


def _one(given: Mapping[str, Any], names: list[str], problems: list[str]) -> np.ndarray:
    """Return the array of these names, which are one in the model."""
    first, *others = arrays = [_host(given[name]) for name in names]
    if any(_told(other) != _told(first) or other.tobytes() != first.tobytes() for other in others):
        problems.append(f"{_all(names)} are one in the model, and differ")
    return arrays[0]


def _host(array: Any) -> np.ndarray:
    if isinstance(array, jax.ShapeDtypeStruct):
        raise ValueError("there are shapes, and no values")
    if isinstance(array, jax.Array) and is_key(array):
        raise ValueError("random keys are of JAX only")
    if not isinstance(array, (np.ndarray, jax.Array)) and hasattr(array, "__dlpack__"):
        array = jnp.from_dlpack(array)  # a tensor of torch, which NumPy cannot take where it is bfloat16
    return np.asarray(array)


def _zeros(array: Any) -> np.ndarray:
    return np.broadcast_to(np.zeros((), getattr(array, "dtype", None)), np.shape(array))


def _as_dtype(array: np.ndarray, dtype: Any, cast: bool) -> np.ndarray:
    """Cast floats if asked to, and counters, which are whole numbers, in any case."""
    for kind, wanted in ((jnp.floating, cast), (jnp.integer, True)):
        if wanted and jnp.issubdtype(array.dtype, kind) and jnp.issubdtype(dtype, kind):
            return array.astype(dtype)
    return array


def _told(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _all(names: Sequence[str]) -> str:
    """List names in a sentence; of many, as those of a Stack, the first."""
    *others, final = names if len(names) <= 8 else (*names[:4], f"{len(names) - 4} more")
    return f"{', '.join(others)} and {final}" if others else final
