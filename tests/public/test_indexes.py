"""Pages that list others are complete: each folder's index, the glossary in its order, the commands of the measures."""

from __future__ import annotations

import importlib.util
import re

from tests.public.sources import ROOT
from tests.tables import each

DOCS = ROOT / "docs"


@each("folder", ["recipes", "extend", "design"])
def test_an_index_lists_each_page_of_its_folder(folder):
    linked = set(re.findall(r"\]\(([\w-]+\.md)", (DOCS / folder / "index.md").read_text()))
    pages = {page.name for page in (DOCS / folder).glob("*.md")} - {"index.md"}
    assert linked >= pages, f"docs/{folder}/index.md lists no {', '.join(sorted(pages - linked))}"


def test_the_glossary_has_each_word_once_in_its_order():
    words = re.findall(r"^- \*\*(.+?)\*\*", (DOCS / "glossary.md").read_text(), flags=re.MULTILINE)
    assert len(words) > 50
    assert words == sorted(set(words), key=lambda word: (word.lower(), word))


def test_the_commands_of_the_measures_exist():
    commands = set(re.findall(r"python -m (benchmarks\.\w+)", (DOCS / "design" / "measures.md").read_text()))
    assert len(commands) > 5
    assert [name for name in sorted(commands) if importlib.util.find_spec(name) is None] == []
