"""Declarations: annotations in the body of a module's class, of which its constructor is made.

A class of modules that has no ``__init__`` takes what it declares, as a dataclass does: ``field``, ``InitVar``,
``KW_ONLY``, ``ClassVar`` and ``__post_init__`` mean what they mean there, and defaults are found in the class.  Only
the constructor is made: modules are compared by identity and printed as graphs.  No declaration is an annotation beside
a constructor, one's own or an inherited one, and that of a setting which every module has, such as `training`.

The constructor is made with the first object and not with the class, as ``@dataclass(...)`` above a class comes later,
and has the last word.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import threading
from collections.abc import Callable, Iterable
from typing import Any

from brainstate_graph.extend import keyword_here

__all__ = ["awaits_constructor", "make_constructors", "refuse_unknown_keywords"]

_lock = threading.RLock()
_MADE = "_constructor_is_made"


def awaits_constructor(cls: type[Any], settings: tuple[str, ...]) -> bool:
    """Tell whether a class, or one that it inherits from, has declarations and no constructor yet.

    Args:
        cls: A class that was just defined.
        settings: The names of class attributes whose annotations declare nothing.
    """
    return _is_waiting(cls, settings) or any(getattr(base, "_awaits_constructor", False) for base in cls.__bases__)


def _is_waiting(cls: type[Any], settings: tuple[str, ...]) -> bool:
    own = vars(cls)
    if "__init__" in own or "__dataclass_fields__" in own or not _declared(cls, settings):
        return False
    inherited = next(kind for kind in cls.__mro__ if "__init__" in vars(kind))
    return inherited is object or _MADE in vars(inherited)


def _declared(cls: type[Any], settings: tuple[str, ...]) -> dict[str, Any]:
    return {name: note for name, note in inspect.get_annotations(cls).items() if name not in settings}


def make_constructors(cls: type[Any], settings: tuple[str, ...]) -> None:
    """Make the constructors for which a class and those that it inherits from are waiting.

    Args:
        cls: The class.
        settings: As for `awaits_constructor`.

    Raises:
        TypeError, ValueError: The declarations are none of a dataclass; the words are those of `dataclasses`.
    """
    with _lock:
        for kind in reversed(cls.__mro__):
            if vars(kind).get("_awaits_constructor") and _is_waiting(kind, settings):
                kind.__annotations__ = _declared(kind, settings)
                dataclasses.dataclass(repr=False, eq=False, match_args=False)(kind)
                setattr(kind, _MADE, True)
        cls._awaits_constructor = False


def refuse_unknown_keywords(cls: type[Any], keywords: Iterable[str]) -> None:
    """Raise for a keyword that the constructor of a class does not take, and say what to write: ``strides`` for stride.

    Args:
        cls: The class.
        keywords: The names.

    Raises:
        TypeError: As Python would, and with the keyword to write: that of the table of other frameworks' spellings,
            else the one that is spelt most alike.
    """
    known = _keywords(cls.__init__)
    if known is None:
        return
    for name in keywords:
        if name not in known:
            instead = keyword_here(name, known)
            if instead is None:
                meant = difflib.get_close_matches(name, known, 1)
                instead = f"write `{meant[0]}=`" if meant else f"it takes {', '.join(known) or 'none'}"
            raise TypeError(f"{cls.__name__}() got an unexpected keyword argument {name!r}: {instead}")


@functools.lru_cache(256)  # the check takes 0.14 microseconds of the 1.3 of a module made by keywords
def _keywords(init: Callable[..., Any]) -> dict[str, None] | None:
    """Return the names that a constructor takes; None where it takes any, or they are not known."""
    try:
        _, *parameters = inspect.signature(init).parameters.values()
    except (TypeError, ValueError):
        return None
    if init is object.__init__ or any([one.kind is one.VAR_KEYWORD for one in parameters]):
        return None
    return {one.name: None for one in parameters if one.kind is not one.POSITIONAL_ONLY}
