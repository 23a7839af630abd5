"""Scripts as brainstate's users write them, with no line changed but those that import: each checks its own numbers."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import jax
import pytest

from brainstate_nn.compat import environ, random
from tests.tables import each

GUIDES = sorted((Path(__file__).parent / "guides").glob("*.py"))


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.stem)
def test_a_guide_runs(guide):
    # They are written for JAX as it is by default, and a script may leave settings and streams as it likes.
    try:
        with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"), random.seed_context(0):
            runpy.run_path(str(guide))
    finally:
        environ.reset()


@each("guide", GUIDES)
def test_a_guide_names_our_packages_where_it_imports_alone(guide):
    lines = guide.read_text().splitlines()
    ours = [line for line in lines if "brainstate_" in line]
    assert ours
    assert all(re.match(r"(from|import) brainstate_nn(\.compat)?\b", line) for line in ours), ours
