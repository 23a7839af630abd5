"""What layers and modules of brainstate have beside ours: `update`, ``>>``, `desc`, and sizes as tuples."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Generator, Iterator
from typing import Any

import jax.numpy as jnp

import brainstate_nn as today
from brainstate_graph import treefy_states
from brainstate_graph.compat import catch_new_states
from brainstate_graph.compat import nodes as nodes_of
from brainstate_graph.compat import states as states_of
from brainstate_transform import eval_shape, vmap

from . import environ

__all__ = [
    "ElementWiseBlock", "EnvironContext", "Layer", "Module", "ParamDescriber", "Sequential", "Sized", "Vmap",
    "as_one_size", "as_sizes", "size_after",
]  # fmt: skip


class ParamDescriber(functools.partial[Any]):
    """A class of modules with some of its arguments: what `desc` returns."""


class Layer:
    """What every older layer has, to be mixed into one of ours."""

    name: str | None = None
    in_size: Any = None
    out_size: Any = None

    @classmethod
    def desc(cls, *args: Any, **kwargs: Any) -> ParamDescriber:
        """Return the class with some of its arguments; a Sequential gives it `in_size`."""
        return ParamDescriber(cls, *args, **kwargs)

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """Call the layer."""
        return self(*args, **kwargs)  # type: ignore[operator] - of the layer that this is mixed into

    def init_all_states(self, *args: Any, state_tag: str | None = None, **kwargs: Any) -> Any:
        """Make the hidden states of the whole model, as the function `init_all_states` does, and return them."""
        with catch_new_states(state_tag) as caught:
            today.init_all_states(self, *args, **kwargs)
        return caught

    def states(self, *filters: Any, allowed_hierarchy: tuple[int, int] | None = None) -> Any:
        """Return the live states by path, as the function `states` does."""
        return states_of(self, *filters, allowed_hierarchy=allowed_hierarchy)

    def nodes(self, *filters: Any, allowed_hierarchy: tuple[int, int] | None = None) -> Any:
        """Return the nodes by path, as the function `nodes` does."""
        return nodes_of(self, *filters, allowed_hierarchy=allowed_hierarchy)

    def state_trees(self, *filters: Any) -> Any:
        """Return the states as data, level by level, as `treefy_states` does."""
        return treefy_states(self, *filters)

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Any]]:
        """Iterate over the parameters with their names, behind a prefix; without `recurse`, those of this module."""
        found = self.states(today.ParamState, allowed_hierarchy=None if recurse else (0, 0))
        return ((".".join(map(str, (*[prefix] * bool(prefix), *path))), state) for path, state in found.items())

    def parameters(self, recurse: bool = True) -> Iterator[Any]:
        """Iterate over the parameters; without `recurse`, over those of this module."""
        return (state for _, state in self.named_parameters(recurse=recurse))

    def named_modules(self, prefix: str = "", include_self: bool = True) -> Iterator[tuple[str, Any]]:
        """Iterate over this module and all below it, with their names behind a prefix."""
        for name, module in today.Module.named_modules(self):  # type: ignore[arg-type] - what this is mixed into
            if include_self or name:
                yield ".".join(part for part in (prefix, name) if part), module

    def modules(self, include_self: bool = True) -> Iterator[Any]:
        """Iterate over this module and all below it."""
        return (module for _, module in self.named_modules(include_self=include_self))

    def reg_loss(self) -> Any:
        """Return the sum of the penalties of the model, as the function `reg_loss` does."""
        return today.reg_loss(self)

    def named_param_modules(self, allowed_hierarchy: tuple[int, int] | None = None) -> Iterator[tuple[str, Any]]:
        """Iterate over each `Param` below this module, with its name."""
        found = self.nodes(lambda _, node: hasattr(node, "is_param_module"), allowed_hierarchy=allowed_hierarchy)
        return ((".".join(map(str, path)), node) for path, node in found.items())

    def param_modules(self, allowed_hierarchy: tuple[int, int] | None = None) -> Iterator[Any]:
        """Iterate over each `Param` below this module."""
        return (node for _, node in self.named_param_modules(allowed_hierarchy))

    @contextlib.contextmanager
    def param_precompute(self, allowed_hierarchy: tuple[int, int] | None = None) -> Generator[None]:
        """Do nothing: a compiled program computes the value of a `Param` once, however often it is read."""
        yield

    def __rshift__(self, other: Any) -> Any:
        return Sequential(self, other) if callable(other) else NotImplemented

    def __rrshift__(self, other: Any) -> Any:
        return Sequential(other, self) if callable(other) else self(other)  # type: ignore[operator] - as above


class Sized(Layer):
    """A layer with sizes of its input and output without the batch, where it was made with that of its input."""

    @property
    def out_size(self) -> tuple[int, ...] | None:
        """The shape of the result of one example; None where `in_size` was not given."""
        return None if self.in_size is None else size_after(self, self.in_size)


class _AnyModule(type):
    """The class of `Module` below, for which every module counts: filters by it find our layers too."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, today.Module) if cls is Module else super().__instancecheck__(instance)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, today.Module) if cls is Module else super().__subclasscheck__(subclass)


class Module(Layer, today.Module, metaclass=_AnyModule):
    """The base of models, with the older names: a name, sizes as tuples, `desc`, ``>>``.

    Args:
        name: A name to keep.

    Example:
        >>> from brainstate_nn import compat
        >>> class Twice(compat.Module):
        ...     def __init__(self, size):
        ...         super().__init__()
        ...         self.in_size = self.out_size = size
        ...
        ...     def update(self, x):
        ...         return 2 * x
        >>> Twice(3).out_size, 5.0 >> Twice(1)
        ((3,), 10.0)
    """

    update = None  # type: ignore[assignment] - to be defined in place of `__call__`
    _in_size = _out_size = None

    def __init__(self, name: str | None = None) -> None:
        if name is not None:
            self.name = name

    @property
    def in_size(self) -> tuple[int, ...] | None:
        """The shape of the input of one example, as it was set."""
        return self._in_size

    @in_size.setter
    def in_size(self, size: Any) -> None:
        self._in_size = as_sizes(size)

    @property
    def out_size(self) -> tuple[int, ...] | None:
        """The shape of the result of one example, as it was set."""
        return self._out_size

    @out_size.setter
    def out_size(self, size: Any) -> None:
        self._out_size = as_sizes(size)


class ElementWiseBlock(Module):
    """A layer that keeps the shape of its input."""


class Sequential(Layer, today.Sequential):
    """Layers one after another; one that is only described is made here, for the size that the layer before returns.

    Args:
        first: The first layer, which has an `in_size` where later ones are described.
        *layers: Modules, functions, and what `desc` returns.

    Example:
        >>> from brainstate_nn import compat
        >>> net = compat.Sequential(compat.Linear(2, 8), compat.ReLU(), compat.Linear.desc(out_size=3))
        >>> net.in_size, net.out_size
        ((2,), (3,))
    """

    def __init__(self, first: Any, *layers: Any) -> None:
        super().__init__(first)
        for layer in layers:
            self.append(layer)

    def append(self, layer: Any) -> None:
        """Add a layer at the end, which may be a description."""
        if isinstance(layer, ParamDescriber):
            if self.out_size is None:
                raise ValueError(
                    f"layer {len(self)} of Sequential is described by `{layer.func.__name__}.desc(...)`, and no layer "
                    "before it has an `in_size`: give the first layer one, or this one its size"
                )
            layer = layer(in_size=self.out_size)
        super().append(layer)

    @property
    def in_size(self) -> tuple[int, ...] | None:
        """The shape of the input of one example: that of the first layer."""
        return as_sizes(getattr(self.layers[0], "in_size", None))

    @property
    def out_size(self) -> tuple[int, ...] | None:
        """The shape of the result of one example."""
        size = self.in_size
        for layer in self.layers:
            size = size_after(layer, size)
        return size


class EnvironContext(Layer, today.Module):
    """A layer that is called inside of ``environ.context(**context)``."""

    def __init__(self, layer: Any, **context: Any) -> None:
        self.layer = layer
        self.context = context

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with environ.context(**self.context):
            return self.layer(*args, **kwargs)


class Vmap(Layer, today.Module):
    """A layer that is called in lanes: `vmap` of a module."""

    def __init__(
        self,
        module: Any,
        in_axes: Any = 0,
        out_axes: Any = 0,
        vmap_states: Any = None,
        vmap_out_states: Any = None,
        axis_name: Any = None,
        axis_size: int | None = None,
    ) -> None:
        self.module = module
        self.axes = (in_axes, out_axes, vmap_states, vmap_out_states)
        self.axis_name = axis_name
        self.axis_size = axis_size

    def __call__(self, *args: Any) -> Any:
        names = ("in_axes", "out_axes", "in_states", "out_states")
        how = dict(zip(names, self.axes, strict=True), axis_name=self.axis_name, axis_size=self.axis_size)
        return vmap(self.module, **how)(*args)


def as_sizes(size: Any) -> tuple[int, ...] | None:
    """Return a size as a tuple, and None as it is."""
    if size is None:
        return None
    return tuple(int(n) for n in size) if isinstance(size, (tuple, list)) else (int(size),)


def as_one_size(size: Any) -> int:
    """Return the last of the sizes, which is the number of features."""
    return size[-1] if isinstance(size, (tuple, list)) else size


def size_after(layer: Any, size: tuple[int, ...] | None) -> tuple[int, ...] | None:
    """Return the shape that a layer makes of one example of this shape; None where that is not known."""
    # A Sized layer asks this function itself, and a Module may not have set it.
    known = None if isinstance(layer, Sized) else as_sizes(getattr(layer, "out_size", None))
    if known is not None or size is None:
        return known
    call: Any = layer
    return eval_shape(lambda: call(jnp.zeros(size))).shape
