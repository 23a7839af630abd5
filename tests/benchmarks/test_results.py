"""The file of results, and what is shown of it."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import __main__ as whole
from benchmarks import headline
from benchmarks._arena import pictures, results
from benchmarks._arena.claim import Row
from benchmarks._arena.measure import fits, result_of
from benchmarks._arena.table import columns, markdown, remarks, shown, spell
from benchmarks._arena.timing import Timing
from tests import tables

MACHINE = {
    "date": "2026-01-02", "python": "3.11.7", "cpu": "x86_64", "cpus": 2, "platform": "cpu", "device": "cpu",
    "devices": 1, "revision": "abc", "versions": {"jax": "0.10.2", "brainstate": None},
}  # fmt: skip


def row(name="call, 3 states written", size=3, **systems):
    seen = systems or {"ours": 2e-6, "raw": 1e-6, "nnx": 5e-5}
    made = Row(name, dict, target=1.25, curve="calls", size=size)
    return result_of(made, Timing((seen,) * 3, {}, {}, {}), {}, {"equinox": "equinox"}, {})


def claim(*rows, quick=False, **more):
    return {
        "title": "A title", "command": "python -m benchmarks.engine", "axis": "states", "machine": MACHINE,
        "quick": quick, "seconds": 1.0, "rows": list(rows), "fits": fits(rows), "error": "", **more,
    }  # fmt: skip


FILE = {"schema": results.SCHEMA, "claims": {"engine": claim(row(), row("call, 21 states written", 21))}}


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "folder" / "results.json"
    assert results.read(path) == {"schema": results.SCHEMA, "claims": {}}
    results.write(path, FILE)
    found = results.read(path)
    assert found["claims"]["engine"]["rows"] == FILE["claims"]["engine"]["rows"]
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_a_file_has_four_digits(tmp_path):
    results.write(tmp_path / "a.json", {"schema": results.SCHEMA, "claims": {"x": claim(seconds=1.23456789)}})
    assert results.read(tmp_path / "a.json")["claims"]["x"]["seconds"] == 1.235


def test_claims_are_merged_by_name():
    again = results.merged(FILE, "graph", claim())
    again = results.merged(again, "engine", claim(quick=True))
    assert list(again["claims"]) == ["engine", "graph"]
    assert again["claims"]["engine"]["quick"]
    assert not FILE["claims"]["engine"]["quick"]


@tables.each(
    ("change", "message"),
    [
        (lambda file: file.update(schema=0), "has schema 1"),
        (lambda file: file["claims"]["engine"].pop("fits"), "claims.engine: missing ['fits']"),
        (lambda file: file["claims"]["engine"].update(more=1), "unknown ['more']"),
        (lambda file: file["claims"]["engine"]["rows"][0].pop("unit"), "'call, 3 states written': missing ['unit']"),
        (lambda file: file["claims"]["engine"]["rows"][0].update(verdict="good"), "'good' is no verdict"),
        (lambda file: file["claims"]["engine"]["rows"][0]["systems"]["ours"].pop("low"), "ours: missing ['low']"),
    ],
)
def test_a_file_that_is_no_file_of_results_is_refused(change, message):
    file = json.loads(json.dumps(FILE))
    assert results.checked(file)["claims"]
    change(file)
    with pytest.raises(ValueError, match=re.escape(message)):
        results.checked(file)


def test_a_run_goes_on_where_it_was():
    file = {"schema": 1, "claims": {"engine": claim(), "graph": claim(error="killed"), "trees": claim(quick=True)}}
    assert whole.missing(["engine", "graph", "trees", "nn"], file, True, False) == ["graph", "trees", "nn"]
    assert whole.missing(["engine"], file, False, False) == ["engine"]
    assert set(whole.missing([], file, False, False)) == set(whole.CLAIMS)


def test_a_claim_without_name_is_an_error(capsys):
    with pytest.raises(SystemExit):
        whole.parsed(["engine", "motor"])
    assert "no claims of that name: motor" in capsys.readouterr().err


def test_a_quick_run_does_not_overwrite_what_is_committed():
    assert whole.default_file(False, "cpu") == whole.FILE
    assert (
        len({whole.default_file(*of) for of in ((False, "cpu"), (True, "cpu"), (False, "cuda"), (True, "cuda"))}) == 4
    )


def test_a_row_of_a_table():
    one = row()
    assert columns([one]) == ["nnx", "equinox"]
    cells = shown(one, ["nnx", "equinox"])
    assert cells == ["call, 3 states written", "2 us", "1 us", "2.00 (2.00-2.00)", "1.25", "50", "-", "missed"]
    assert shown(row(ours=2e-6, raw=1e-6, nnx=1e-6), ["nnx"])[-1] == "missed, behind nnx"
    lines = markdown(claim(one)).splitlines()
    assert len(lines) == 3
    assert len({line.count("|") for line in lines}) == 1
    assert "equinox: left out, as equinox is not installed" in remarks(claim(one))


@tables.each(
    ("value", "unit", "text"),
    [(2.5, "s", "2.5 s"), (1.234e-3, "s", "1.23 ms"), (4e-6, "s", "4 us"), (3e-8, "s", "30 ns"),
     (1234.0, "calls", "1,234"), (229.71, "B", "229.7 B"), (0.5, "MB", "0.5 MB")],
)  # fmt: skip
def test_values_with_their_unit(value, unit, text):
    assert spell(value, unit) == text


PAGE = "Before\n<!-- benchmarks: {} -->\nold\n<!-- benchmarks end -->\nAfter\n"


def test_a_page_is_written_between_its_marks():
    new = headline.rewritten(PAGE.format("engine"), FILE, "page.md")
    assert new.startswith("Before\n<!-- benchmarks: engine -->\n\n| ")
    assert new.endswith("`python -m benchmarks.engine` makes this table.\n\n<!-- benchmarks end -->\nAfter\n")
    assert "old" not in new
    assert headline.rewritten(new, FILE, "page.md") == new
    assert headline.rewritten("no marks", FILE, "page.md") == "no marks"
    with pytest.raises(ValueError, match=r"page.md: no results of 'motor'; there are engine"):
        headline.rewritten(PAGE.format("motor"), FILE, "page.md")


def test_the_headline():
    table = headline.headline(FILE)
    assert "| call that reads and writes 3 states | 1 us | **2.00** | 50 |" in table
    assert "2026-01-02" in table
    assert "Nothing has been measured" in headline.headline({"schema": 1, "claims": {}})


def test_the_rows_of_the_headline_are_rows_of_claims():
    import importlib

    for _, name, title in headline.HEADLINE:
        assert importlib.import_module(f"benchmarks.{name}").CLAIM.row(title).base


def test_the_tables_of_the_pages_are_those_of_the_results(capsys):
    assert headline.main(["--check"]) == 0, capsys.readouterr().out


def test_pictures_are_drawn_of_curves(tmp_path):
    (path,) = pictures.draw({"schema": 1, "claims": {**FILE["claims"], "calls": claim()}}, tmp_path)
    assert path == tmp_path / "engine.png"
    assert path.stat().st_size > 10_000
    assert pictures.points([row(size=9, ours=2e-6), row(size=3, ours=1e-6)]) == {
        "calls": {"ours": [(3, 1.0), (9, 2.0)]}
    }
    assert {file.name for file in headline.draw(FILE, tmp_path / "assets")} == {"headline.png", "engine.png"}
