"""Importing the packages, in a Python of its own."""

from __future__ import annotations

import textwrap

import pytest

from tests.processes.python import output_of


def test_broken_optional_packages_are_no_matter(tmp_path):
    for name in ("flax", "optax", "tqdm", "pydot", "diffrax", "equinox"):
        (tmp_path / f"{name}.py").write_text("raise AttributeError('broken installation')\n")
    code = f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        import brainstate_graph, brainstate_transform, brainstate_nn
        from brainstate_transform import jit
        print(float(jit(lambda x: x + 1.0)(1.0)))
    """
    assert output_of("-c", textwrap.dedent(code)).strip() == "2.0"


@pytest.mark.parametrize("package", ["brainstate_graph", "brainstate_transform", "brainstate_nn"])
def test_importing_leaves_the_finders_of_modules_alone(package):
    code = f"import sys, jax; before = list(sys.meta_path); import {package}; print(sys.meta_path == before)"
    assert output_of("-c", code) == "True\n"
