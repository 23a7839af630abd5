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

from .._core.module import Module
from .intercept import around_of
from .recorder import Recorder, recorded_call

__all__ = ["capture", "noted_as", "sow"]

T = TypeVar("T")


def capture(node: Any, where: Filter = ..., /, *, call: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return a function that calls a model and returns also what chosen modules in it returned and sowed.

    What is captured are ordinary results: the function may be compiled, mapped, and differentiated. Only calls
    ``module(...)`` are captured, not those of other methods. In a loop whose number of steps is known, in lanes, and in
    the layers of a Stack, the results of the steps are stacked along the first axis. The result of a branch that was
    not taken, or of a step that `bounded_while_loop` did not run, is NaN. For dtypes without NaN it is zero.

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
        StructureError: A captured module is called where its result cannot leave: in a loop whose number of steps is
            not known, as `while_loop` is, in `associative_scan`, `shard_map`, or a function with a rule for its
            derivative.
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
    run = node if call is None else call
    recorded = recorded_call(node, where, run)

    def capturing(*args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        out, recorder = recorded({}, args, kwargs)
        given = recorder.collector.values()
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
    noted = noted_as(module, name)
    if noted is not None:
        recorder, path = noted
        if path in recorder.collector.added:
            raise ValueError(
                f"{locate(module)} sows {name!r}, and `perturbed` cannot add to it: write `perturb(self, {name!r}, "
                "value)`"
            )
        recorder.collector.give(path, value)
    return value


def noted_as(module: Module, name: str) -> tuple[Recorder, str] | None:
    """Return what notes a value that a method of a module names, and under which name; None outside of a capture.

    Raises:
        ValueError: The module has an attribute of this name.
    """
    if hasattr(module, name):
        raise ValueError(
            f"{locate(module)} has an attribute {name!r}, so a value cannot have this name: choose another name"
        )
    captured = around_of(module)
    if captured is None:
        return None
    number, recorder = captured
    return recorder, recorder.name_of(number, name)
