"""What people read is plain: short sentences, short pages, and none of the phrases that one reads twice.

Run it alone to see what is left, page by page: ``python -m pytest -q tests/public/test_prose.py``.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.public.prose import of_docstring, riddles, sentences
from tests.public.sources import INSIDE, PACKAGES, ROOT, exports
from tests.tables import each

WORDS, LINES = 40, 200
DOCS = [page for page in (ROOT / "docs").glob("**/*.md") if not re.search(r"/[_.]", str(page.relative_to(ROOT)))]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("brainstate_*/README.md")), *sorted(DOCS)]
#: Pages that are looked up and not read from the first line to the last may be long.
LONG = ("docs/reference/", "docs/changelog", "CONTRIBUTING.md")


def problems(page: str) -> Iterator[str]:
    """What is wrong with the sentences of a page, one line for each."""
    for sentence in sentences(page):
        if sentence.words > WORDS:
            yield f"line {sentence.line}: {sentence.words} words: {sentence.text}"
        for phrase, instead in riddles(sentence.text).items():
            yield f"line {sentence.line}: {phrase!r} (write {instead}): {sentence.text}"


def is_reference(path: str, page: str) -> bool:
    """Whether a page may be long: by its folder, or because its first paragraph calls it a reference."""
    first = page.partition("\n## ")[0]
    return path.startswith(LONG) or re.search(r"\b[Tt]his page is a reference\b", first) is not None


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_a_page_is_plain(page):
    text, path = page.read_text(), str(page.relative_to(ROOT))
    found, length = list(problems(text)), len(text.splitlines())
    if length > LINES and not is_reference(path, text):
        found.append(f"{length} lines: make two pages of it, of {LINES} lines at most")
    assert not found, "\n".join([path, *found])


def documented(package: ModuleType) -> Iterator[tuple[str, str]]:
    """The docstrings of the public names of a package, and of the public members of its classes."""
    for name in exports(package.__name__):
        thing = getattr(package, name)
        if not str(getattr(thing, "__module__", "")).startswith("brainstate_"):
            continue
        members: dict[str, Any] = vars(thing) if inspect.isclass(thing) else {}
        for key, member in {"": thing, **members}.items():
            text, public = getattr(member, "__doc__", None), not key.startswith("_") or key == "__call__"
            if public and isinstance(text, str) and text != type(member).__doc__:  # which plain values have
                yield f"{name}.{key}".rstrip("."), text


@pytest.mark.parametrize("name", [*PACKAGES, *INSIDE])
def test_docstrings_have_short_sentences(name):
    found = {
        f"{name}.{path}: {sentence.words} words: {sentence.text}"
        for path, text in documented(importlib.import_module(name))
        for sentence in sentences(of_docstring(text))
        if sentence.words > WORDS
    }
    assert not found, "\n".join(sorted(found))


LONG_SENTENCE = "word " * 41 + "end."


@each(
    ("page", "found"),
    [
        ("# A heading\n\nA sentence. Another one.", []),
        (LONG_SENTENCE, ["line 1: 42 words"]),
        ("One.\n\nTwo. " + LONG_SENTENCE.replace(" ", "\n", 3), ["line 3: 43 words"]),
        ("- One.\n- " + LONG_SENTENCE, ["line 2: 42 words"]),
        (f"[{LONG_SENTENCE}](page.md)", ["line 1: 42 words"]),
        ("See [a page](a%20b.md) and `" + LONG_SENTENCE + "` here.", []),
        ("word et al. " * 21 + "end.", ["line 1: 64 words"]),
        (f"Text:\n\n```python\n{LONG_SENTENCE}\n```\n\n    {LONG_SENTENCE}\n", []),
        (f"1. An item.\n\n## Code\n\n    {LONG_SENTENCE}\n", []),
        (f"| a | b |\n|---|---|\n| {LONG_SENTENCE} | stands |\n", []),
        (f"<!-- {LONG_SENTENCE}\n stands -->\nIt stands.", ["line 3: 'stands'"]),
        (f"---\ntitle: {LONG_SENTENCE}\n---\n\nThe user is told.", ["line 5: 'told'"]),
        ("- It *stands\n  here*.\n\n  It **speaks\n  of** it.", ["line 1: 'stands'", "line 4: 'speaks of'"]),
        ("`*` stands for any text, we understand; a stand-in; `stands`.", []),
        ("Of arrays it takes one. One of these. Of course.", ["line 1: 'Of arrays'"]),
        ("A State is no array. There is no error. It is no longer there.", ["line 1: 'is no'"]),
    ],
)
def test_what_is_found(page, found):
    assert [message.partition(" (write")[0].partition(" words")[0] for message in problems(page)] == [
        message.partition(" words")[0] for message in found
    ]


def test_a_docstring_is_read_without_names_and_examples():
    text = """One sentence.

    Args:
        x: An array of
            shape ``(2,)``
        *rest, y: Others

    === ==========
    a   it stands.
    === ==========

    Example:
        >>> stands(1)
        told

    More."""
    assert [sentence.text for sentence in sentences(of_docstring(text))] == [
        "One sentence.",
        "An array of shape Code",
        "Others",
        "More.",
    ]


@each(
    ("path", "page", "may"),
    [
        ("docs/guides/a.md", "# A\n\nA guide.\n\n## This page is a reference", False),
        ("docs/guides/a.md", "# A\n\nThis page is a reference.", True),
        ("docs/reference/a.md", "# A", True),
    ],
)
def test_a_reference_may_be_long(path, page, may):
    assert is_reference(path, page) is may
