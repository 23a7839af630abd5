"""``python -m benchmarks.imports``: how long it takes to import a library, JAX included, in a Python of its own."""

from __future__ import annotations

import functools
import subprocess
import sys

from ._arena.claim import Claim, Row, Works, each
from ._arena.command import options, run
from ._arena.machine import ROOT
from ._arena.timing import Clocked

__all__ = ["CLAIM", "main"]

CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
MODULES = {"raw": "jax", "nnx": "flax.nnx", "brainstate": "brainstate", "equinox": "equinox"}


def seconds(module: str) -> float:
    """Import a module in a new Python; return what the import took."""
    code = [sys.executable, "-W", "ignore", "-c", CODE.format(module)]
    return float(subprocess.run(code, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def importing(ours: str) -> Works:
    systems = {name: functools.partial(str, module) for name, module in {"ours": ours, **MODULES}.items()}
    return each(systems, lambda module: Clocked(lambda _: seconds(module)))


ROWS = (
    Row("import brainstate_nn", importing, ("brainstate_nn",), target=2.0),
    Row("import brainstate_transform", importing, ("brainstate_transform",), target=1.5, quick=False),
    Row("import brainstate_graph", importing, ("brainstate_graph",), target=1.5, quick=False),
)
CLAIM = Claim("imports", "The packages are imported quickly", ROWS, budget_s=8.0)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
