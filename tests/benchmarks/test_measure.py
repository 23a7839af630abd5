"""From what was seen of a row to its result: nothing is timed here."""

from __future__ import annotations

import jax
import pytest

from benchmarks._arena import claim as claims
from benchmarks._arena.claim import PEERS, Absent, Claim, Failed, Row, each, of_each
from benchmarks._arena.measure import Effort, fits, measure, measure_claim, result_of
from benchmarks._arena.results import behind
from benchmarks._arena.timing import Number, Timing
from tests import tables


def nothing():
    return {}


def timing(*rounds, first=None, failed=None, unfinished=None):
    return Timing(rounds, first or {}, failed or {}, unfinished or {})


def of(row, seen, numbers=None, absent=None, failed=None):
    return result_of(row, seen, numbers or {}, absent or {}, failed or {})


@tables.each(
    ("target", "base", "rounds", "verdict"),
    [
        (2.0, "raw", [{"ours": 2.0, "raw": 1.0}] * 3, "ok"),
        (1.9, "raw", [{"ours": 2.0, "raw": 1.0}] * 3, "missed"),
        (None, "raw", [{"ours": 2.0, "raw": 1.0}] * 3, ""),
        (2.0, "raw", [{"ours": 2.0}] * 3, "failed"),
        (2.0, "raw", [{"raw": 2.0}] * 3, "failed"),
        (2.0, None, [{"ours": 2.0}] * 3, "ok"),
        (2.0, None, [{"ours": 2.1}] * 3, "missed"),
    ],
)
def test_a_verdict(target, base, rounds, verdict):
    row = Row("a", nothing, target=target, base=base)
    assert of(row, timing(*rounds))["verdict"] == verdict


def test_times_are_those_of_one_operation_and_ratios_are_not():
    found = of(Row("a", nothing, per=10), timing(*[{"ours": 2.0, "raw": 1.0}] * 3))
    assert found["systems"]["ours"]["median"] == 0.2
    assert found["ratio"]["median"] == 2.0


def test_who_computes_something_else_has_failed():
    one, two = jax.numpy.array([1.0, 5.0]), jax.numpy.array(2.0)
    seen = timing(*[{"ours": 1.0, "raw": 1.0, "nnx": 1.0}] * 3, first={"raw": one, "ours": one, "nnx": two})
    found = of(Row("a", nothing, target=2.0, same=True), seen)
    assert set(found["systems"]) == {"ours", "raw"}
    assert found["failed"] == {"nnx": "computes 2.0, where raw computes 1.0"}
    assert found["verdict"] == "ok"
    assert "nnx" in of(Row("a", nothing, same=False), seen)["systems"]


def test_a_base_that_is_not_installed_is_no_failure():
    row = Row("a", nothing, target=1.0, base="brainstate")
    found = of(row, timing(*[{"ours": 1.0}] * 3), absent={"brainstate": "brainstate"})
    assert (found["verdict"], found["ratio"]) == ("", None)


def test_a_peer_that_is_not_installed_is_named_and_left_out(monkeypatch):
    monkeypatch.setitem(PEERS, "somebody", "no_such_package")

    class Ours:
        def number(self, value):
            return Number(value)

    def never():
        raise AssertionError("it is not installed")

    works = of_each({"ours": Ours, "somebody": never}, "number", 3.0)
    assert works == {"ours": Number(3.0), "somebody": Absent("no_such_package")}
    row = Row("a", lambda: works, base=None, unit="calls", target=3.0)
    found = measure(row, 0.0, Effort())
    assert (found["absent"], found["verdict"]) == ({"somebody": "no_such_package"}, "ok")
    assert found["systems"]["ours"]["median"] == 3.0


def test_a_system_that_fails_does_not_keep_the_others():
    class Works:
        def number(self):
            return Number(1.0)

    class Fails:
        def number(self):
            raise ValueError("no\nmore")

    class Lacks:
        pass

    works = of_each({"ours": Works, "raw": Fails, "nnx": Lacks}, "number")
    assert works == {"ours": Number(1.0), "raw": Failed("ValueError: no")}
    assert each({"raw": Works}, lambda system: None) == {}


def test_only_chosen_systems_are_made(monkeypatch):
    monkeypatch.setattr(claims, "_only", set())
    claims.restrict(["ours"])

    def never():
        raise AssertionError("it was not chosen")

    class Ours:
        pass

    assert each({"ours": Ours, "raw": never}, lambda system: 1) == {"ours": 1}


def test_a_row_that_cannot_be_made_has_failed():
    def make():
        raise KeyError("x")

    found = measure(Row("a", make, target=1.0), 0.0, Effort())
    assert (found["verdict"], found["failed"]) == ("failed", {"ours": "KeyError: 'x'"})


def test_who_is_behind_is_so_beyond_its_spread():
    def rounds(ours, nnx):
        return timing(*[{"ours": a, "nnx": b, "raw": 1.0} for a, b in zip(ours, nnx, strict=True)])

    row = Row("a", nothing)
    assert behind(of(row, rounds([2.0, 2.1, 2.2], [1.0, 1.1, 1.2]))) == ["nnx"]
    assert behind(of(row, rounds([2.0, 2.1, 2.2], [1.9, 2.05, 2.3]))) == []
    assert behind(of(row, rounds([1.0, 1.0, 1.0], [2.0, 2.0, 2.0]))) == []
    assert behind(of(Row("a", nothing, unit="files"), rounds([2.0, 2.0, 2.0], [1.0, 1.0, 1.0]))) == []


def test_curves_are_fitted_by_system():
    rows = [
        of(
            Row(str(size), nothing, curve="calls", size=size),
            timing({"ours": max(size, 1) * 2.0, "raw": 5.0 * max(size, 1) ** 0.5}),
        )
        for size in (0, 1, 100, 10_000)
    ]
    found = fits(rows)
    assert found["calls"]["ours"] == pytest.approx(1.0)
    assert found["calls"]["raw"] == pytest.approx(0.5)
    assert fits(rows[:2]) == {}


def test_a_claim_shows_each_row_when_it_is_known():
    def numbers(value):
        return {"ours": Number(value)}

    rows = tuple(
        Row(name, numbers, (value,), target=2.0, base=None, quick=quick)
        for name, value, quick in (("one", 1.0, True), ("two", 3.0, True), ("three", 1.0, False))
    )
    seen = []
    claim = Claim("some", "Some rows", rows)
    result = measure_claim(claim, Effort(quick=True), seen.append)
    assert [row["name"] for row in seen] == ["one", "two"]
    assert [row["verdict"] for row in result["rows"]] == ["ok", "missed"]
    assert (result["command"], result["quick"]) == ("python -m benchmarks.some", True)
    assert [row.name for row in claim.chosen(["th"], True)] == ["three"]
    assert [row.name for row in claim.chosen([], False)] == ["one", "two", "three"]
