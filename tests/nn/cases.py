"""Cases that are data: tried one after the other in a single test, which lists all that fail.

A table of wrong arguments and the errors that they give is one statement about a function, with many lines. As one test
it costs one item of the suite, and nothing is lost: a line that fails stops none of the others. Where each case is a
statement by itself, as a law for each layer, `pytest.mark.parametrize` gives it a name of its own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import pytest

__all__ = ["pairs", "together"]

# What pytest raises for "DID NOT RAISE" is no Exception.
_FAILURES = (Exception, pytest.fail.Exception)


def together(names: str | tuple[str, ...], values: Iterable[Any], ids: Any = None) -> Any:
    """Give a test arguments as `pytest.mark.parametrize` does, but all within one test.

    Args:
        names: The names of the arguments that each case gives.
        values: The cases: one value for one name, a tuple for several.
        ids: As for `parametrize`: names for the cases, or a function of a value, for the list of failures.
    """
    columns = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    cases = list(values)

    def label(index: int) -> str:
        if isinstance(ids, (list, tuple)):
            return str(ids[index])
        return f"case {index}, {cases[index]!r:.200}"

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*args: Any, **kwargs: Any) -> None:
            failures: list[tuple[str, BaseException]] = []
            for index, case in enumerate(cases):
                given = dict(zip(columns, case if len(columns) > 1 else (case,), strict=True))
                try:
                    test(*args, **given, **kwargs)
                except _FAILURES as error:
                    failures.append((label(index), error))
            if failures:
                lines = [f"{len(failures)} of {len(cases)} cases fail"]
                lines += [f"- {name}: {type(error).__name__}: {error!s:.1000}" for name, error in failures]
                raise AssertionError("\n".join(lines)) from failures[0][1]

        signature = inspect.signature(test)
        rest = [p for p in signature.parameters.values() if p.name not in columns]
        run.__signature__ = signature.replace(parameters=rest)  # type: ignore[attr-defined]
        return run

    return decorate


def pairs(first: str, firsts: Iterable[Any], second: str, seconds: Iterable[Any]) -> Any:
    """Parametrise by pairs in which each value of two arguments occurs; the rest of their product is `exhaustive`.

    Args:
        first: The name of one argument.
        firsts: Its values.
        second: The name of the other.
        seconds: Its values.
    """
    rows, columns = list(firsts), list(seconds)
    chosen = {(i % len(rows), i % len(columns)) for i in range(max(len(rows), len(columns)))}
    cases = [
        pytest.param(a, b, marks=() if (i, j) in chosen else pytest.mark.exhaustive)
        for i, a in enumerate(rows)
        for j, b in enumerate(columns)
    ]
    return pytest.mark.parametrize((first, second), cases, ids=str)
