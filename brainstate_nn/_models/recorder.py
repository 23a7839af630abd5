"""``recorded_call``: what modules inside a model return is noted by their paths, while a call of the model runs.

It is how `capture` and `perturbed` look into a model. Both are for a whole call; inside a method, `sow` and `perturb`
name values that no module returns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from brainstate_graph import Filter, Node
from brainstate_transform import Collector

from .._core.module import Module
from .._core.paths import dotted_names
from .intercept import intercepted
from .surgery import modules_at

__all__ = ["Recorder", "recorded_call"]


def recorded_call(node: Any, where: Filter, run: Callable[..., Any]) -> Callable[..., tuple[Any, Recorder]]:
    """Return a function ``(added, args, kwargs)`` that runs a call; it returns the result, and what has noted it.

    Args:
        node: The model, or a container of modules.
        where: Which of the modules below it; all, and the model itself for what it sows, by default.
        run: What is called.

    Raises:
        ValueError: `where` chooses no module.
    """
    modules_at(node, where, below=True)

    # Found anew for each call: a function that holds the modules reaches them beside the model, and not by their paths.
    def running(added: Mapping[str, list[Any]], args: Any, kwargs: Any) -> tuple[Any, Recorder]:
        found = modules_at(node, where, below=True)
        names, modules = dotted_names(list(found)), list(found.values())
        if where is ... and isinstance(node, Module):
            names, modules = [*names, ""], [*modules, node]
        # A new one for each call, so that what one call noted is never in the way of the next.
        recorder = Recorder(names, added)
        with recorder.collector.active(), intercepted(modules, recorder):
            return run(*args, **kwargs), recorder

    return running


class Recorder(Node):
    """Notes what modules return by their names; "" is that of the model itself, whose result nobody asks for.

    Args:
        names: The names of the modules, by their numbers.
        added: What is added to what they return, as for a Collector.

    Example:
        >>> from brainstate_nn._models.recorder import Recorder
        >>> recorder = Recorder(["a"])
        >>> recorder(0, lambda x: x + 1, (1,), {}), recorder.collector.values()
        (2, {'a': [2]})
    """

    graph_in_paths = False

    def __init__(self, names: list[str], added: Mapping[str, list[Any]] | None = None) -> None:
        self.names = tuple(names)
        self.collector = Collector(added)

    def __call__(self, number: int, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = run(*args, **kwargs)
        return self.collector.give(self.names[number], out) if self.names[number] else out

    def name_of(self, number: int, name: str) -> str:
        """Return the name of a value that a method of a module names."""
        return f"{self.names[number]}.{name}".lstrip(".")

    def place_of(self, name: str) -> tuple[int, bool]:
        """Return the place of a name: as its module among the others, with what it sowed behind it."""
        if name in self.names:
            return self.names.index(name), False
        owner = name.rpartition(".")[0]
        return (self.names.index(owner) if owner in self.names else len(self.names)), True
