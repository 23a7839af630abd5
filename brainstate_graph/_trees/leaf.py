"""``TreefyState``: one State as plain data, as it shows in a state tree.

A tree holds bare values and, in its layout, one `StateSpec` for each.  A TreefyState is made when somebody looks at one
of them; a tree that is made of TreefyStates takes them apart again.
"""

from __future__ import annotations

import copy
from typing import Any, final

import jax
from jax.tree_util import GetAttrKey

from .._core.layout import StateSpec
from .._core.state import State, declared, make_state
from .._core.static import Static

__all__ = ["TreefyState", "spec_of", "treefy", "untreefied", "value_of"]

_type = type  # which is also the name of a parameter


@final
class TreefyState:
    """The plain-data form of one State: an immutable pytree that holds its value and names its kind.

    Args:
        type: The class of the State.
        value: Its value.
        **metadata: Its name, tags and declared metadata.

    Raises:
        TypeError: `type` is not a class of states.

    Example:
        >>> from brainstate_graph import State, TreefyState
        >>> TreefyState(State, 1.0).to_state()
        State(1.0)
    """

    __slots__ = ("_meta", "_type", "_value")

    _meta: tuple[tuple[str, Any], ...]

    def __init__(self, type: type[State[Any]], value: Any, **metadata: Any) -> None:
        if not isinstance(type, _type) or not issubclass(type, State):
            raise TypeError(f"a TreefyState takes a class of states first, not {type!r}: `TreefyState(State, 1.0)`")
        name, tag = metadata.pop("name", None), metadata.pop("tag", None)
        self._type = type
        self._value = value
        self._meta = declared(name, tag, {key: item for key, item in metadata.items() if item is not None})

    @property
    def type(self) -> type[State[Any]]:
        """The class of the state."""
        return self._type

    @property
    def value(self) -> Any:
        """The value of the state."""
        return self._value

    @value.setter
    def value(self, value: Any) -> None:
        raise AttributeError(
            "a TreefyState is immutable, and so is the tree that holds it. Write `ref = ref.replace(value)`, "
            "and `tree = tree | NestedDict.from_flat({path: value})` for a tree."
        )

    @property
    def name(self) -> str | None:
        """The name given to the state, or None."""
        return dict(self._meta).get("name")

    @property
    def tag(self) -> frozenset[str] | None:
        """The tags of the state, or None."""
        return dict(self._meta).get("tag")

    @property
    def metadata(self) -> dict[str, Any]:
        """What was declared about the state besides its value."""
        return dict(self._meta)

    def replace(self, value: Any) -> TreefyState:
        """Return a copy with another value."""
        return treefy(StateSpec(self._type, self._meta), value)

    def copy(self) -> TreefyState:
        """Return another one with the same value."""
        return self.replace(self._value)

    def to_state(self) -> State[Any]:
        """Return a new live State of this kind, value and metadata."""
        return make_state(self.type, self.value, self._meta)

    def __reduce__(self) -> tuple[Any, ...]:
        return treefy, (StateSpec(self._type, self._meta), self._value)

    def __deepcopy__(self, memo: dict[int, Any]) -> TreefyState:
        return self.replace(copy.deepcopy(self._value, memo))  # the metadata is part of the treedef


def treefy(spec: StateSpec, value: Any) -> TreefyState:
    """Return the TreefyState of a kind and metadata with a value; nothing is checked."""
    ref = object.__new__(TreefyState)
    ref._type, ref._meta, ref._value = spec.kind, spec.meta, value
    return ref


def _flatten_with_keys(ref: TreefyState) -> tuple[Any, ...]:
    return ((GetAttrKey("value"), ref._value),), _static_part(ref)


def _static_part(ref: TreefyState) -> Static:
    # A pair alone would be compared with `==`, by which metadata 1 and True are the same.
    return Static((ref._type, ref._meta))


jax.tree_util.register_pytree_with_keys(
    TreefyState,
    _flatten_with_keys,
    lambda static, children: treefy(StateSpec(*static.value), next(iter(children))),
    lambda ref: ((ref._value,), _static_part(ref)),
)


def spec_of(item: Any) -> StateSpec | None:
    """Return the kind and metadata that an item gives to a tree: those of a TreefyState, else none."""
    return StateSpec(item.type, item._meta) if isinstance(item, TreefyState) else None


def untreefied(item: Any) -> Any:
    """Return the value of a TreefyState, and anything else as it is: a live State too."""
    return item._value if isinstance(item, TreefyState) else item


def value_of(item: Any) -> Any:
    """Return the value of a State or TreefyState, and anything else as it is."""
    return item.value if isinstance(item, (State, TreefyState)) else item
