"""A file holds one idea, and can be read in one go."""

from __future__ import annotations

import pytest

from tests.public.sources import PACKAGES, ROOT, files_of

LIMIT = 400


@pytest.mark.parametrize("package", PACKAGES)
def test_files_are_short(package):
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in files_of(package)}
    assert not {path: count for path, count in lines.items() if count > LIMIT}
