"""Flax knows state trees, whichever package was imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest

ORDERS = {
    "flax first": "import flax.serialization\nimport brainstate_graph",
    "flax later": "import brainstate_graph\nimport sys\nassert 'flax' not in sys.modules\nimport flax.serialization",
    "flax again": "import brainstate_graph, flax.serialization, importlib\nimportlib.reload(flax.serialization)",
}


@pytest.mark.parametrize("order", ORDERS)
def test_flax_knows_the_trees_whatever_was_imported_first(order):
    code = ORDERS[order] + (
        "\ntree = brainstate_graph.NestedDict({'a': {0: 1.5}})"
        "\ndata = flax.serialization.to_bytes({'p': tree})"
        "\nassert flax.serialization.from_bytes({'p': tree}, data) == {'p': tree}"
        "\nassert flax.serialization.to_state_dict(tree) == {'a': {'0': 1.5}}"
        "\nassert flax.serialization.is_serializable(brainstate_graph.TreefyState)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
