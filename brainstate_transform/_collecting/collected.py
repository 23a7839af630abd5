"""What bodies, branches and lanes give to a `Collector`, brought out beside their results.

They run other code each time, and cannot make states.  So each returns what it gives: a loop and lanes stacked, with an
axis for the steps or lanes; of branches what any of them gives, since one program returns the same whatever branch it
takes.  What is added to these values goes in by the same axis.  For that a body is traced once before, to know which
values it gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import State, StructureError

from .._checks.avals import both_in_words
from .._checks.eval_shape import eval_shape
from .._checks.layout import element_of
from .._messages.source import name_of, named_like
from .collector import Collector, Given, collectors

__all__ = [
    "collected_body", "collected_branches", "collected_lane", "collected_map", "give_collected", "nothing",
    "uncollected",
]  # fmt: skip

_Body = Callable[[Any, Any], tuple[Any, Any]]


def collected_body(f: Any, run: Callable[[_Body, Any, Any], tuple[Any, Any]], init: Any, xs: Any) -> tuple[Any, Any]:
    """Run a loop over a body ``f(carry, x) -> (carry, y)``, and take what it gives, stacked as `y` is.

    Args:
        f: The body.
        run: Runs a loop: ``run(body, init, xs)`` returns the last carry and the stacked results.
        init: The first carry.
        xs: The inputs of the steps.
    """
    active = collectors()
    if not active:
        return run(f, init, xs)
    added = _none(active)
    if any(collector.added for collector in active):
        first = jax.tree.map(lambda x: element_of(x) if jnp.ndim(x) else x, xs)
        added = _due(active, eval_shape(named_like(lambda *args: _within(active, added, f, *args)[1], f), init, first))

    def body(carry: Any, x: Any) -> tuple[Any, Any]:
        own, x = (x[1], x[0]) if feeding else (added, x)
        (carry, y), given = _within(active, own, f, carry, x)
        return carry, (y, given)

    feeding = any(added)
    carry, (ys, given) = run(named_like(body, f), init, (xs, added) if feeding else xs)
    give_collected(given)
    return carry, ys


def collected_map(f: Any, run: Callable[[Any, Any], Any], xs: tuple[Any, ...]) -> Any:
    """Run ``run(f, xs)``, which applies `f` to each element of `xs`, and take what `f` gives, stacked."""

    def mapped(body: _Body, _: None, xs: tuple[Any, ...]) -> tuple[None, Any]:
        return None, run(named_like(lambda *x: body(None, x)[1], f), xs)

    return collected_body(named_like(lambda _, x: (None, f(*x)), f), mapped, None, xs)[1]


def collected_branches(
    funs: Sequence[Any], run: Callable[[Sequence[Any], tuple[Any, ...]], Any], operands: tuple[Any, ...]
) -> Any:
    """Run one of several branches, and take what it gives; what only the others would give is NaN, or zero.

    Args:
        funs: The branches.
        run: Runs one of such functions with operands, and returns its result.
        operands: The operands.

    Raises:
        TypeError: Two branches give values of different shapes in one place.
    """
    active = collectors()
    if not active:
        return run(funs, operands)
    none = _none(active)
    wanted = _union(
        [eval_shape(named_like(lambda *args, f=f: _within(active, none, f, *args)[1], f), *operands) for f in funs]
    )

    def branch(f: Any) -> Any:
        def giving(*operands: Any) -> Any:
            *given, added = operands
            out, found = _within(active, added, f, *given)
            return out, [_completed(*pair) for pair in zip(found, wanted, strict=True)]

        return named_like(giving, f)

    out, given = run([branch(f) for f in funs], (*operands, _due(active, wanted)))
    give_collected(given)
    return out


def collected_lane(fun: Any, number: Any, count: int) -> Callable[..., Any]:
    """Return what runs `fun` in a lane, and returns a pair: its result, and what it gives.

    Args:
        fun: The function.
        number: The number of the lane.
        count: The number of lanes.
    """
    active = collectors()

    def of_lane(stacked: Any) -> Any:
        # Nobody knows yet what the lane gives: what does not fit may be for values that are given after it.
        fits = all(jnp.shape(leaf)[:1] == (count,) for leaf in jax.tree.leaves(stacked))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[number], stacked) if fits else None

    def collecting(*args: Any, **kwargs: Any) -> tuple[Any, list[Given]]:
        added = [{name: list(map(of_lane, values)) for name, values in collector.due().items()} for collector in active]
        return _within(active, added, lambda: fun(*args, **kwargs))

    return named_like(collecting, fun)


def give_collected(given: Sequence[Given]) -> list[State[Any]]:
    """Hand on to the active collectors what bodies, branches or lanes have given; return the states that have it."""
    pairs = zip(collectors(), given, strict=True)
    return [state for collector, values in pairs for state in collector.give_all(values)]


def uncollected(fun: Any, where: str, remedy: str) -> Any:
    """Return a function that gives nothing, as nothing can leave it.

    Args:
        fun: The function.
        where: What runs it, for the message.
        remedy: What to write instead.

    Raises:
        StructureError: It gives something, when it is called.
    """
    active = collectors()
    if not active:
        return fun

    def refusing(*args: Any, **kwargs: Any) -> Any:
        out, given = _within(active, _none(active), lambda: fun(*args, **kwargs))
        names = [name for each in given for name in each]
        if names:
            raise StructureError(
                f"`{name_of(fun)}` computes {names[0]!r}, which is captured, but it cannot leave {where}: {remedy}, or "
                "capture only other modules"
            )
        return out

    return named_like(refusing, fun)


def nothing(shapes: Any) -> Any:
    """Return in the place of values that are not computed NaN, or zero where there is no NaN."""
    return jax.tree.map(
        lambda x: jnp.full(x.shape, jnp.nan if jnp.issubdtype(x.dtype, jnp.inexact) else 0, x.dtype), shapes
    )


def _none(active: Sequence[Collector]) -> list[Given]:
    return [{} for _ in active]


def _due(active: Sequence[Collector], shapes: Sequence[Given]) -> list[Given]:
    """Return for each collector what is added to values that will be given."""
    counts = [{name: len(values) for name, values in given.items()} for given in shapes]
    return [collector.due(each) for collector, each in zip(active, counts, strict=True)]


def _within(active: Sequence[Collector], added: Sequence[Given], fun: Any, *args: Any) -> tuple[Any, list[Given]]:
    if not active:
        return fun(*args), []
    first, *others = active
    (out, rest), given = first.within(added[0], _within, others, added[1:], fun, *args)
    return out, [given, *rest]


def _union(each: Sequence[list[Given]]) -> list[Given]:
    """Return for each collector the shapes of what any branch gives."""
    found: list[dict[str, list[Any]]] = [{} for _ in each[0]]
    for branch in each:
        for known, given in zip(found, branch, strict=True):
            for name, shapes in given.items():
                there = known.setdefault(name, [])
                for one, other in zip(there, shapes, strict=False):
                    if one != other:
                        left, right = both_in_words(one, other)
                        raise TypeError(
                            f"two branches give {name} as {left} and {right}: give it the same shape in all branches"
                        )
                there += shapes[len(there) :]
    return list[Given](found)


def _completed(given: Given, wanted: Given) -> Given:
    return {
        name: [*given.get(name, ()), *map(nothing, shapes[len(given.get(name, ())) :])]
        for name, shapes in wanted.items()
    }
