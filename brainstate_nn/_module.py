"""``Module``: a node of a graph that can be called, listed, switched to evaluation, and printed."""

from __future__ import annotations

from typing import Any, TypeVar

from brainstate_graph import Filter, Node
from brainstate_graph import nodes as nodes_of
from brainstate_graph import states as states_of

__all__ = ["Module"]

M = TypeVar("M", bound="Module")


class Module(Node):
    """The base of models and layers: subclass it, set states and other modules as attributes, and define `__call__`.

    ``super().__init__()`` is not needed. A subclass may define `update` in place of `__call__`.

    Attributes:
        training: Whether layers behave as in training, set by `train` and `eval`.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Module, ParamState
        >>> class Scale(Module):
        ...     def __init__(self):
        ...         self.factor = ParamState(jnp.array(2.0))
        ...
        ...     def __call__(self, x):
        ...         return self.factor.value * x
        >>> float(Scale()(3.0))
        6.0
        >>> Scale().states(ParamState)
        FlattedDict({('factor',): ParamState(f32[])})
    """

    training: bool = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `update`, where the subclass defines that in place of `__call__`."""
        update = getattr(self, "update", None)
        if update is None:
            raise NotImplementedError(
                f"{type(self).__name__} cannot be called: define `def __call__(self, x): ...` in the class"
            )
        return update(*args, **kwargs)

    def states(self, *filters: Filter) -> Any:
        """Return the live states by path.

        Args:
            *filters: Each a class of states, a tag, or another filter; what none accepts is left out.

        Returns:
            A FlattedDict from path to State; a tuple of them for two filters or more.
        """
        return states_of(self, *filters)

    def nodes(self, *filters: Filter) -> Any:
        """Return the nodes by path, this one under ``()``.

        Args:
            *filters: As for `states`; a class selects its instances.

        Returns:
            A FlattedDict from path to Node; a tuple of them for two filters or more.
        """
        return nodes_of(self, *filters)

    def train(self: M, mode: bool = True) -> M:
        """Switch this module and all below it to training.

        The mode is part of the structure: a compiled function selects the program of the mode, and switching back
        finds the first one again.

        Args:
            mode: False for evaluation.

        Returns:
            The module itself.

        Example:
            >>> from brainstate_graph import graphdef
            >>> from brainstate_nn import Dropout
            >>> drop = Dropout(0.5)
            >>> before = graphdef(drop)
            >>> graphdef(drop.eval()) is before, graphdef(drop.train()) is before
            (False, True)
        """
        for node in nodes_of(self, Module).values():
            if node.training != mode:
                # An attribute equal to the default of the class would be another structure than none at all.
                if type(node).training == mode:
                    del node.training
                else:
                    node.training = mode
        return self

    def eval(self: M) -> M:
        """Switch this module and all below it to evaluation; the same as ``train(False)``."""
        return self.train(False)
