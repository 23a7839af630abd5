"""What holds for all claims, as the data that they are."""

from __future__ import annotations

import importlib

import pytest

from benchmarks import soak
from benchmarks._arena.claim import CLAIMS, PEERS
from benchmarks._arena.machine import ROOT
from benchmarks._arena.results import RowResult
from tests.public.sources import ROOT as REPOSITORY

NO_CLAIMS = {"__init__", "__main__", "headline", "soak"}


def claim_of(name):
    return importlib.import_module(f"benchmarks.{name}").CLAIM


def test_each_file_is_a_claim():
    assert ROOT == REPOSITORY
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert files - NO_CLAIMS == set(CLAIMS)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim(name):
    claim = claim_of(name)
    assert claim.name == name
    names = [row.name for row in claim.rows]
    assert len(set(names)) == len(names)
    assert any(row.quick for row in claim.rows)
    for row in claim.rows:
        assert row.base not in PEERS or row.target, row.name
        assert row.target is None or row.target >= 0, row.name
        assert not row.curve or claim.axis, row.name
    points = [(row.curve, row.size) for row in claim.rows if row.curve]
    assert len(set(points)) == len(points)


def test_a_run_of_all_rows_has_its_time():
    whole = sum(row.share * claim_of(name).budget_s for name in CLAIMS for row in claim_of(name).rows)
    assert whole < 900  # with what it takes to make and to compile them: 25 minutes


def test_rows_of_results_have_the_names_of_rows():
    assert {"name", "unit", "base", "target", "curve", "size"} <= set(RowResult.__annotations__)


def samples(memory):
    return [soak.Sample(float(i), mb, 10, 5, 100.0, i) for i, mb in enumerate(memory)]


def test_what_a_soak_has_grown_by():
    warming = [100.0] * 2 + [150.0] * 10
    assert soak.grown(samples(warming))["memory"] == 0.0
    leaking = [100.0 + 5 * i for i in range(12)]
    assert soak.grown(samples(leaking))["memory"] == pytest.approx(40.0)
    assert soak.over(soak.grown(samples(leaking))) == ["memory"]
    assert soak.over(soak.grown(samples(warming))) == []
    assert soak.grown(samples([100.0]))["memory"] == 0.0
