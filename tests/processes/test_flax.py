"""Flax knows state trees once it was told of them, whichever package was imported first."""

from __future__ import annotations

import pytest

from tests.processes.run import output_of

REGISTER = "brainstate_graph.register_with_flax()"
ORDERS = {
    "flax first": "import flax.serialization\nimport brainstate_graph",
    "flax later": f"import brainstate_graph\nimport flax.serialization\n{REGISTER}\n{REGISTER}",
    "flax by us": f"import brainstate_graph\n{REGISTER}\nimport flax.serialization",
    "flax again": f"""
import brainstate_graph, flax.serialization, importlib
importlib.reload(flax.serialization)
{REGISTER}""",
}


@pytest.mark.parametrize("order", ORDERS)
def test_flax_knows_the_trees_when_it_was_told_of_them(order):
    code = ORDERS[order] + (
        "\ntree = brainstate_graph.NestedDict({'a': {0: 1.5}})"
        "\ndata = flax.serialization.to_bytes({'p': tree})"
        "\nassert flax.serialization.from_bytes({'p': tree}, data) == {'p': tree}"
        "\nassert flax.serialization.to_state_dict(tree) == {'a': {'0': 1.5}}"
        "\nassert flax.serialization.is_serializable(brainstate_graph.TreefyState)"
    )
    output_of("-c", code)


def test_the_import_neither_imports_flax_nor_watches_for_it():
    code = (
        "import sys, jax"
        "\nbefore = list(sys.meta_path), list(sys.path_hooks)"
        "\nimport brainstate_graph"
        "\nassert 'flax' not in sys.modules"
        "\nassert (sys.meta_path, sys.path_hooks) == before"
        "\nimport flax.serialization"
        "\nassert not flax.serialization.is_serializable(brainstate_graph.NestedDict)"
    )
    output_of("-c", code)
