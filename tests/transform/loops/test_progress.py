"""`ProgressBar`: one bar, throttled, closed, and silent where nobody looks."""

from __future__ import annotations

import io
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tqdm

import brainstate_nn as nn
from brainstate_graph import State
from brainstate_transform import ProgressBar, checkpointed_scan, for_loop, grad, jit, scan, vmap
from tests.laws.transforms import Param, Runs, same
from tests.tables import each

disabled = pytest.mark.parametrize("disabled", [False, True], ids=["jit", "disabled"])


class Terminal(io.StringIO):
    """What tqdm takes for a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def terminal():
    return Terminal()


def shown(terminal):
    """The states of the bars that were shown, in order, as numbers of steps."""
    jax.effects_barrier()
    lines = terminal.getvalue().replace("\n", "\r").split("\r")
    return [int(line.split("/")[0].split()[-1]) for line in lines if "/" in line]


def make(terminal, **options):
    return ProgressBar(file=terminal, mininterval=0, ascii=True, **options)


@disabled
@pytest.mark.parametrize("wrap", [lambda f: f, jit], ids=["eager", "jit"])
def test_it_moves_to_the_end_and_no_further(terminal, disabled, wrap):
    s = State(jnp.float32(0.0))
    bar = make(terminal, freq=4)

    def body(x):
        s.value += x
        return 2.0 * x

    f = wrap(lambda xs: for_loop(body, xs, pbar=bar))
    with jax.disable_jit(disabled):
        assert same(f(jnp.arange(10.0)), 2.0 * jnp.arange(10.0))
    steps = shown(terminal)
    assert sorted(set(steps)) == [0, 4, 8, 10]
    assert steps == sorted(steps)
    assert terminal.getvalue().count("100%") <= 2  # the last move, and tqdm once more as it closes
    assert terminal.getvalue().endswith("\n")
    assert s.value == 45.0


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("unroll", [1, 3])
def test_scan_and_its_options(terminal, reverse, unroll):
    xs = jnp.arange(7.0)
    body = lambda c, x: (c * 0.5 + x, c)
    got = scan(body, 0.0, xs, reverse=reverse, unroll=unroll, pbar=make(terminal, freq=3))
    assert same(got, jax.lax.scan(body, 0.0, xs, reverse=reverse))
    assert sorted(set(shown(terminal))) == [0, 3, 6, 7]


@pytest.mark.parametrize(
    ("options", "moves"), [({}, 50), ({"freq": 100}, 10), ({"count": 8}, 8), ({"freq": 999}, 2)], ids=str
)
def test_it_is_throttled(terminal, options, moves):
    calls = []
    bar = make(terminal, desc=("{i}", lambda step: {"i": step["i"]}), **options)
    made = bar.bar
    bar.bar = lambda total: _counting(made(total), calls)
    for_loop(lambda x: x, jnp.arange(1000.0), pbar=bar)
    assert len(calls) == moves
    assert calls[-1] == 1000


def _counting(bar, calls):
    move = bar.move
    bar.move = lambda done, values: (calls.append(int(done)), move(done, values))
    return bar


def test_a_number_of_steps(capsys):
    assert for_loop(lambda x: x, jnp.arange(6.0), pbar=2).shape == (6,)
    assert capsys.readouterr().err == ""  # which is no terminal


@pytest.mark.parametrize(
    "desc",
    [
        ("{i} {x:.1f} {y:.1f} {carry:d} {s:.2f}", lambda step: {**step, "s": step["y"] / 2}),
        ("{i} {x:.1f} {y:.1f} {carry:d} {s:.2f}", lambda step: {**step, "s": jnp.float32(5.0)}),
    ],
)
def test_the_description(terminal, desc):
    scan(lambda c, x: (c + 1, 2.0 * x), 0, jnp.arange(6.0), pbar=make(terminal, desc=desc))
    assert "\r5 5.0 10.0 6 5.00: 100%" in terminal.getvalue()


def test_the_description_reads_states_as_they_are_carried(terminal):
    s = State(jnp.float32(0.0))
    bar = make(terminal, freq=2, desc=("s = {s:.0f}", lambda _: {"s": s.value}))
    jit(lambda: for_loop(lambda x: setattr(s, "value", s.value + x), jnp.arange(4.0), pbar=bar))()
    shown(terminal)
    assert "s = 1: " in terminal.getvalue()
    assert "s = 6: 100%" in terminal.getvalue()


def test_a_plain_description(terminal):
    for_loop(lambda x: x, jnp.arange(3.0), pbar=make(terminal, desc="training"))
    assert "training: 100%" in terminal.getvalue()


@disabled
@pytest.mark.parametrize("outer", [vmap, lambda f: vmap(vmap(f)), lambda f: jit(vmap(f))], ids=["1", "2", "jit"])
def test_there_is_one_under_vmap(terminal, disabled, outer):
    bar = make(terminal, freq=2, desc=("{y:.0f}", lambda step: {"y": step["y"]}))
    shape = (2, 3)[: 2 if outer(lambda x: x)(jnp.ones((2, 3))).ndim == 2 else 1]
    with jax.disable_jit(disabled):
        outer(lambda x: for_loop(lambda i: i + jnp.sum(x), jnp.arange(6.0), pbar=bar))(jnp.zeros(shape))
    steps = shown(terminal)
    assert steps == sorted(steps)
    assert sorted(set(steps)) == [0, 2, 4, 6]
    assert "5: 100%" in terminal.getvalue()  # of the first lane


def test_under_grad_and_in_checkpointed_loops(terminal):
    w = Param(jnp.float32(0.9))

    def loss(loop, **options):
        return lambda: loop(lambda c, _: (jnp.sin(c * w.value), None), 1.0, length=20, **options)[0]

    want = grad(loss(scan), w)()
    np.testing.assert_allclose(grad(loss(scan, pbar=make(terminal, freq=5)), w)(), want, rtol=1e-6)
    assert sorted(set(shown(terminal))) == [0, 5, 10, 15, 20]
    other = Terminal()
    np.testing.assert_allclose(grad(loss(checkpointed_scan, base=3, pbar=make(other, freq=1)), w)(), want, rtol=1e-5)
    assert sorted(set(shown(other))) == [0, 9, 18, 20]  # when one of the largest blocks is done
    assert shown(other) == sorted(shown(other))


def still_open():
    return len(tqdm.tqdm._instances)


def test_nested_bars(terminal):
    inner = Terminal()
    row = lambda x: for_loop(lambda y: x * y, jnp.arange(3.0), pbar=make(inner, freq=3))
    for_loop(row, jnp.arange(2.0), pbar=make(terminal, freq=1))
    assert sorted(set(shown(terminal))) == [0, 1, 2]
    assert inner.getvalue().count("0/3") == 2
    assert still_open() == 0


@disabled
def test_it_closes_when_the_loop_raises(terminal, disabled):
    rng = nn.RandomState(0)

    def check(x):
        if x > 3.0:
            raise KeyError("no")

    def body(x):
        rng.normal()
        jax.debug.callback(check, x)
        return x

    bar = make(terminal, freq=1)
    with jax.disable_jit(disabled), pytest.raises(Exception, match="no"):
        for_loop(body, jnp.arange(9.0), pbar=bar)
    assert terminal.getvalue().endswith("\n")
    assert still_open() == 0
    assert max(shown(terminal)) < 9
    with jax.disable_jit(disabled):
        assert for_loop(lambda x: x, jnp.arange(3.0), pbar=bar).shape == (3,)
    assert shown(terminal)[-1] == 3


@pytest.mark.counts_traces
def test_equal_bars_share_a_program():
    runs = Runs()

    def body(x):
        runs()
        return x

    for _ in range(3):
        for_loop(body, jnp.arange(4.0), pbar=ProgressBar(freq=2))
        for_loop(body, jnp.arange(4.0), pbar=2)
    assert runs.count == 1
    assert ProgressBar(2) == ProgressBar(freq=2) != ProgressBar(count=2)
    assert repr(ProgressBar(2, desc="a", ncols=3)) == "ProgressBar(freq=2, desc='a', ncols=3)"


@pytest.mark.counts_traces
def test_it_runs_the_body_once_for_a_trace():
    for loop in (scan, checkpointed_scan):
        runs = Runs()

        def body(c, x, runs=runs):
            runs()
            return c + x, c

        jit(lambda xs, loop=loop, body=body: loop(body, 0.0, xs, pbar=1))(jnp.arange(20.0))
        assert runs.count == 1


@each(
    ("given", "error", "text"),
    [
        ({"freq": 0}, ValueError, "freq=0"),
        ({"freq": -2}, ValueError, "freq=-2"),
        ({"freq": 2.0}, TypeError, r"freq=2\.0"),
        ({"freq": True}, TypeError, "freq=True"),
        ({"count": 0}, ValueError, "count=0"),
        ({"count": "3"}, TypeError, "count='3'"),
        ({"freq": 1, "count": 2}, ValueError, "freq=1 and count=2"),
        ({"desc": 3}, TypeError, "desc=3"),
        ({"desc": ("a",)}, ValueError, "desc has 1 entries"),
        ({"desc": ("a", "b")}, TypeError, "function"),
        ({"desc": (1, dict)}, TypeError, "format"),
    ],
    ids=str,
)
def test_wrong_arguments(given, error, text):
    with pytest.raises(error, match=text):
        ProgressBar(**given)


@each("pbar", [True, 1.0, "x", {"freq": 1}])
def test_wrong_bars(pbar):
    with pytest.raises(TypeError, match="give a ProgressBar"):
        for_loop(lambda x: x, jnp.arange(3.0), pbar=pbar)


@each(
    ("pbar", "error", "text"),
    [
        (ProgressBar(freq=4), ValueError, "freq=4 of the progress bar is more than the 3 steps"),
        (4, ValueError, "freq=4"),
        (ProgressBar(count=4), ValueError, "count=4"),
        (ProgressBar(desc=("{a}", lambda step: 3)), TypeError, "must return a dict, not 3"),
        (ProgressBar(desc=("{a}", lambda step: {"a": jnp.ones(2)})), TypeError, r"'a' has the shape \[2\]"),
    ],
    ids=["freq", "number", "count", "no dict", "no scalar"],
)
def test_bars_that_do_not_fit_the_loop(pbar, error, text):
    s = State(jnp.float32(1.0))
    with pytest.raises(error, match=text):
        for_loop(lambda x: setattr(s, "value", s.value + x), jnp.arange(3.0), pbar=pbar)
    assert s.value == 1.0


def test_a_loop_of_no_steps(terminal):
    assert for_loop(lambda x: x, jnp.zeros(0), pbar=make(terminal)).shape == (0,)
    assert terminal.getvalue() == ""


def test_without_tqdm(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ImportError, match=r'pip install "brainstate-graph\[progress\]"'):
        ProgressBar()


def test_nothing_leaks(terminal):
    with jax.checking_leaks():
        jit(lambda x: for_loop(lambda i: i * x, jnp.arange(4.0), pbar=make(terminal)))(2.0)
