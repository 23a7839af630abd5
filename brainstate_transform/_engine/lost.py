"""States that cannot be passed, by name: JAX says only that some array has been deleted, or is none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
from jax.core import Tracer

from brainstate_graph import State
from brainstate_graph.extend import describe, locate, read_values

from .errors import LostStateError

__all__ = ["refuse_aliases", "refuse_lost", "refuse_objects", "refuse_shared"]


def refuse_lost(states: Sequence[State[Any]], user: str, cause: BaseException, donating: bool = False) -> None:
    """Raise an error that names the states whose arrays are deleted, if there are any.

    Args:
        states: The states that a call has read.
        user: The name of the user's function.
        cause: What was raised.
        donating: Whether the call that failed has donated them itself.

    Raises:
        LostStateError: There are some.
    """
    if isinstance(cause, LostStateError):
        return
    values = read_values(states, False)
    lost = [state for state, value in zip(states, values, strict=True) if any(map(_deleted, jax.tree.leaves(value)))]
    if not lost:
        return
    named = ", ".join(map(locate, lost))
    if donating:
        raise LostStateError(
            f"`{user}` failed after it was given the buffers of {named} (donate_states): the old values are gone, and "
            "there are no new ones. Assign a new `.value`, from a checkpoint for example."
        ) from cause
    raise LostStateError(
        f"`{user}` reads {named}, whose array was deleted: it was donated to a call that failed, or to other code. "
        "Assign a new `.value`."
    ) from cause


def refuse_objects(states: Sequence[State[Any]], user: str) -> None:
    """Raise an error that names the states whose values are no arrays, if there are any.

    Raises:
        TypeError: There are some.
    """
    for state, value in zip(states, read_values(states, False), strict=True):
        for leaf in jax.tree.leaves(value):
            if isinstance(leaf, jax.ShapeDtypeStruct):
                raise TypeError(
                    f"`{user}` uses {locate(state)}, which is a shape without a value, {describe(leaf)}: initialise "
                    "or load the model first"
                ) from None
            try:
                jax.typeof(leaf)
            except TypeError:
                raise TypeError(
                    f"`{user}` uses {locate(state)}, whose value {describe(value)} is not an array: keep it in an "
                    "ordinary attribute, which is part of the program"
                ) from None


def refuse_shared(donated: Sequence[State[Any]], values: Sequence[Any], others: Sequence[State[Any]]) -> None:
    """Refuse to donate an array twice, or one that another state goes on to hold, of which JAX may know nothing.

    Args:
        donated: The states that give their buffers away.
        values: Their values.
        others: States that keep what they hold.

    Raises:
        ValueError: Two of them hold one array.
    """
    if not values:
        return
    held = read_values(others, False)
    given = jax.tree.leaves(values)
    ids = set(map(id, given))
    if len(ids) == len(given) and ids.isdisjoint(map(id, jax.tree.leaves(held))):
        return  # the usual case, in a twentieth of the time
    owners: dict[int, _Place] = {}
    for leaf, place in _arrays(donated, values):
        _refuse(owners.setdefault(id(leaf), place), place)
    for leaf, place in _arrays(others, held):
        if id(leaf) in owners:
            _refuse(owners[id(leaf)], place)


def refuse_aliases(donated: Sequence[State[Any]], values: Sequence[Any], others: Any, user: str) -> None:
    """Name the states among `donated` whose memory is in use twice, after JAX has refused to donate it."""
    owners: dict[int, _Place] = {}
    for leaf, place in _arrays(donated, values):
        for address in _addresses(leaf):
            _refuse(owners.setdefault(address, place), place)
    for address in _addresses(others):
        if address in owners:
            raise ValueError(
                f"donate_states: the array of {_in_words(owners[address])} is also passed to `{user}` in another way, "
                "and its buffer can be given away once only. Pass a copy: `jnp.array(x)`."
            )


_Place = tuple[State[Any], str]  # a state, and the keys that lead to an array in its value


def _arrays(states: Sequence[State[Any]], values: Sequence[Any]) -> Iterator[tuple[jax.Array, _Place]]:
    for state, value in zip(states, values, strict=True):
        for path, leaf in jax.tree_util.tree_leaves_with_path(value):
            if isinstance(leaf, jax.Array):
                yield leaf, (state, jax.tree_util.keystr(path))


def _in_words(place: _Place) -> str:
    return locate(place[0]) + place[1]


def _refuse(one: _Place, other: _Place) -> None:
    if one != other:
        copy = "jax.tree.map(jnp.array, state.value)" if other[1] else "jnp.array(state.value)"
        raise ValueError(
            f"donate_states: {_in_words(one)} and {_in_words(other)} hold the same array, whose buffer can be given "
            f"away once only. Copy it: `state.value = {copy}`."
        )


def _deleted(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer) and leaf.is_deleted()


def _addresses(tree: Any) -> Iterable[int]:
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer) and not leaf.is_deleted():
            if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
                leaf = jax.random.key_data(leaf)
            for shard in leaf.addressable_shards:
                yield shard.data.unsafe_buffer_pointer()
