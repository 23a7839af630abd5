"""``intercepted``: step between the caller of a module and its ``__call__``, for chosen modules and for a block.

While it lasts, the chosen modules are of a subclass of their class, which passes each call. Other modules, and these at
other times, are called as ever. Since the class is part of the structure, a function that was compiled for the model as
it is finds another program, and finds the first one again afterwards.
"""

from __future__ import annotations

import threading
import types
import weakref
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

from brainstate_graph.extend import ABSENT, fields_of, locate, put_field

from .._core.module import Module

__all__ = ["around_of", "intercepted"]

Around = Callable[[int, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]

# With spaces, so that no attribute of a class has this name by accident.
_FIELD = "calls go to"
# The subclass of each class that was intercepted, as long as something needs it.
_kinds: weakref.WeakKeyDictionary[type[Module], weakref.ref[type[Module]]] = weakref.WeakKeyDictionary()


class _Intercepted:
    """The first base of the class that a module has while its calls are intercepted."""

    __slots__ = ()

    def __init_subclass__(cls, **_: Any) -> None:
        """Run no `__init_subclass__` of the class, which may keep a list of subclasses, as it is none of the user's."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        run: Callable[..., Any] = super().__call__  # type: ignore[misc]
        thread, number, around = fields_of(self)[_FIELD]  # type: ignore[arg-type]
        # Another thread may call the same model meanwhile, and goes straight through.
        return around(number, run, args, kwargs) if thread == threading.get_ident() else run(*args, **kwargs)


@contextmanager
def intercepted(modules: Iterable[Module], around: Around) -> Generator[None]:
    """In the block, a call of one of the modules in this thread is ``around(number, run, args, kwargs)``.

    Args:
        modules: The modules, each once.
        around: Given the number of the module among them, which a copy of it has too; runs the module by
            ``run(*args, **kwargs)``, and returns what the caller gets. A node is carried into and out of compiled
            functions, with the states that it makes.

    Raises:
        RuntimeError: One of them is intercepted already.
    """
    before: list[tuple[Module, type[Module]]] = []
    try:
        for number, module in enumerate(modules):
            if isinstance(module, _Intercepted):
                raise RuntimeError(f"the calls of {locate(module)} are being captured already")
            before.append((module, type(module)))
            _set_class(module, _intercepting(type(module)), (threading.get_ident(), number, around))
        yield
    finally:
        for module, kind in before:
            _set_class(module, kind, ABSENT)


def around_of(module: Module) -> tuple[int, Any] | None:
    """Return the number of a module that is intercepted in this thread, and who steps between; else None."""
    thread, number, around = fields_of(module).get(_FIELD, (None, 0, None))
    return (number, around) if thread == threading.get_ident() else None


def _set_class(module: Module, kind: type[Module], field: Any) -> None:
    # Past `Node.__setattr__`, which takes what is assigned for an edge of the graph.
    object.__setattr__(module, "__class__", kind)
    # This tells the graph that the structure has changed, which the class alone does not.
    put_field(module, _FIELD, field)


def _intercepting(kind: type[Module]) -> type[Module]:
    found = _kinds[kind]() if kind in _kinds else None
    if found is None:
        # Held weakly, and so for as long as a compiled function needs it: the next capture finds that program again.
        found = types.new_class(kind.__name__, (_Intercepted, kind), {"metaclass": type(kind)})
        found.__module__, found.__qualname__ = kind.__module__, kind.__qualname__
        _kinds[kind] = weakref.ref(found)
    return found
