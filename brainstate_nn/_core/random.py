"""Streams of random keys: ``RandomState``, several of them by name, and the one that a process has by default.

The value of a stream is ``(key, count)``: a typed key that never changes, and the number of draws so far. The n-th draw
is ``fold_in(key, n)``. So the position in a stream is plain to see, two checkpoints can be compared, and a draw costs
no split. Drawing reads and writes ``.value``: whatever traces states sees it.

A layer that draws when it is called owns its stream, so that a split model carries all the randomness it needs. The
process default serves to make layers, and scripts.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from brainstate_graph import Node, State, outside
from brainstate_graph.extend import describe, fields_of, locate, make_state
from brainstate_transform import register_lanes

from .arrays import is_key, uncommitted
from .samplers import Samplers

__all__ = [
    "Draws", "RandomState", "RandomStreams", "Rng", "as_key", "default_rng", "draws_of_part", "is_one_key",
    "key_of_call", "own_stream", "seed", "split_key", "stream_of",
]  # fmt: skip

# Two threads that make layers must not draw one key from the default stream. A draw may run hooks that draw themselves,
# so the lock lets its owner in again.
_draw_lock = threading.RLock()


def as_key(source: Any) -> jax.Array:
    """Return the typed key of a seed, or the key itself; None is for one from the operating system."""
    if source is None:
        # Parameters that differ between processes end in a hang, or in shards that do not belong together.
        if jax.process_count() > 1:
            raise ValueError(
                f"without a seed, each of the {jax.process_count()} processes would draw different numbers: write "
                "`nn.seed(0)` or `RandomState(0)`, or `RandomState(jax.process_index())` if they must differ"
            )
        return jax.random.key(secrets.randbits(32))
    if isinstance(source, jax.Array):
        if jnp.issubdtype(source.dtype, jax.dtypes.prng_key):
            return source
        # The raw form is refused and not wrapped: nothing tells for which algorithm its numbers are.
        if source.dtype == jnp.uint32 and source.ndim:
            raise TypeError("a RandomState takes a typed key: write `RandomState(jax.random.wrap_key_data(key))`")
    if isinstance(source, bool) or not isinstance(source, (int, np.integer)):
        raise TypeError(
            f"a RandomState is made from a whole number, a typed key or None, not {type(source).__name__}: write "
            "`RandomState(0)` or `RandomState(jax.random.key(0))`"
        )
    return jax.random.key(int(source))


class RandomState(Samplers, State[tuple[jax.Array, jax.Array]]):
    """A stream of random keys, with the samplers of `jax.random` as methods.

    A copy of a stream draws the same numbers again; for an independent one use `fork`.

    Args:
        seed: A whole number, a typed key, or None for one from the operating system.
        name: A name that travels with the state.
        tag: A tag or several, for filters.
        **metadata: Anything hashable to travel with the state.

    Raises:
        TypeError: The seed is something else, such as a key in the old raw form.
        ValueError: There is no seed, and several processes, which would draw different numbers.

    Example:
        >>> from brainstate_nn import RandomState
        >>> rng = RandomState(0)
        >>> rng.normal((2,)).shape, rng.uniform().shape
        ((2,), ())
        >>> int(rng.value[1])
        2
    """

    __slots__ = ()

    graph_at_home = True
    graph_as_argument = True

    def __init__(
        self,
        seed: int | jax.Array | State[Any] | None = None,
        name: str | None = None,
        *,
        tag: str | Iterable[str] | None = None,
        **metadata: Any,
    ) -> None:
        value = seed.value if isinstance(seed, RandomState) else (as_key(seed), jnp.uint32(0))
        super().__init__(value, name, tag=tag, **metadata)

    def split_key(self, n: int | None = None) -> jax.Array:
        """Draw a fresh key.

        Args:
            n: How many keys; None for a single one.

        Returns:
            A typed key of shape ``()``, or keys of shape ``(n,)``. Either is one draw.

        Raises:
            TraceContextError: The code runs inside of ``jax.vmap``, ``jax.grad`` or another transform of JAX itself.
        """
        with _draw_lock:
            key, count = self.value
            self.value = (key, _where_key_is(key, count + 1))
        fresh = jax.random.fold_in(key, count)
        return fresh if n is None else jax.random.split(fresh, n)

    def __call__(self) -> jax.Array:
        """Draw a fresh key, as `split_key` does."""
        return self.split_key()

    def seed(self, seed: int | jax.Array | None = None) -> None:
        """Start the stream anew.

        Args:
            seed: As for the constructor.
        """
        self.value = (as_key(seed), jnp.uint32(0))

    def fork(self) -> RandomState:
        """Return a new stream, independent of this one; one draw."""
        return RandomState(self.split_key())


class RandomStreams(Samplers, Node):
    """Streams by name, as ``streams.params`` and ``streams.dropout``; a name that is not there means `default`.

    What makes layers takes it for `rng`: the first values of parameters come from `params`, what a layer draws when it
    is called from the stream of its purpose, which the layers then share. Called, and for the samplers of `jax.random`,
    which are its methods as they are those of a stream, it draws from `default`.

    Args:
        default: The stream, or the seed of the stream, for all other names; None for one from the operating system.
        **streams: A stream or seed for each name.

    Example:
        >>> from brainstate_nn import Dropout, Linear, RandomStreams
        >>> streams = RandomStreams(0, dropout=1)
        >>> layer, drop = Linear(2, 3, rng=streams), Dropout(0.5, rng=streams)
        >>> drop.rng is streams.dropout, streams.params is streams.default
        (True, True)
        >>> streams().shape, streams.dropout().shape, streams.normal((2,)).shape
        ((), (), (2,))
    """

    def __init__(self, default: int | jax.Array | RandomState | None = None, **streams: Any) -> None:
        for name, source in {"default": default, **streams}.items():
            if hasattr(type(self), name):
                raise ValueError(
                    f"a stream cannot be named {name!r}, because RandomStreams has an attribute of this name"
                )
            setattr(self, name, source if isinstance(source, RandomState) else RandomState(source))

    def __call__(self) -> jax.Array:
        """Draw a fresh key from `default`."""
        return self.split_key()

    def split_key(self, n: int | None = None) -> jax.Array:
        """Draw a fresh key from `default`, or `n` keys; either is one draw."""
        return self.default.split_key(n)

    def fork(self) -> RandomStreams:
        """Return new streams under the same names, independent of these; one draw of each."""
        streams = dict(fields_of(self))
        # by stream and not by name, so that two names for one stay two names for one
        forks = {stream: stream.fork() for stream in set(streams.values())}
        return RandomStreams(**{name: forks[stream] for name, stream in streams.items()})

    def __getattr__(self, name: str) -> RandomState:
        if name.startswith("_") or name == "default":
            raise AttributeError(name)
        return self.default


Rng = RandomState | RandomStreams | None
Draws = jax.Array | Rng
"""What a call may be given to draw from: a key, a stream, or streams; None for the stream of the layer."""


def stream_of(rng: Rng, name: str) -> RandomState:
    """Return the stream for a purpose: that of the name, the only one, or the default one of the process.

    Raises:
        TypeError: `rng` is something else.
    """
    if rng is None:
        return default_rng()
    if isinstance(rng, RandomState):
        return rng
    if isinstance(rng, RandomStreams):
        return getattr(rng, name)
    raise TypeError(f"rng takes a RandomState or RandomStreams, not {type(rng).__name__}: write `rng=RandomState(0)`")


def own_stream(rng: Rng, name: str) -> RandomState:
    """Return the stream that a layer keeps: the given one, or one of its own."""
    return default_rng().fork() if rng is None else stream_of(rng, name)


def key_of_call(layer: Any, own: RandomState | None, name: str, key: Draws, rngs: Draws) -> jax.Array:
    """Return the key that a call of a layer draws with: of what it is given, else the next one of its own stream.

    Args:
        layer: The layer, for messages.
        own: Its own stream.
        name: The purpose, by which a stream of RandomStreams is chosen.
        key: What the call is given as `key`.
        rngs: What it is given as `rngs`, which means the same: one name is that of equinox, the other that of flax.

    Raises:
        TypeError: Both are given, or something else.
    """
    if key is not None and rngs is not None:
        raise TypeError(f"{locate(layer)} takes `key` or `rngs`, which mean the same, not both")
    given = rngs if key is None else key
    if isinstance(given, jax.Array):
        return given
    if given is not None and not isinstance(given, (RandomState, RandomStreams)):
        argument = "rngs" if key is None else "key"
        raise TypeError(
            f"{locate(layer)} takes a key, a RandomState or RandomStreams for `{argument}`, not {describe(given)}: "
            f"write `{argument}=RandomState(0)`"
        )
    return stream_of(own if given is None else given, name).split_key()


def draws_of_part(given: dict[str, Any], index: Any) -> dict[str, Any]:
    """Return the keywords of one of several layers: with a key of its own, since one key draws the same for all.

    Streams advance by themselves. What is not a random key, such as the keys of attention, goes to all as it is. What
    was not given is left out, so that a layer may have one of the two names.
    """
    names = {name for name in ("key", "rngs") if name in given}
    own = {name: jax.random.fold_in(given[name], index) for name in names if is_one_key(given[name])}
    return {name: value for name, value in given.items() if name not in names or value is not None} | own


def is_one_key(given: Any) -> bool:
    """Tell whether an argument of a call is one random key, be it in the old form."""
    raw = isinstance(given, jax.Array) and given.dtype == jnp.uint32 and given.ndim == 1
    return raw or (isinstance(given, jax.Array) and is_key(given) and not given.ndim)


def _where_key_is(key: Any, count: Any) -> Any:
    """Keep the count where the key is: under ``jax.set_mesh`` it comes to lie on that mesh, and later draws with it."""
    # An addition puts an uncommitted count on the mesh that is set. It is taken back, for what a later draw computes
    # with the count would lie there too.
    if isinstance(count, Tracer) or isinstance(key, Tracer) or key.committed or not count.committed:
        return count
    return uncommitted(count)


def _in_lane(value: tuple[jax.Array, jax.Array], lane: Any) -> tuple[jax.Array, jax.Array]:
    key, count = value
    # The streams of a Stack are one state: one stream for each layer, and each has lanes of its own.
    if key.ndim:
        return jax.vmap(_in_lane, (0, None))(value, lane)
    return jax.random.fold_in(jax.random.fold_in(key, count), lane), jnp.uint32(0)


# Under a mapped axis each lane draws from a stream of its own, seeded by the next draw and the number of the lane, and
# the common stream moves on by that one draw: lane 3 draws the same whatever the number of lanes.
register_lanes(RandomState, enter=_in_lane, leave=lambda value: (value[0], value[1] + 1))

_default: RandomState | None = None
_lock = threading.Lock()


def default_rng() -> RandomState:
    """Return the stream that the process has by default, made at the first call.

    It is seeded by the operating system: call `seed` for numbers that repeat, and where there are several processes.

    Example:
        >>> from brainstate_nn import default_rng
        >>> default_rng() is default_rng()
        True
    """
    return _default_from(None)


def _default_from(source: int | jax.Array | None) -> RandomState:
    """Return the default stream; one that is made starts from `source`."""
    global _default
    if _default is None:
        with _lock:
            if _default is None:
                # Where the first call happens inside a trace or under a mesh, the stream must outlive it; and it is no
                # new state of what is being made there, so that it is not announced as one.
                with outside():
                    value = uncommitted(as_key(source)), uncommitted(jnp.uint32(0))
                    _default = make_state(RandomState, value, (("name", "default_rng"),))
    return _default


def seed(seed: int | jax.Array | None = None) -> None:
    """Start the default stream anew.

    Args:
        seed: A whole number, a typed key, or None for one from the operating system.

    Example:
        >>> import brainstate_nn as nn
        >>> nn.seed(0)
        >>> first = nn.default_rng().normal()
        >>> nn.seed(0)
        >>> bool(nn.default_rng().normal() == first)
        True
    """
    _default_from(seed).seed(seed)


def split_key(n: int | None = None) -> jax.Array:
    """Draw a fresh key from the default stream.

    Args:
        n: How many keys; None for a single one.

    Returns:
        A typed key of shape ``()``, or keys of shape ``(n,)``.

    Example:
        >>> import jax
        >>> import brainstate_nn as nn
        >>> jax.random.normal(nn.split_key(), (2,)).shape
        (2,)
    """
    return default_rng().split_key(n)
