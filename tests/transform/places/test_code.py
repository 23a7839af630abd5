"""What code changes in place without naming it there."""

from __future__ import annotations

import threading
import types

import jax.numpy as jnp
import pytest

from brainstate_transform import jit
from brainstate_transform._places.code import names_in
from tests.laws.transforms import Runs
from tests.tables import each

one = jnp.float32(1.0)

NAMED = """
seen.append(x)
table["k"] = 1
table["k"] += 1
del seen[0]
seen[1:2] = x
held.rows.append(x)
held.rows[0] = x
held.rows["k"] += x
table.setdefault("k", 1)
outs = []; outs.append(x)
outs = [x, x, x]; outs[0] = x
outs = {"k": x}; outs["k"] = x
outs = {"k": x}; outs["k"] += x
outs = {x}; outs.add(x)
for x in range(3): outs = {}; outs[x] = 1
x + len(seen)
"""

UNNAMED = """
seen[x].append(1)
table["a"]["b"] = 1
table[x]["b"] += 1
x.append(1)
x[0] = 1
x["k"] += 1
del x[0]
x[1:2] = [1]
for row in seen: row.append(1)
for row in seen: row[0] = 1
row = seen[0]; row.append(2)
a, b = seen; b.update(a)
row = []; row = seen if x else row; row.append(1)
outs = []; (outs, x.append(1))
map(seen[0].append, [x])
held.get("k").clear()
"""


def code_of(text):
    """The code of a function of `x` around which `seen`, `table` and `held` are."""
    lines = "\n".join(f"        {line}" for line in text.split("; "))
    module = compile(f"def around(seen, table, held):\n    def inner(x):\n{lines}\n    return inner\n", "text", "exec")
    around = next(const for const in module.co_consts if isinstance(const, types.CodeType))
    return next(const for const in around.co_consts if isinstance(const, types.CodeType))


@each("text, unnamed", [(t, u) for u, rows in ((False, NAMED), (True, UNNAMED)) for t in rows.strip().splitlines()])
def test_what_is_changed_in_place_is_named_there_or_not(text, unnamed):
    assert names_in(code_of(text)).changes_unnamed == unnamed


def put(rows, item):
    rows.append(item)


def by_a_loop(log, number, item):
    for row in log:
        row.append(item)


def by_a_name_of_its_own(log, number, item):
    row = log[number]
    row.append(item)


OWN = {
    "a computed key": lambda log, number, item: log[number].append(item),
    "an argument": lambda log, number, item: put(log[number], item),
    "a loop": by_a_loop,
    "a name of its own": by_a_name_of_its_own,
    "an item put in": lambda log, number, item: log[number].insert(0, item),
    "a slice": lambda log, number, item: put(log[-2:][number], item),
}


@pytest.mark.counts_traces
@each("note", OWN.values(), ids=OWN)
@each("threads", [0, 1])
def test_a_list_that_the_function_fills_is_its_own_beside_other_threads_too(note, threads):
    runs, log, number, done = Runs(), [[], []], 1, threading.Event()

    @jit
    def f(x):
        runs()
        note(log, number, x.shape)
        return x * 2

    others = [threading.Thread(target=done.wait) for _ in range(threads)]
    for other in others:
        other.start()
    try:
        assert [f(one), f(one), f(one)] == [2.0] * 3  # and no warning, which would be an error here
    finally:
        done.set()
        for other in others:
            other.join()
    assert runs.count == 1
    assert log[1]


@pytest.mark.counts_traces
def test_a_list_that_is_changed_between_calls_is_seen_beside_code_that_fills_another_one():
    runs, log, rates, number = Runs(), [[], []], [[2.0], [3.0]], 0

    @jit
    def f(x):
        runs()
        log[number].append(x.shape)
        return x * sum(rates[1])

    assert [f(one), f(one)] == [3.0] * 2
    assert runs.count == 1
    rates[1].append(4.0)
    assert [f(one), f(one)] == [7.0] * 2
    rates[1].pop()
    assert [f(one), f(one)] == [3.0] * 2
    assert runs.count == 2
    rates[1] = [5.0]
    with pytest.warns(UserWarning, match=r"three times in a row, each time because rates\[1\] was changed"):
        assert f(one) == 5.0
