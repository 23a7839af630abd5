"""``from_linen`` and ``from_equinox``: whole modules of flax linen and equinox as modules of a model here.

Their code runs as it is; their arrays are states, which optimizers, checkpoints and transforms know as any others. To
carry weights into layers of ours, see `import_weights`. Both libraries are imported at the first use.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import State
from brainstate_graph.extend import read_values, write_values

from .._core.arrays import is_key
from .._core.module import Module
from .._core.random import Draws, Rng, key_of_call, own_stream, stream_of
from .._core.states import BatchState, LongTermState, ParamState

__all__ = ["EquinoxModule", "LinenModule", "from_equinox", "from_linen"]

_COLLECTIONS: dict[str, type[State[Any]]] = {"params": ParamState, "batch_stats": BatchState}


def from_linen(module: Any, *args: Any, rng: Rng = None, streams: Sequence[str] = ("dropout",), **kwargs: Any) -> Any:
    """Return a module of flax linen as a module, with its variables as states.

    Args:
        module: The linen module.
        *args: What its call takes, as for its `init`; shapes are enough.
        rng: The stream that gives the keys, or streams with `params` and those of `streams`; None for the default one.
        streams: What the module calls the keys that it draws with, each a stream.
        **kwargs: The same by name, such as ``train=True``.

    Returns:
        A `LinenModule`, which is called as the linen module is.

    Raises:
        ImportError: flax is not installed.
        TypeError: `module` is not a module of linen.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import linen
        >>> from brainstate_nn import ParamState, from_linen
        >>> net = from_linen(linen.Dense(3), jnp.ones((1, 2)))
        >>> list(net.states(ParamState)), net(jnp.ones((5, 2))).shape
        ([('variables', 'params', 'bias'), ('variables', 'params', 'kernel')], (5, 3))
    """
    linen = _library("flax.linen", "flax")
    _refuse_others(module, linen.Module, "flax.linen", "from_linen(linen.Dense(3), x)")
    names = ("params", *streams)
    keys = {name: stream_of(rng, name).split_key() for name in names}
    variables = module.init(keys, *_zeros(args), **_zeros(kwargs))
    return LinenModule(module, variables, {name: own_stream(rng, name) for name in streams})


class LinenModule(Module):
    """A module of flax linen around states. In evaluation it draws nothing unless the call is given `rngs`.

    Collections other than `params` are written by each call, as far as the module has them; what it sows beside them is
    dropped, as it is by linen.

    Args:
        module: The linen module.
        variables: Its variables, as `init` returns them.
        streams: The streams that it draws from, by the names that it has for them.

    Attributes:
        variables: The states in nested dicts: ParamStates in `params`, BatchStates in `batch_stats`, else
            LongTermStates.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import linen
        >>> from brainstate_nn import LinenModule
        >>> dense = linen.Dense(3)
        >>> LinenModule(dense, dense.init(jax.random.key(0), jnp.ones((1, 2))))(jnp.ones((5, 2))).shape
        (5, 3)
    """

    def __init__(self, module: Any, variables: Mapping[str, Any], streams: Mapping[str, Any] | None = None) -> None:
        meta = _library("flax.core.meta", "flax")
        self.module = module
        self.variables = {
            name: _as_states(meta.unbox(tree), _COLLECTIONS.get(name, LongTermState))
            for name, tree in variables.items()
        }
        self.streams = dict(streams or {})

    def __call__(self, *args: Any, rngs: Draws | Mapping[str, Any] = None, **kwargs: Any) -> Any:
        """Call the linen module.

        Args:
            *args: What it takes.
            rngs: What it draws from in this call: keys or streams by name, as in linen, or a key, a stream, or streams.
            **kwargs: The same by name; `method` names another one than `__call__`.

        Returns:
            What it returns.
        """
        given = rngs if isinstance(rngs, Mapping) else dict.fromkeys(self.streams, rngs)
        own = dict.fromkeys(self.streams) if self.training else {}  # in evaluation nothing is drawn unasked
        named = {**own, **{name: draws for name, draws in given.items() if draws is not None}}
        keys = {name: key_of_call(self, self.streams.get(name), name, None, draws) for name, draws in named.items()}
        values = {name: jax.tree.map(_value, tree, is_leaf=_is_state) for name, tree in self.variables.items()}
        mutable = [name for name in values if name != "params"]
        out = self.module.apply(values, *args, rngs=keys, mutable=mutable or False, **kwargs)
        if not mutable:
            return out
        out, new = out
        pairs = [pair for name in mutable if name in new for pair in _pairs(self.variables[name], new[name])]
        changed = [(state, value) for state, value in pairs if value is not state.value]
        write_values([state for state, _ in changed], [value for _, value in changed])
        return out


def from_equinox(module: Any, state: Any = None, *, call: Callable[..., Any] | None = None, rng: Rng = None) -> Any:
    """Return a module of equinox as a module, with its arrays as states.

    Args:
        module: The module of equinox.
        state: Its State, where it has one, as `equinox.nn.make_with_state` returns it.
        call: How it is called, for a batch as a rule: ``lambda module, x: jax.vmap(module)(x)``; None for
            ``module(...)``. Where there is a State, it is the last argument, and returned beside the result.
        rng: The stream that gives keys where the call takes `key`; None for one of its own.

    Returns:
        An `EquinoxModule`.

    Raises:
        ImportError: equinox is not installed.
        TypeError: `module` is not a module of equinox.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp
        >>> from brainstate_nn import ParamState, from_equinox
        >>> net = from_equinox(eqx.nn.Linear(2, 3, key=jax.random.key(0)))
        >>> list(net.states(ParamState)), net(jnp.ones(2)).shape
        ([('arrays', 'bias'), ('arrays', 'weight')], (3,))
    """
    eqx = _library("equinox", "equinox")
    _refuse_others(module, eqx.Module, "equinox", "from_equinox(eqx.nn.Linear(2, 3, key=key))")
    return EquinoxModule(module, state, call, rng)


class EquinoxModule(Module):
    """A module of equinox around states. In evaluation it runs in equinox's inference mode.

    Args:
        module: The module of equinox.
        state: As for `from_equinox`.
        call: As for `from_equinox`.
        rng: As for `from_equinox`.

    Attributes:
        arrays: The states in nested dicts by the paths of the arrays: ParamStates of floating-point numbers, else
            LongTermStates.
        stats: A list of BatchStates with the arrays of `state`.

    Example:
        >>> import equinox as eqx, jax.numpy as jnp
        >>> from brainstate_nn import EquinoxModule
        >>> float(EquinoxModule(eqx.nn.Dropout(0.5)).eval()(jnp.array(3.0)))
        3.0
    """

    def __init__(self, module: Any, state: Any = None, call: Callable[..., Any] | None = None, rng: Rng = None) -> None:
        pairs, self.treedef = jax.tree_util.tree_flatten_with_path(module)
        self.arrays: dict[str, Any] = {}
        self.static: dict[int, Any] = {}
        self.paths: list[tuple[str, ...] | None] = []
        for index, (path, leaf) in enumerate(pairs):
            names = tuple(_name(entry) for entry in path) or ("array",)
            array = isinstance(leaf, jax.Array)
            self.paths.append(names if array else None)
            if array:
                trained = jnp.issubdtype(leaf.dtype, jnp.inexact) and not is_key(leaf)
                _put(self.arrays, names, (ParamState if trained else LongTermState)(leaf))
            else:
                self.static[index] = leaf
        leaves, self.statsdef = jax.tree.flatten(state)
        self.stats = [BatchState(leaf) for leaf in leaves]
        self.stateful = state is not None
        self.call = call
        self.draws = "key" in inspect.signature(module if call is None else call).parameters
        self.rng = own_stream(rng, "dropout") if self.draws else None

    def __call__(self, *args: Any, key: Draws = None, rngs: Draws = None, **kwargs: Any) -> Any:
        """Call the module of equinox.

        Args:
            *args: What it takes, without the State.
            key: What it draws with in this call, in place of its stream: a key, a stream, or streams.
            rngs: The same.
            **kwargs: The same by name.

        Returns:
            What it returns, without the State.
        """
        module = self.unwrap()
        if self.draws and (self.training or key is not None or rngs is not None):
            kwargs["key"] = key_of_call(self, self.rng, "dropout", key, rngs)
        if not self.training:
            module = _library("equinox", "equinox").nn.inference_mode(module)
        if self.stateful:
            args = (*args, jax.tree.unflatten(self.statsdef, read_values(self.stats)))
        out = module(*args, **kwargs) if self.call is None else self.call(module, *args, **kwargs)
        if not self.stateful:
            return out
        out, state = out
        if self.training:
            write_values(self.stats, jax.tree.leaves(state))
        return out

    def unwrap(self) -> Any:
        """Return the module of equinox with the values of now."""
        leaves = [
            self.static[i] if path is None else _get(self.arrays, path).value for i, path in enumerate(self.paths)
        ]
        return jax.tree.unflatten(self.treedef, leaves)


def _library(name: str, package: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(f"{package} is not installed: run `pip install {package}`") from error


def _refuse_others(module: Any, kind: type, library: str, example: str) -> None:
    if not isinstance(module, kind):
        raise TypeError(f"{module!r} is not a module of {library}: write `{example}`")


def _zeros(tree: Any) -> Any:
    """Put zeros for shapes, with which a module makes the same parameters."""
    return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x, tree)


def _as_states(tree: Any, kind: type[State[Any]]) -> Any:
    return {k: _as_states(v, kind) for k, v in tree.items()} if isinstance(tree, Mapping) else kind(tree)


def _is_state(item: Any) -> bool:
    return isinstance(item, State)


def _value(state: State[Any]) -> Any:
    return state.value


def _pairs(states: Any, new: Any) -> list[tuple[State[Any], Any]]:
    if isinstance(states, State):
        return [(states, new)]
    return [pair for name in states for pair in (_pairs(states[name], new[name]) if name in new else [])]


def _name(entry: Any) -> str:
    return str(next(getattr(entry, name) for name in ("name", "key", "idx") if hasattr(entry, name)))


def _put(tree: dict[str, Any], names: tuple[str, ...], item: Any) -> None:
    for name in names[:-1]:
        tree = tree.setdefault(name, {})
    tree[names[-1]] = item


def _get(tree: dict[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        tree = tree[name]
    return tree
