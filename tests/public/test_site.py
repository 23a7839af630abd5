"""The site: each page has its place, each public name its entry, and what checks the built site notices faults."""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path

import pytest

from tests.public.sources import INSIDE, PACKAGES, ROOT, exports
from tests.public.test_docs import blocks_of
from tests.tables import each
from tools.check_site import dead_links, main, missing_names

DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if not any(part[0] in "_." for part in path.relative_to(DOCS).parts))
DIRECTIVE = re.compile(r"^\.\. reference:: (\S+)\n\n((?:   .*\n)+)", re.MULTILINE)


@pytest.fixture
def pages(monkeypatch):
    """The extension of the site that reads the order of the pages."""
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    yield importlib.import_module("pages")
    del sys.modules["pages"]


def entries() -> list[tuple[str, str]]:
    """The names that the pages of the reference list, by package."""
    found: list[tuple[str, str]] = []
    for path in sorted((DOCS / "reference").glob("*.md")):
        for package, body in DIRECTIVE.findall(path.read_text()):
            for line in body.splitlines():
                name = re.match(r" +(\w+): ", line)
                found += [(package, word) for word in ([name[1]] if name else line.split())]
    return found


def test_each_public_name_has_one_entry():
    found = entries()
    public = {(package, name) for package in [*PACKAGES, *INSIDE] for name in exports(package)}
    public.remove(("brainstate_nn", "State"))  # that of brainstate_graph
    assert sorted(found) == sorted(public)


def test_each_page_is_listed_by_an_index_page(pages):
    trees = ""
    for index in [path for path in PAGES if path.name == "index.md"]:
        folder = str(index.parent.relative_to(DOCS)).removeprefix(".")
        trees += pages.toctrees(index.read_text(), folder, DOCS)
    listed = [line for line in trees.splitlines() if line.startswith("/")]
    there = ["/" + str(path.relative_to(DOCS).with_suffix("")) for path in PAGES if path != DOCS / "index.md"]
    assert sorted(listed) == sorted(there)


def test_an_index_page_gives_the_order_and_the_groups(pages, tmp_path):
    (tmp_path / "guides").mkdir()
    (tmp_path / "guides" / "index.md").touch()
    home = (
        "[a](guides/index.md) [b](guides/b.md) [i](https://x.y/z.md)\n```text\n[n](n.md)\n```\n## More\n- [c](c.md#d)\n"
    )
    assert re.findall(r"^[/:].*", pages.toctrees(home, "", tmp_path), re.MULTILINE) == [
        ":hidden:", "/guides/index", ":hidden:", ":caption: More", "/c",
    ]  # fmt: skip
    guides = "[b](b.md) [a](a.md) [b](b.md#x) [r](../recipes/r.md) [self](index.md)"
    assert re.findall(r"^/.*", pages.toctrees(guides, "guides", tmp_path), re.MULTILINE) == ["/guides/b", "/guides/a"]


def test_links_to_files_of_the_repository(pages):
    text = "[c](../../CONTRIBUTING.md#add-a-test) [e](../../examples/gpt.py) [j](jit.md#threads) [w](https://x.y)"
    assert pages.relinked(text, DOCS / "guides", DOCS) == (
        "[c](/code/contributing.md#add-a-test) [e](/../examples/gpt.py) [j](/guides/jit.md#threads) [w](https://x.y)"
    )
    assert pages.relinked("[j](docs/guides/jit.md)", ROOT, DOCS) == "[j](/guides/jit.md)"


@each("code", ["```python\nf[0](x)\n```", "~~~\nf[0](x)\n~~~", "`f[0](x)`", "``f[`](x)``", "`f[0](x)\n`"])
def test_code_has_no_links(pages, code):
    text = f"[`j`](jit.md)\n\n{code}\n\n[`j`](jit.md) ````"
    assert pages.relinked(text, DOCS / "guides", DOCS) == text.replace("jit.md", "/guides/jit.md")


@each("page", PAGES)
def test_code_is_no_wider_than_the_page(page):
    """A line of 88 columns is seen whole at a width of 1280, beside both lists: see docs/_static/site.css."""
    blocks = [block for block in blocks_of(page.read_text()) if block.info.startswith(("python", "{code-cell}"))]
    assert not [line for block in blocks for line in block.code.splitlines() if len(line) > 88]


# ------------------------------------------------------------------------------------------------- the built site

INDEX = {f"{package}": [[0, 0, 0, "", name] for name in exports(package)] for package in [*PACKAGES, *INSIDE]}
GOOD = (
    '<a id="top" href="b.html#here"></a><a href="https://x.y"></a><a href="#top"></a><img src="data:,"><a href="sub/">'
)


def site(folder: Path, page: str) -> Path:
    (folder / "sub").mkdir()
    (folder / "sub" / "index.html").write_text('<a href="../a.html">')
    (folder / "a.html").write_text(page)
    (folder / "b.html").write_text('<h1 id="here">')
    (folder / "searchindex.js").write_text(f"Search.setIndex({json.dumps({'objects': INDEX})})")
    return folder


def test_a_good_site_passes(tmp_path):
    assert main(site(tmp_path, GOOD)) == 0


@each(
    "page, problem",
    [
        ('<a href="c.html">', "a.html: c.html: no such file"),
        ('<a href="b.html#there">', "a.html: b.html#there: no such anchor"),
        ('<a href="#there">', "a.html: #there: no such anchor"),
        ('<img src="c.png">', "a.html: c.png: no such file"),
        ('<script src="https://x.y/z.js">', "a.html: loads https://x.y/z.js, so that it needs a network"),
    ],
)
def test_a_fault_of_a_page_is_found(page, problem, tmp_path_factory):
    folder = site(tmp_path_factory.mktemp("site"), GOOD + page)
    assert list(dead_links(folder)) == [problem]
    assert main(folder) == 1


def test_a_name_that_the_search_does_not_find(tmp_path, monkeypatch):
    monkeypatch.setitem(INDEX, "brainstate_nn", INDEX["brainstate_nn"][1:-1])
    assert list(missing_names(site(tmp_path, GOOD))) == ["the search does not find brainstate_nn.EquinoxModule"]


def test_a_site_without_pages_is_none(tmp_path):
    assert main(tmp_path) == 1
