"""``HiddenGroupState`` and ``HiddenTreeState``: hidden states of several variables in one array, along its last axis.

Where all variables of a model have one shape and one update, one state and one operation serve them all. Each is a
member of the group, found by its position or its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph.extend import locate

from .._core.states import HiddenState

__all__ = ["HiddenGroupState", "HiddenTreeState"]

Members = Mapping[Any, Any] | Sequence[Any]


class HiddenGroupState(HiddenState):
    """The hidden states of several variables of one shape, in one array whose last axis goes over the members.

    Args:
        value: An array of shape ``(*varshape, members)``, of two axes or more.
        name: A name that travels with the state.
        tag: A tag or several, for filters.
        names: The names of the members; "0", "1", ... if not given.
        **metadata: Anything hashable to travel with the state.

    Raises:
        TypeError: The value is not an array.
        ValueError: It has fewer than two axes, or another number of members than there are names.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import HiddenGroupState
        >>> h = HiddenGroupState(jnp.zeros((3, 2)), names=("v", "w"))
        >>> h.set_value({"w": jnp.ones(3)})
        >>> h.get_value("w")
        Array([1., 1., 1.], dtype=float32)
    """

    __slots__ = ()

    def __init__(
        self,
        value: Any,
        name: str | None = None,
        *,
        tag: str | Iterable[str] | None = None,
        names: Iterable[str] | None = None,
        **metadata: Any,
    ) -> None:
        if names is not None:
            metadata["names"] = tuple(names)
        super().__init__(value, name, tag=tag, **metadata)
        if jnp.ndim(self.value) < 2:
            raise ValueError(f"a {type(self).__name__} needs an axis of members: shape (*varshape, members)")
        if names is not None and (len(self.names) != self.num_state or len(set(self.names)) < len(self.names)):
            raise ValueError(
                f"names must be different names, one for each of the {self.num_state} members, not {self.names}"
            )

    @property
    def num_state(self) -> int:
        """The number of members."""
        return self.value.shape[-1]

    @property
    def varshape(self) -> tuple[int, ...]:
        """The shape of each member."""
        return self.value.shape[:-1]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the members, in order."""
        return self.metadata.get("names") or tuple(map(str, range(self.num_state)))

    def get_value(self, member: int | str) -> jax.Array:
        """Return one member, of shape ``varshape``.

        Args:
            member: Its position or its name.

        Raises:
            TypeError: `member` is neither.
            ValueError: There is no such member.
        """
        return self.value[..., self._position(member)]

    def set_value(self, values: Members) -> None:
        """Assign some members by position or name, or all of them in order; all or none.

        Args:
            values: A mapping from positions or names to arrays of shape ``varshape``, or one array for each member.

        Raises:
            ValueError: There is no such member, or an array has another shape.
        """
        pairs = values.items() if isinstance(values, Mapping) else enumerate(values)
        new = jnp.asarray(self.value)
        for member, value in pairs:
            position = self._position(member)
            if jnp.shape(value) != self.varshape:
                raise ValueError(
                    f"{locate(self)}: the member {member!r} has the shape {self.varshape}, not {jnp.shape(value)}"
                )
            new = new.at[..., position].set(value)
        self.value = new

    def _position(self, member: int | str) -> int:
        """Return the index along the last axis, or raise."""
        names = self.names
        if isinstance(member, str):
            if member not in names:
                raise ValueError(f"{locate(self)} has no member {member!r}; there are {', '.join(names)}")
            return names.index(member)
        if not isinstance(member, int) or isinstance(member, bool):
            raise TypeError(f"a member of {locate(self)} must be given by its position or name, not by {member!r}")
        if not -self.num_state <= member < self.num_state:
            raise ValueError(f"{locate(self)} has {self.num_state} members, and no member {member}")
        return member


class HiddenTreeState(HiddenGroupState):
    """The hidden states of several variables, given by name, stacked into one array.

    Args:
        value: A mapping from names to arrays of one shape, or a sequence of such arrays.
        name: A name that travels with the state.
        tag: A tag or several, for filters.
        **metadata: Anything hashable to travel with the state.

    Raises:
        ValueError: There is no array, or their shapes differ.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import HiddenTreeState
        >>> h = HiddenTreeState({"v": jnp.zeros(3), "w": jnp.ones(3)})
        >>> h, h.names
        (HiddenTreeState(f32[3,2], names=('v', 'w')), ('v', 'w'))
    """

    __slots__ = ()

    def __init__(
        self, value: Members, name: str | None = None, *, tag: str | Iterable[str] | None = None, **metadata: Any
    ) -> None:
        members = dict(value) if isinstance(value, Mapping) else {str(i): v for i, v in enumerate(value)}
        shapes = {name: jnp.shape(v) for name, v in members.items()}
        if len(set(shapes.values())) != 1 or () in shapes.values():
            raise ValueError(f"a HiddenTreeState needs arrays of one shape, with an axis or more, not {shapes}")
        super().__init__(jnp.stack(list(members.values()), axis=-1), name, tag=tag, names=tuple(members), **metadata)
