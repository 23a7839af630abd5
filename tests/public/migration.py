"""The tables of docs/coming_from/migration.md, made of the .toml beside it: ``python -m tests.public.migration``."""

from __future__ import annotations

import ast
import re
import tomllib
from typing import Any

from tests.public.sources import ROOT

PAGE = ROOT / "docs" / "coming_from" / "migration.md"
DATA: dict[str, Any] = tomllib.loads(PAGE.with_suffix(".toml").read_text())
TABLES: dict[str, Any] = DATA["tables"]


def cell(code: str) -> str:
    return f"`{code.replace('|', chr(92) + '|')}`"


def rendered(table: str) -> str:
    if table == "absent":
        rows = [f"| {', '.join(map(cell, names(row)))} | {row['why']} |" for row in DATA["absent"]]
        return "\n".join(["| absent | why, and what to write |", "|---|---|", *rows])
    found = [f"| {cell(r['older'])} | {cell(r['today'])} | {r.get('note', '')} |" for r in TABLES[table]["rows"]]
    return "\n".join([f"| older: `{TABLES[table]['imports']}` | today | |", "|---|---|---|", *found])


def names(row: dict[str, str]) -> list[str]:
    prefix = f"{row['module']}." if row["module"] else ""
    return [prefix + name for name in row["names"].split()]


def page(text: str) -> str:
    """Return the page with each table between its two marks."""
    marked = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
    return marked.sub(lambda found: f"{found[1]}{rendered(found[2])}\n{found[3]}", text)


def value_of(code: str, scope: dict[str, Any]) -> Any:
    """Run statements, and return the value of the last one, which is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr), code
    exec(compile(tree, code, "exec"), scope)
    return eval(compile(ast.Expression(last.value), code, "eval"), scope)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
