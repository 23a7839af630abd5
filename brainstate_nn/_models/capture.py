"""``capture``: what modules inside a model return, and what they `sow`, beside what the model returns.

It looks at values while they are computed, and changes nothing. To put other modules in the place of chosen ones, see
`surgery`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from brainstate_graph import Filter
from brainstate_graph.extend import locate
from brainstate_transform import Collector

from .._core.module import Module
from .._core.paths import dotted_names
from .intercept import around_of, intercepted
from .surgery import modules_at

__all__ = ["capture", "sow"]

T = TypeVar("T")


def capture(node: Any, where: Filter = ..., /, *, call: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return a function that calls a model and returns also what chosen modules in it returned and sowed.

    What is captured are ordinary results: the function may be compiled, mapped, and differentiated. Only calls of
    ``module(...)`` are seen, no other methods. In a loop along an axis, and in the layers of a Stack, what the steps
    return comes out stacked; in branches, what the branch that was not taken would have returned is NaN, or zero where
    there is no NaN.

    Args:
        node: The model, or a container of modules.
        where: Which of the modules below it: a dotted path or glob, as ``"layers.*"``; a class; a function of path and
            module; or another filter. All of them by default, and the model itself for what it sows.
        call: What is called in place of the model, such as a method of it or a loss that uses it.

    Returns:
        A function with the arguments of the model that returns a pair: its result, and a dict from dotted path to what
        the module returned; a list of that where it is called several times. One that is not called is not in it.

    Raises:
        ValueError: `where` chooses no module.
        StructureError: A captured module is called in a loop whose number of steps is not known, as `while_loop` is.
        TypeError: Two branches return captured values of different shapes.
        TraceContextError: It is called inside a transform of JAX itself.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Linear, Sequential, capture, relu
        >>> net = Sequential(Linear(2, 8), relu, Linear(8, 1))
        >>> out, inner = capture(net, Linear)(jnp.ones((5, 2)))
        >>> {path: y.shape for path, y in inner.items()}
        {'layers.0': (5, 8), 'layers.2': (5, 1)}
    """
    found = modules_at(node, where, below=True)
    names, modules = dotted_names(list(found)), list(found.values())
    if where is ... and isinstance(node, Module):
        names, modules = [*names, ""], [*modules, node]
    run = node if call is None else call

    def capturing(*args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        # A new one for each call, so that what one call captured is never in the way of the next.
        recorder = _Recorder(names)
        with recorder.active(), intercepted(modules, recorder):
            out = run(*args, **kwargs)
        given = recorder.values()
        order = sorted(given, key=lambda name: recorder.place_of(name))
        return out, {name: given[name][0] if len(given[name]) == 1 else given[name] for name in order}

    functools.update_wrapper(capturing, run, updated=())
    return capturing


def sow(module: Module, name: str, value: T) -> T:
    """Return a value as it is, which a `capture` of the module returns too, under the path of the module and a name.

    Args:
        module: The module whose method computes it.
        name: Its name, which no attribute of the module has.
        value: A pytree of arrays.

    Raises:
        ValueError: The module has an attribute of this name.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Module, capture, sow
        >>> class Net(Module):
        ...     def __call__(self, x):
        ...         return sow(self, "scores", x + 1) * 2
        >>> float(capture(Net())(jnp.array(1.0))[1]["scores"])
        2.0
    """
    if hasattr(module, name):
        raise ValueError(f"{locate(module)} has an attribute {name!r}, and cannot sow under this name: choose another")
    captured = around_of(module)
    if captured is not None:
        number, recorder = captured
        recorder.give(f"{recorder.names[number]}.{name}".lstrip("."), value)
    return value


class _Recorder(Collector):
    """Collects what modules return, by their names; "" is that of the model itself, whose result nobody asks for."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = tuple(names)

    def __call__(self, number: int, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = run(*args, **kwargs)
        if self.names[number]:
            self.give(self.names[number], out)
        return out

    def place_of(self, name: str) -> tuple[int, bool]:
        """Return where a name stands: as its module among the others, with what it sowed behind it."""
        if name in self.names:
            return self.names.index(name), False
        owner = name.rpartition(".")[0]
        return (self.names.index(owner) if owner in self.names else len(self.names)), True
