"""The tables of docs/coming_from, made of what errors answer with; ``python -m tests.public.coming_from``.

A page says where a table goes, ``<!-- rows: torch -->``, and ends it with ``<!-- end -->``.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

from tests.public.sources import ROOT

FOLDER = ROOT / "docs" / "coming_from"
PAGES = sorted(FOLDER.glob("*.md"))
TABLE: dict[str, Any] = tomllib.loads((ROOT / "brainstate_graph/_tools/spellings.toml").read_text())
REFERENCE: dict[str, str] = tomllib.loads(Path(__file__).with_name("reference_names.toml").read_text())["names"]
PARTS = ("rows", "names", "keywords", "absent")
_mark = re.compile(rf"(<!-- ({'|'.join(PARTS)}): (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def alias(framework: str) -> str:
    """The name under which the lines of a framework know it."""
    return TABLE[framework]["imports"].split()[-1]


def library(framework: str) -> str:
    """The package that has to be installed for its lines."""
    return TABLE[framework]["imports"].split()[1].split(".")[0]


def code_and_remark(written: str | list[str]) -> tuple[str, str]:
    return (written, "") if isinstance(written, str) else (written[0], written[1])


def listed(row: dict[str, str]) -> list[str]:
    """The names of a row of absent ones."""
    return row["names"].split()


def cell(code: str) -> str:
    return f"`{code.replace('|', chr(92) + '|')}`"


def rendered(part: str, framework: str) -> str:
    content, there = TABLE[framework], alias(framework)
    if part == "rows":
        head = [f"| there: `{content['imports']}` | here | remark |", "|---|---|---|"]
        rows = [f"| {cell(r['there'])} | {cell(r['here'])} | {r.get('note', '')} |" for r in content["rows"]]
    elif part == "names":
        head = ["| there | here | remark |", "|---|---|---|"]
        written = {name: code_and_remark(value) for name, value in content["names"].items()}
        rows = [f"| `{there}.{name}` | {cell(code)} | {remark} |" for name, (code, remark) in written.items()]
    elif part == "keywords":
        head, rows = ["| keyword there | here |", "|---|---|"], []
        for keyword, meant in content["keywords"].items():
            words = all(map(str.isidentifier, meant.split()))
            rows.append(f"| `{keyword}=` | {', '.join(f'`{w}=`' for w in meant.split()) if words else meant} |")
    else:
        head = ["| absent | why, and what to write |", "|---|---|"]
        rows = [f"| {', '.join(f'`{there}.{n}`' for n in listed(row))} | {row['why']} |" for row in content["absent"]]
    return "\n".join([*head, *rows])


def page(text: str) -> str:
    """Return the page with each table between its two marks."""
    return _mark.sub(lambda found: f"{found[1]}{rendered(found[2], found[3])}\n{found[4]}", text)


def marks(text: str) -> list[tuple[str, str]]:
    """The parts and frameworks of the tables of a page."""
    return [(found[2], found[3]) for found in _mark.finditer(text)]


def value_of(code: str, scope: dict[str, Any]) -> Any:
    """Run statements, and return the value of the last one, which is an expression."""
    tree = ast.parse(code)
    last = tree.body.pop()
    assert isinstance(last, ast.Expr), code
    exec(compile(tree, code, "exec"), scope)
    return eval(compile(ast.Expression(last.value), code, "eval"), scope)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path.read_text()))
