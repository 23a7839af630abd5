"""``Module``: a node of a graph that can be called, listed, switched to evaluation, and printed.

It adds to `Node` what people expect of a module: a call, the modules and parameters in it by name, the mode, and two
hooks for the states of one sequence or batch. Layers and models subclass it; the graph and the transforms know only
`Node`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Self, TypeVar

from brainstate_graph import Filter, Node
from brainstate_graph import nodes as nodes_of
from brainstate_graph import states as states_of
from brainstate_graph.extend import ABSENT, new_node, put_fields

from .declarations import awaits_constructor, make_constructors, refuse_unknown_keywords
from .paths import Path, defined, dotted_names, first_paths
from .states import ParamState

__all__ = ["Module", "signature_of", "switch"]

M = TypeVar("M", bound="Module")


class Module(Node):
    """The base of models and layers: subclass it, set states and other modules as attributes, and define `__call__`.

    ``super().__init__()`` is not needed. A subclass may define `update` in place of `__call__`. One that has no
    constructor takes what it declares by annotations, as a dataclass does, and no other arguments.

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

    # A class attribute, so that a module has none of its own until its mode differs (see `switch`).
    training: bool = True
    # Whether its attribute `layers` stands for `n` layers, which have `shared` in common, as that of a Stack does.
    stacks_layers: ClassVar[bool] = False
    _graph_settings = ("training", "stacks_layers", *Node._graph_settings)
    _awaits_constructor = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if cls._awaits_constructor:
            make_constructors(cls, cls._graph_settings)
        if kwargs:
            refuse_unknown_keywords(cls, kwargs)
        return Node.__new__(cls, *args, **kwargs) if args or kwargs else new_node(cls)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._awaits_constructor = awaits_constructor(cls, cls._graph_settings)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `update`, where the subclass defines that in place of `__call__`."""
        update = getattr(self, "update", None)
        if update is None:
            name = type(self).__name__
            forward = hasattr(self, "forward")  # as torch calls it
            remedy = "rename `forward` to `__call__`" if forward else "define `def __call__(self, x): ...`"
            raise NotImplementedError(f"{name} cannot be called: {remedy} in the class")
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

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Iterate over the modules that this one holds directly, each once, with their names, as they are defined.

        What is in a list or dict has a dotted name, ``layers.0``. A module is not its own child.

        Example:
            >>> from brainstate_nn import Linear, Sequential
            >>> [name for name, _ in Sequential(Linear(2, 3), Sequential(Linear(3, 1))).named_children()]
            ['layers.0', 'layers.1']
        """
        found = dict(defined(self, Module, nearest=True))
        return zip(dotted_names(list(found)), found.values(), strict=True)

    def children(self) -> Iterator[Module]:
        """Iterate over the modules that this one holds directly, each once."""
        return (child for _, child in self.named_children())

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Iterate over this module, named ``""``, and all below it, each once, in the order in which they are defined.

        Its name is that of the place where it is met first.

        Example:
            >>> from brainstate_nn import Linear, Sequential
            >>> shared = Linear(2, 2)
            >>> [name for name, _ in Sequential(shared, Sequential(shared)).named_modules()]
            ['', 'layers.0', 'layers.1']
        """
        found = dict(defined(self, Module))
        return zip(dotted_names(list(found)), found.values(), strict=True)

    def modules(self) -> Iterator[Module]:
        """Iterate over this module and all below it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, ParamState]]:
        """Iterate over the parameters, each once, under the name that it has in a checkpoint.

        The order is that of state trees, and so of gradients: sorted.

        Example:
            >>> from brainstate_nn import Linear, Sequential
            >>> {name: p.value.shape for name, p in Sequential(Linear(2, 3)).named_parameters()}
            {'layers.0.bias': (3,), 'layers.0.weight': (2, 3)}
        """
        found: dict[Path, ParamState] = dict(states_of(self, ParamState))
        first = first_paths(self)
        return zip(dotted_names([first.get(path, path) for path in found]), found.values(), strict=True)

    def parameters(self) -> Iterator[ParamState]:
        """Iterate over the parameters, each once."""
        return (state for _, state in self.named_parameters())

    def init_state(self, *args: Any, **kwargs: Any) -> None:
        """Make the states that this module keeps for one sequence or batch; to be overridden, here nothing is made.

        `init_all_states` calls it for every module of a model, so it makes those of this module only.

        Args:
            *args: What `init_all_states` is given, such as the size of the batch.
            **kwargs: The same by name; take what this module has no use for, too.
        """

    def reset_state(self, *args: Any, **kwargs: Any) -> None:
        """Give those states their first values again; to be overridden, here by `init_state`, which makes new ones.

        Args:
            *args: What `reset_all_states` is given, as a rule what `init_all_states` was given.
            **kwargs: The same by name.
        """
        self.init_state(*args, **kwargs)

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
        # Sorted out here, and not by `nodes`: half of the time for a large model.
        switch([node for node in nodes_of(self).values() if isinstance(node, Module)], mode)
        return self

    def eval(self: M) -> M:
        """Switch this module and all below it to evaluation; the same as ``train(False)``."""
        return self.train(False)


def signature_of(layer: Any) -> inspect.Signature:
    """Return the signature of the call of a layer, which is a module or any function.

    A module that defines `update` is called through the `__call__` of Module, which would take anything.

    Raises:
        TypeError, ValueError: It has none, as some functions that are written in C.
    """
    updated = isinstance(layer, Module) and type(layer).__call__ is Module.__call__
    return inspect.signature(layer.update if updated else layer)  # type: ignore[attr-defined]


def switch(modules: Iterable[Module], training: bool) -> None:
    """Give modules a mode.

    A module that has the mode of its class has no attribute for it: with one it would be another structure, and the
    programs compiled before a switch to and fro would not be found again.
    """
    # Only what changes is set: each assignment is a change of structure for the graph.
    others = [module for module in modules if module.training != training]
    put_fields([(module, "training", ABSENT if type(module).training == training else training) for module in others])
