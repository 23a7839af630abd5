"""``mode`` and ``view``: training or evaluation for a block of code, or for a second view of a model.

For good, see `Module.train` and `Module.eval`; for one call of a layer, its argument `training`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, TypeVar

from brainstate_graph import Filter, State, nodes
from brainstate_graph.extend import ABSENT, fields_of, flatten, put_fields, unflatten

from .._core.module import Module, switch
from .surgery import modules_at

__all__ = ["mode", "view"]

T = TypeVar("T")


@contextmanager
def mode(node: Any, where: Filter = ..., /, *, training: bool) -> Generator[None]:
    """Switch modules to training or evaluation for a block; afterwards each has the mode that it had before.

    Inside a compiled function the block is traced in its mode, so that one program may use both. That is also how a
    whole model is called in another mode than its own.

    Args:
        node: A module, for itself and all below it, or a container of modules.
        where: Which of the modules, each with all below it: a dotted path or glob, as ``"layers.*.norm"``; a class; a
            function of path and module; or another filter. All by default.
        training: Whether they behave as in training.

    Raises:
        ValueError: `where` chooses no module.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import BatchNorm, Dropout, Sequential, mode
        >>> net = Sequential(BatchNorm(3), Dropout(0.5))
        >>> with mode(net, training=False):
        ...     print(float(net(jnp.ones((100, 3))).sum()) > 299.0)
        True
        >>> with mode(net, BatchNorm, training=False):  # its statistics stay
        ...     [layer.training for layer in net]
        [False, True]
        >>> [layer.training for layer in net]
        [True, True]
    """
    modules = _chosen(node, where)
    before = [fields_of(module).get("training", ABSENT) for module in modules]
    try:
        switch(modules, training)
        yield
    finally:
        # Back to what it was: with its own attribute or without, which are different structures.
        put_fields([(module, "training", flag) for module, flag in zip(modules, before, strict=True)])


def view(node: T, where: Filter = ..., /, *, training: bool) -> T:
    """Return a second view of a model in another mode: new modules around the same states.

    What one of them writes the other reads, as in ``jit(step)(net, view(net, training=False))``, where each state is
    passed once. It has the layers that the model has now, and no function that the model has made of itself, such as
    ``self.fast = jit(self.run)``, which goes on with the model.

    Args:
        node: A module, or a container of modules.
        where: Which of the modules differ, as for `mode`.
        training: Whether these behave as in training.

    Raises:
        ValueError: `where` chooses no module.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Dropout, Linear, Sequential, view
        >>> net = Sequential(Linear(2, 3), Dropout(0.5))
        >>> test = view(net, training=False)
        >>> test.layers[0].weight is net.layers[0].weight, test.layers[1].training, net.layers[1].training
        (True, False, True)
    """
    states: dict[int, State[Any]] = {}
    numbers: dict[int, int] = {}

    def number_of(item: Any) -> int | None:
        if not isinstance(item, State):
            return None
        states[id(item)] = item
        return numbers.setdefault(id(item), len(numbers))

    shape = flatten(node, number_of).graphdef
    seen: T = unflatten(shape, [], list(states.values()))[0]
    switch(_chosen(seen, where), training)
    return seen


def _chosen(node: Any, where: Filter) -> list[Module]:
    """Return the modules that a filter chooses, and all below them, each once."""
    if where is ...:
        return list(nodes(node, Module).values())
    found = {id(m): m for chosen in modules_at(node, where).values() for m in nodes(chosen, Module).values()}
    return list(found.values())
