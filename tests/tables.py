"""Tests over tables: one test for a table of data, and a product of two tables cut down to pairs."""

from __future__ import annotations

import functools
import inspect
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest

__all__ = ["each", "first_rows_outside", "pairs"]

_whole: tuple[pathlib.Path, ...] | None = None  # where all rows are run


def first_rows_outside(folders: Sequence[pathlib.Path]) -> None:
    """Run from now on the first row of each table, but all rows of what is in these folders: for ``--one-case``."""
    global _whole
    _whole = tuple(folders)


def _is_short(file: str) -> bool:
    return _whole is not None and not any(map(pathlib.Path(file).is_relative_to, _whole))


def each(names: str | Sequence[str], rows: Iterable[Any], ids: Any = None) -> Callable[[Any], Any]:
    """Run a test for each row of a table of data, as one case that fails with all the rows that do.

    It takes what ``pytest.mark.parametrize`` takes, and stands where that would: for a table whose rows are data, and
    too small to be worth a case each.
    """
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    rows = list(rows)

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        parameters = inspect.signature(test).parameters
        assert set(names) <= set(parameters), f"{test.__name__} has no arguments {set(names) - set(parameters)}"

        file = getattr(test, "_file", None) or inspect.unwrap(test).__code__.co_filename  # of a table below it, too
        short = _is_short(file)

        @functools.wraps(test)
        def run(*owner: Any, **fixtures: Any) -> None:
            failed: list[BaseException] = []
            for number, row in enumerate(rows[:1] if short else rows):
                values = (row,) if len(names) == 1 else tuple(row)
                try:
                    test(*owner, **fixtures, **dict(zip(names, values, strict=True)))
                except (Exception, pytest.fail.Exception) as error:  # the second where `pytest.raises` waits in vain
                    error.add_note(f"row {number}: {_named(ids, number, values)}")
                    failed.append(error)
            if len(failed) > 1:
                raise BaseExceptionGroup(f"{len(failed)} of {len(rows)} rows", failed)
            if failed:
                raise failed[0]

        run._file = file  # pyright: ignore[reportFunctionMemberAccess]
        del run.__wrapped__  # in which pytest would look for the arguments
        run.__signature__ = inspect.Signature([p for name, p in parameters.items() if name not in names])
        return run

    return decorate


def _named(ids: Any, number: int, values: tuple[Any, ...]) -> str:
    if callable(ids):
        return "-".join(str(ids(value)) for value in values)
    if ids is not None:
        return str(list(ids)[number])
    shown = ", ".join(map(_shown, values))
    return shown if len(shown) <= 300 else f"{shown[:300]} ..."


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception:
        return f"a {type(value).__name__}"


def pairs(whole: Iterable[str] = (), **tables: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Parametrize a test over two tables: each row with some column, and each column with some row.

    The rest of the product is run by ``pytest -m exhaustive``.

    Args:
        whole: Rows and columns that meet all of the other table.
        **tables: The two tables, by the names of the arguments.
    """
    (row_name, rows), (column_name, columns) = tables.items()
    few = {
        (list(rows)[i % len(rows)], list(columns)[(i + 1) % len(columns)]) for i in range(max(len(rows), len(columns)))
    }
    assert set(whole) <= {*rows, *columns}
    params = []
    for row, column in [(row, column) for row in rows for column in columns]:
        short = (row, column) in few or row in whole or column in whole
        marks = () if short else pytest.mark.exhaustive
        params.append(pytest.param(rows[row], columns[column], id=f"{row}-{column}", marks=marks))
    return pytest.mark.parametrize((row_name, column_name), params)
