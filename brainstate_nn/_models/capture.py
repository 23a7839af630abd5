"""``capture``: what modules inside a model return, beside what the model returns.

It looks at results while they are computed, and changes nothing. To put other modules in the place of chosen ones, see
`surgery`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from brainstate_graph import Filter, Node, State, nodes, to_predicate

from .._core.module import Module
from .._core.paths import dotted_names
from .intercept import intercepted
from .surgery import parts_at

__all__ = ["capture"]


def capture(node: Any, where: Filter = ..., /, *, call: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return a function that calls a model and returns also what chosen modules in it returned.

    What is captured are ordinary results: the function may be compiled, mapped, and differentiated. Only calls of
    ``module(...)`` are seen, no other methods, and none in the body of a loop, which runs once for all its steps.

    Args:
        node: The model, or a container of modules.
        where: Which of the modules below it: a dotted path or glob, as ``"layers.*"``; a class; a function of path and
            module; or another filter. All of them by default.
        call: What is called in place of the model, such as a method of it or a loss that uses it.

    Returns:
        A function with the arguments of the model that returns a pair: its result, and a dict from dotted path to what
        the module returned; a list of that where it is called several times. One that is not called is not in it.

    Raises:
        ValueError: `where` chooses no module.
        StructureError: A captured module is called in the body of a loop or branch.
        TraceContextError: It is called inside a transform of JAX itself.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Linear, Sequential, capture, relu
        >>> net = Sequential(Linear(2, 8), relu, Linear(8, 1))
        >>> out, inner = capture(net, Linear)(jnp.ones((5, 2)))
        >>> {path: y.shape for path, y in inner.items()}
        {'layers.0': (5, 8), 'layers.2': (5, 1)}
    """
    found = {path: module for path, module in nodes(node, Module).items() if path}
    if isinstance(where, str):
        at = set(map(id, parts_at(node, where)))
        found = {path: module for path, module in found.items() if id(module) in at}
    else:
        chosen = to_predicate(where)
        found = {path: module for path, module in found.items() if chosen(path, module)}
    if not found:
        names = dotted_names([path for path in nodes(node, Module) if path])
        raise ValueError(f"{where!r} chooses no module below {type(node).__name__}, which holds {', '.join(names)}")
    names = dotted_names(list(found))
    run = node if call is None else call

    def capturing(*args: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        # A new one for each call, so that what one call captured is never in the way of the next.
        recorder = _Recorder(len(found))
        with intercepted(found.values(), recorder):
            out = run(*args, **kwargs)
        kept = [[state.value for state in results] for results in recorder.results]
        pairs = zip(names, kept, strict=True)
        return out, {name: values[0] if len(values) == 1 else values for name, values in pairs if values}

    functools.update_wrapper(capturing, run, updated=())
    return capturing


class _Recorder(Node):
    """Keeps what modules return in states, which every transform carries out of itself, or refuses to.

    A plain list would hold tracers after a compiled function has returned.
    """

    graph_in_paths = False

    def __init__(self, count: int) -> None:
        self.results: list[list[State[Any]]] = [[] for _ in range(count)]
        self.probe = State(None, name="a captured result")

    def __call__(self, number: int, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = run(*args, **kwargs)
        # Refused inside a transform of JAX itself, which lets no state out, and would leave tracers here.
        self.probe.value = out
        self.probe.value = None
        self.results[number].append(State(out, name="a captured result"))
        return out
