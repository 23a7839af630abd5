"""The pages of errors: all that they quote is produced by the code above it, and no class of errors is left out."""

from __future__ import annotations

import importlib
import itertools

import pytest

from tests.public.sources import PACKAGES, ROOT, exports
from tests.public.test_docs import blocks_of, printed_by

PAGES = sorted((ROOT / "docs" / "errors").glob("*.md"))
BASE = "BrainStateError"  # is raised by its subclasses alone


def error_classes() -> set[str]:
    """The public classes of errors and warnings, as the last line of a traceback names them."""
    found: set[str] = set()
    for package in PACKAGES:
        for name in exports(package):
            item = getattr(importlib.import_module(package), name)
            if isinstance(item, type) and issubclass(item, BaseException) and name != BASE:
                found.add(f"{item.__module__}.{name}")
    return found


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_every_text_is_the_output_of_code_above_it(page):
    text = page.read_text()
    blocks = blocks_of(text)
    quoted = [block for block in blocks if block.info in ("text", "output")]
    code = [(block, after) for block, after in itertools.pairwise(blocks) if block.info.startswith("python")]
    assert quoted == [after for block, after in code if printed_by(block, after, text)]
    silent = [block for block, after in code if block.info == "python raises" and not printed_by(block, after, text)]
    assert not silent, "an error without its text"
    assert blocks[-1].info != "python raises", "an error without its text"


def test_every_class_of_errors_is_raised_on_a_page():
    lines = {line for page in PAGES for block in blocks_of(page.read_text()) for line in block.code.splitlines()}
    raised = {line.partition(": ")[0] for line in lines}
    assert len(error_classes()) >= 9
    assert error_classes() <= raised, f"no page raises {error_classes() - raised}"


def test_every_class_of_errors_is_in_the_table_of_the_index():
    index = (ROOT / "docs" / "errors" / "index.md").read_text()
    assert [name for name in error_classes() if f"| `{name}` |" not in index] == []
    assert BASE in index
