"""The helpers that cut tables down to few cases."""

from __future__ import annotations

import pytest

from tests.tables import each, pairs


def test_one_case_fails_with_all_the_rows_that_do():
    @each("number, half", [(2, 1), (4, 3), (6, 4)])
    def check(number, half, fixture):
        assert number == fixture * half

    with pytest.raises(ExceptionGroup, match="2 of 3 rows") as caught:
        check(fixture=2)
    assert [error.__notes__ for error in caught.value.exceptions] == [["row 1: 4, 3"], ["row 2: 6, 4"]]


def test_one_row_that_fails_comes_out_as_it_is():
    @each("n", [1, 2], ids=["one", "two"])
    def check(n):
        if n == 2:
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        check()
    assert caught.value.__notes__ == ["row 1: two"]


def test_each_row_meets_some_column_and_each_column_some_row():
    rows, columns = dict.fromkeys("abc"), dict.fromkeys(map(str, range(7)))
    _, params = pairs(row=rows, column=columns, whole=["b", "5"]).args
    ran = [p.id for p in params if not p.marks]
    assert len(params) == 21
    assert {name[0] for name in ran} == set(rows)
    assert {name[2] for name in ran} == set(columns)
    assert {f"b-{column}" for column in columns} | {f"{row}-5" for row in rows} <= set(ran)
    assert len(ran) < 15
