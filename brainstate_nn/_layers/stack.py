"""``Stack``: alike layers one after another, as one layer whose states have an axis for the layers.

A deep model of equal blocks is then traced and compiled as one block. The layers are taken apart once, when the Stack
is made, and one of them is put together again from its slice of the values in each step of a `scan`. What the layers
share is taken out before, so that it is neither stacked nor copied. Layers that differ belong in a `Sequential`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph import GraphDef, Node, State, StructureError, catch_new_states, diff
from brainstate_graph.extend import (
    born_after,
    describe,
    fields_of,
    flatten,
    locate,
    now,
    read_values,
    redeclared,
    unflatten,
    untraced,
    with_metadata,
    write_values,
)
from brainstate_transform import checkpoint, collectors, jit, lane_axes, laned, scan, vmap

from .._core.arguments import as_size
from .._core.module import Module
from .._core.random import draws_of_part, is_one_key
from .._models.init_states import init_all_states, reset_all_states

__all__ = ["Stack"]


class Stack(Module):
    """Call alike layers one after another, each with the result of the one before, as one loop.

    It computes what the layers do in a Python loop, but is traced and compiled as one of them, however many there are.
    Each layer has parameters, statistics, hidden states and random streams of its own. They are one state for all
    layers, with the layers along the first axis. What `build` gives to all layers, such as one random stream or a tied
    module, stays one for all.

    Args:
        n: The number of layers.
        build: Called once for each layer, without arguments, returns it. What a layer returns has the shape and dtype
            of what it takes.
        checkpoint: Whether the backward pass computes the inside of each layer again instead of storing it; or a policy
            of what is stored after all, such as ``jax.checkpoint_policies.dots_saveable``.
        policy: The same, with ``checkpoint=True``.
        unroll: How many layers are compiled into one step of the loop, as in ``jax.lax.scan``.

    Attributes:
        layers: A module like each of the layers, with their states stacked; not to be called by itself.
        n: The number of layers.
        shared: What the layers have in common.

    Raises:
        TypeError: `build` returns no module, or `checkpoint` is something else.
        ValueError: There is a policy without `checkpoint`; or the layers differ in more than the values of their
            states.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Linear, Stack
        >>> stack = Stack(12, lambda: Linear(8, 8))
        >>> stack.layers.weight.value.shape, stack(jnp.ones((5, 8))).shape, len(stack)
        ((12, 8, 8), (5, 8), 12)
        >>> bool((stack[3].weight.value == stack.layers.weight.value[3]).all())
        True
    """

    graph_invisible_attrs = ("layer",)
    # `init_all_states` leaves the layers to `init_state` here, which calls them once for each layer.
    inits_what_it_holds = True
    stacks_layers = True

    def __init__(
        self,
        n: int,
        build: Callable[[], Module],
        *,
        checkpoint: bool | Callable[..., bool] = False,
        policy: Callable[..., bool] | None = None,
        unroll: int = 1,
    ) -> None:
        n = as_size("n", n)
        if not callable(build):
            raise TypeError(
                f"build must be a function that returns a layer, not {build!r}: write `lambda: Linear(8, 8)`"
            )
        self.checkpoint, self.policy = _remat(checkpoint, policy)
        # To tell what `build` made from what was there before, where a single layer cannot be compared with another.
        since = now()
        with catch_new_states() as made:
            layers = [build() for _ in range(n)]
        for layer in layers:
            if not isinstance(layer, Module):
                raise TypeError(f"build must return a Module, not {layer!r}")
        self.n = n
        self.shared: list[Any] = _common(layers) if n > 1 else _older(layers[0], since, made)
        shapes, states = zip(*map(self._taken_apart, layers), strict=True)
        for index, shape in enumerate(shapes):
            # Equal shapes are one object, so that identity tells.
            if shape is not shapes[0]:
                raise ValueError(
                    f"the layers of a Stack may differ only in the values of their states, but layer {index} is not "
                    f"like layer 0: {diff(shapes[0], shape)}"
                )
        stacked = list(map(_stacked, zip(*states, strict=True)))
        one = read_values(states[0])
        shape = _redeclared(shapes[0], lambda i, meta: laned(meta, one[i], 0))
        self.layers: Any = unflatten(shape, stacked, self.shared)[0]
        self.unroll = as_size("unroll", unroll)

    def __call__(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the layers.

        Args:
            x: What the first layer takes.
            *args: Further arguments for every layer, such as a mask.
            **kwargs: The same by name. Of a key, as `key` or `rngs`, each layer gets its own.

        Returns:
            What the last layer returns.
        """
        # Outside of any trace the loop is compiled once for all calls, which may bring another mask each time. Under a
        # trace, or with arguments that are no arrays, which `jit` would take for other programs, it is run as it is.
        compiled = untraced() and all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves((args, kwargs)))
        return (_compiled if compiled else _run)(self, x, args, kwargs)

    def _step(self, x: Any, values: list[Any], args: Any, kwargs: Any) -> tuple[Any, dict[int, Any]]:
        """Run one layer, made from its values; return also the values that it changed, by their index."""
        shape, _ = self._taken_apart(self.layers)
        layer, _ = unflatten(shape, values, [*self.shared, *collectors()])
        # Outside of the graph, as `graph_invisible_attrs` says, and only so that messages find the path of the layer.
        # It is no change of the node, even where its dictionary was handed out.
        dict.__setitem__(fields_of(self), "layer", layer)
        try:
            x = layer(x, *args, **kwargs)
        finally:
            dict.pop(fields_of(self), "layer", None)
        after, states = self._taken_apart(layer)
        if after is not shape:
            raise StructureError(
                f"a layer of {locate(self)} changes its attributes or lists when it is called, which a loop cannot do: "
                f"{diff(shape, after)}. Make states in `init_state`; to look inside, put `unstack()` in its place."
            )
        pairs = enumerate(zip(read_values(states), values, strict=True))
        return x, {index: value for index, (value, old) in pairs if value is not old}

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Any:
        """Return a copy of one layer, with states of its own; what the layers share, it shares with them."""
        if not -self.n <= index < self.n:
            raise IndexError(f"the Stack has {self.n} layers, not a layer {index}")
        shape, states = self._taken_apart(self.layers)
        values = jax.tree.map(lambda value: value[index], read_values(states))
        # Those of a Stack in the layer have lanes still.
        alone = [len(lane_axes(state)) < 2 for state in states]
        shape = _redeclared(shape, lambda i, _: {"lane_ndim": None, "lane_axes": None} if alone[i] else {})
        return unflatten(shape, values, self.shared)[0]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.unstack())

    def unstack(self) -> list[Any]:
        """Return copies of all layers, as for a loop in Python."""
        return [self[index] for index in range(self.n)]

    def init_state(self, *args: Any, **kwargs: Any) -> None:
        """Make the states of each layer."""
        self._in_each(init_all_states, args, kwargs)

    def reset_state(self, *args: Any, **kwargs: Any) -> None:
        """Reset the states of each layer."""
        self._in_each(reset_all_states, args, kwargs)

    def _in_each(self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        def each() -> None:
            call(self.layers, *args, **kwargs)

        own = self._taken_apart(self.layers)[1]
        vmap(each, in_states={0: own} if own else None, new_states=0, axis_size=self.n)()

    def _taken_apart(self, layer: Module) -> tuple[GraphDef, list[State[Any]]]:
        """Return the shape of a layer, in which what is shared has a number only, and the states of its own."""
        # What collects the results of modules is no part of a layer, while it steps between their calls.
        numbers = {id(item): number for number, item in enumerate([*self.shared, *collectors()])}
        flat = flatten(layer, lambda item: numbers.get(id(item)))
        return flat.graphdef, [flat.objects[row] for row in flat.graphdef.state_rows]


def _run(stack: Stack, x: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    # Of a key each layer gets its own, made by its number, and only then a step has to know that.
    numbered = jnp.arange(stack.n) if any(map(is_one_key, kwargs.values())) else None

    def layer(x: Any, inputs: tuple[list[Any], Any]) -> tuple[Any, dict[int, Any]]:
        values, number = inputs
        own = kwargs if number is None else draws_of_part(kwargs, number)
        return stack._step(x, values, args, own)

    # What all layers are given is no argument of theirs, so that a flag stays a Python bool.
    # Inside a loop XLA cannot merge the two passes of one step anyway, so it need not be kept from it.
    step = checkpoint(layer, prevent_cse=False, policy=stack.policy) if stack.checkpoint else layer
    states = stack._taken_apart(stack.layers)[1]
    x, changed = scan(step, x, (read_values(states), numbered), stack.n, unroll=stack.unroll)
    write_values([states[index] for index in changed], list(changed.values()))
    return x


_compiled = jit(_run)


def _remat(given: Any, policy: Any) -> tuple[bool, Any]:
    """Return whether layers are computed again, and the policy."""
    if callable(given):
        if policy is not None:
            raise ValueError("the policy is given twice: write `checkpoint=True, policy=...`")
        return True, given
    if not isinstance(given, (bool, np.bool_)):
        raise TypeError(
            f"checkpoint must be True, False or a policy such as `jax.checkpoint_policies.dots_saveable`, not {given!r}"
        )
    if policy is not None and not given:
        raise ValueError("policy needs `checkpoint`: write `checkpoint=True, policy=...`")
    return bool(given), policy


def _redeclared(shape: GraphDef, changes: Callable[[int, dict[str, Any]], dict[str, Any]]) -> GraphDef:
    """Return a shape with changes in the metadata of its states."""
    metas = [shape.rows[row].extra for row in shape.state_rows]
    return with_metadata(shape, [redeclared(meta, changes(i, dict(meta))) for i, meta in enumerate(metas)])


def _stacked(states: Sequence[State[Any]]) -> Any:
    """Return the values of a state of each layer as one."""
    values = read_values(states)
    for index, value in enumerate(values):
        if describe(value) != describe(values[0]):
            raise ValueError(
                f"the layers of a Stack may differ only in the values of their states, but layer {index} has "
                f"{locate(states[index])}, which is {describe(value)}, where layer 0 has {describe(values[0])}"
            )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *values)


def _common(layers: Sequence[Module]) -> list[Any]:
    """Return the nodes and states that two of the layers hold, without what is below another one of them."""
    met: dict[int, Any] = {}
    common: dict[int, Any] = {}
    for layer in layers:
        for item in flatten(layer).objects:
            if isinstance(item, (Node, State)):
                common.update({id(item): item} if id(item) in met else {})
        met.update((id(item), item) for item in flatten(layer).objects)
    return _outermost(layers[0], common)


def _older(layer: Module, since: int, made: list[State[Any]]) -> list[Any]:
    """Return what a single layer holds that existed before `build` made it, and is shared for that reason."""
    new = set(made)
    items = flatten(layer).objects
    old = [s for s in items if isinstance(s, State) and s not in new]
    old += [node for node in items if isinstance(node, Node) and not born_after(node, since)]
    return _outermost(layer, {id(item): item for item in old})


def _outermost(layer: Module, chosen: dict[int, Any]) -> list[Any]:
    """Return those of the chosen parts that the layer does not hold through another one."""
    order = list(chosen)
    flat = flatten(layer, lambda item: order.index(id(item)) if id(item) in chosen else None)
    return [chosen[order[row.extra]] for row in flat.graphdef.rows if row.kind == "known"]
