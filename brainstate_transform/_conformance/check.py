"""``check_transform``: runs any transform through the laws that the built-in ones keep.

It is for whoever writes a transform, here or elsewhere, and needs no test framework.  The laws that nest the transform
with the built-in ones are made here, from `_BUILT_IN`; the others are in ``laws.py``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp

from .._derivatives.checkpoint import checkpoint
from .._derivatives.grad import value_and_grad
from .._engine.errors import ConformanceError
from .._jit.jit import jit
from .._loops.cond import cond
from .._loops.scan import for_loop, scan
from .._mapping.vmap import vmap
from .laws import READING, SHARED, WRITING
from .trial import Broken, Trial, agree

__all__ = ["check_transform", "laws"]

Wrap = Callable[[Callable[[Any], Any]], Callable[[Any], Any]]


def _first(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[0], tree)


# Each runs a function of a scalar once.
_BUILT_IN: dict[str, Wrap] = {
    "jit": jit,
    "value_and_grad": lambda f: lambda x: value_and_grad(f)(x)[0],
    "vmap": lambda f: lambda x: _first(vmap(f)(jnp.stack([x, x]))),
    "for_loop": lambda f: lambda x: _first(for_loop(f, jnp.reshape(x, (1,)))),
    "scan": lambda f: lambda x: _first(scan(lambda carry, x: (carry, f(x)), 0.0, jnp.reshape(x, (1,)))[1]),
    "cond": lambda f: lambda x: cond(x == x, f, f, x),
    "checkpoint": checkpoint,
}


def _nested(name: str, other: Wrap, under: bool) -> Callable[[Trial], None]:
    def law(t: Trial) -> None:
        both: Wrap = (lambda f: other(t.wrap(f))) if under else (lambda f: t.wrap(other(f)))
        agree(both, t.layer(), lambda model, x: model(x))

    law.__name__ = f"{'under' if under else 'over'}_{name}"
    law.__doc__ = f"{'Under' if under else 'Over'} `{name}`, results and states are those of plain Python."
    return law


_NESTED = tuple(_nested(name, other, under) for name, other in _BUILT_IN.items() for under in (True, False))


def laws(writes: bool) -> dict[str, Callable[[Trial], None]]:
    """Return the laws by name."""
    return {law.__name__: law for law in (*SHARED, *(WRITING if writes else READING), *_NESTED)}


def check_transform(wrap: Wrap, *, skip: Iterable[str] = (), writes: bool = True) -> tuple[str, ...]:
    """Run a transform through the laws that every transform of this package keeps.

    Args:
        wrap: ``wrap(f) -> g``, where `f` takes a float32 scalar and returns one, and ``g(x)`` runs `f` once under the
            transform and returns what it returns. For a transform of another form, write an adapter:
            ``lambda f: lambda x: for_loop(f, x[None])[0]``.
        skip: The names of laws that the transform cannot keep; say why in a comment at the call.
        writes: Whether the function may write states. If not, the transform must refuse a write.

    Returns:
        The names of the laws that were checked.

    Raises:
        ConformanceError: It breaks one or more; the text has a line for each, with what was expected and found.
        ValueError: A name in `skip` is not a law.

    Example:
        >>> import jax
        >>> from brainstate_transform import check_transform, lift
        >>> laws = check_transform(lambda f: lift(jax.checkpoint, f))
        >>> laws[:2]
        ('agrees_with_python', 'sees_assigned_values')
    """
    if not callable(wrap):
        raise TypeError(f"expected a function that wraps a function, not {wrap!r}")
    skipped = {skip} if isinstance(skip, str) else set(skip)
    table = laws(writes)
    if unknown := skipped - set(table):
        raise ValueError(f"skip={sorted(unknown)} names no law; the laws are {', '.join(table)}")
    trial, broken = Trial(wrap, writes), dict[str, str]()
    ran = [name for name in table if name not in skipped]
    for name in ran:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".* was traced three times")  # of what a law changes on purpose
                table[name](trial)
        except Broken as found:
            broken[name] = _line(str(found))
        except Exception as error:
            broken[name] = _line(f"expected no error, found {type(error).__name__}: {error}")
    if broken:
        lines = [f"- {name}: {table[name].__doc__} {text}" for name, text in broken.items()]
        title = f"the transform breaks {len(broken)} of {len(ran)} laws of states:"
        raise ConformanceError("\n".join([title, *lines]), broken)
    return tuple(ran)


def _line(text: str) -> str:
    """Put the text of an error into one line of 300 characters at most."""
    words = " ".join(text.split())
    return words if len(words) <= 300 else f"{words[:300]} ..."
