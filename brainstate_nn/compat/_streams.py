"""Streams whose methods are the functions of `random`: with the arguments of NumPy, and draws of their own.

A stream of `nn` has the methods of JAX, ``stream.normal((2,))`` where these have ``stream.normal(size=2)``. The keys of
both are the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import jax

from .._core import random as today
from . import _counts, _samplers
from ._draws import key_of

__all__ = ["RandomState", "default_rng"]


def _method(fun: Callable[..., Any]) -> Callable[..., Any]:
    """Make the method that draws with the stream where it is not given a key."""
    signature = inspect.signature(fun)

    def draw(self: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        if given.arguments.get("key") is None:
            given.arguments["key"] = self  # and not a key of it: arguments that are refused draw nothing
        return fun(*given.args, **given.kwargs)

    stream = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    draw.__signature__ = signature.replace(parameters=[stream, *signature.parameters.values()])
    draw.__name__, draw.__qualname__, draw.__doc__ = fun.__name__, f"RandomState.{fun.__name__}", fun.__doc__
    return draw


_FUNCTIONS = {name: getattr(module, name) for module in (_samplers, _counts) for name in module.__all__}
_METHODS = {name: _method(fun) for name, fun in _FUNCTIONS.items()}
for _alias in ("random_sample", "ranf", "sample"):
    _METHODS[_alias] = _METHODS["random"]
_METHODS["t"] = _METHODS["standard_t"]
# The abstract base of what has `split_key`, which then draws with the arguments of NumPy.
_Draws: Any = type("_Draws", (), {"__slots__": (), **_METHODS})


class _Stream(_Draws):
    """What both kinds of stream have."""

    __slots__ = ()

    def set_key(self, key: Any) -> None:
        """Go on from a key or a seed."""
        self.seed(key_of(key))

    def clone(self) -> RandomState:
        """Return a new stream, independent of this one; one draw."""
        return RandomState(self.split_key())

    fork: Any = clone


class _AnyStream(type):
    """The class of `RandomState` below, for which every stream counts: filters by it find those of our layers too."""

    def __instancecheck__(cls, instance: Any) -> bool:
        every: Any = (today.RandomState, _Default)
        return isinstance(instance, every) if _means_every(cls) else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, today.RandomState) if _means_every(cls) else super().__subclasscheck__(subclass)


def _means_every(cls: type) -> bool:
    return cls is RandomState


class RandomState(_Stream, today.RandomState, metaclass=_AnyStream):
    """A stream of random keys, with the functions of `random` as methods.

    Args:
        seed_or_key: A whole number, a key, the numbers of a key, or None for a seed from the operating system.
        name: A name that travels with the state.
        **metadata: As for the RandomState of `nn`.

    Example:
        >>> from brainstate_nn.compat import random
        >>> stream = random.RandomState(0)
        >>> stream.normal(1.0, 0.1, size=3).shape, stream.rand(2, 3).shape
        ((3,), (2, 3))
    """

    __slots__ = ()

    def __init__(self, seed_or_key: Any = None, name: str | None = None, **metadata: Any) -> None:
        source = seed_or_key.default if isinstance(seed_or_key, _Default) else seed_or_key
        copied = source is None or isinstance(source, today.RandomState)
        super().__init__(source if copied else key_of(source), name, **metadata)

    def seed(self, seed_or_key: Any = None) -> None:
        """Start the stream anew.

        Args:
            seed_or_key: As for the constructor.
        """
        super().seed(None if seed_or_key is None else key_of(seed_or_key))


class _Default(_Stream, today.RandomStreams):
    """The default stream of the process, the one of `nn`, with the functions of `random` as methods."""

    @property
    def value(self) -> tuple[jax.Array, jax.Array]:
        """The key of the stream, and the number of its draws."""
        return self.default.value

    @value.setter
    def value(self, value: tuple[jax.Array, jax.Array]) -> None:
        self.default.value = value

    def seed(self, seed_or_key: Any = None) -> None:
        """Start the default stream anew."""
        self.default.seed(None if seed_or_key is None else key_of(seed_or_key))

    def __getattr__(self, name: str) -> Any:
        # Of other names there is a stream for each purpose, and the call of such a stream would draw.
        if name in ("backup_key", "restore_key", "self_assign_multi_keys"):
            raise AttributeError(f"a stream has no {name!r}: write `with random.seed_context(seed):`")
        return super().__getattr__(name)


_default: list[_Default] = []


def default_rng(seed_or_key: Any = None) -> RandomState | _Default:
    """Return the default stream of the process, or a new one from a seed or a key.

    Args:
        seed_or_key: As for `RandomState`; None for the default stream, which is that of ``nn.default_rng()``.

    Example:
        >>> from brainstate_nn.compat import random
        >>> random.default_rng() is random.default_rng(), random.default_rng(0) is random.default_rng()
        (True, False)
    """
    if seed_or_key is not None:
        return RandomState(seed_or_key)
    if not _default:
        _default.append(_Default(today.default_rng()))
    return _default[0]
