"""The packages use what JAX documents: no private module, no private name, nothing inside a tracer or trace."""

from __future__ import annotations

import ast
from collections.abc import Iterable

import pytest

from tests.public.sources import PACKAGES, ROOT, files_of
from tests.tables import each

# Modules without an underscore that are private all the same.
PRIVATE_MODULES = ("jaxlib.xla_extension", "jaxlib.xla_client")
# Attributes of tracers, traces and their main objects, of this JAX and of older ones.  A name that our packages
# define themselves is ours, see `own_names`.
TRACER_INTERNALS = frozenset({
    "_trace", "_aval", "_line_info", "_origin_msg", "_assert_live", "_parent",
    "parent_trace", "main", "sublevel", "batch_dim", "new_arg", "new_const", "to_jaxpr_tracer", "full_lower",
    "tangent", "primal", "recipe", "is_known", "process_primitive", "tag_",
})  # fmt: skip


def is_private(dotted: str) -> bool:
    steps = dotted.split(".")
    if steps[0] not in ("jax", "jaxlib"):
        return False
    inside = any(step.startswith("_") and not step.startswith("__") for step in steps)
    return inside or any(dotted == module or dotted.startswith(module + ".") for module in PRIVATE_MODULES)


def own_names(trees: Iterable[ast.AST]) -> set[str]:
    """Attribute names that these sources define: members of classes, and what is set on ``self``."""
    names: set[str] = set()
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for statement in node.body:
                    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                        names.add(statement.name)
                    elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                        names.add(statement.target.id)
                    elif isinstance(statement, ast.Assign):
                        names |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and ast.unparse(node.value) == "self"
            ):
                names.add(node.attr)
    return names


def violations(tree: ast.AST, own: Iterable[str] = ()) -> list[tuple[int, str]]:
    """The lines that use private JAX, and what they use."""
    found: list[tuple[int, str]] = []
    bound: dict[str, str] = {}  # local name -> what of JAX it stands for

    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found += [(node.lineno, alias.name)] if is_private(alias.name) else []
                name = alias.asname or alias.name.split(".")[0]
                bound[name] = alias.name if alias.asname else name
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                path = f"{node.module}.{alias.name}"
                found += [(node.lineno, path)] if is_private(path) else []
                bound[alias.asname or alias.name] = path

    def dotted(node: ast.expr) -> str | None:
        if isinstance(node, ast.Name):
            return bound.get(node.id)
        if isinstance(node, ast.Attribute):
            base = dotted(node.value)
            return base and f"{base}.{node.attr}"
        return None

    internals = TRACER_INTERNALS.difference(own)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            path = dotted(node)
            if path and is_private(path) and not is_private(path.rpartition(".")[0]):
                found.append((node.lineno, path))
            elif not path and node.attr in internals:
                found.append((node.lineno, f".{node.attr}"))
        elif isinstance(node, ast.Call):  # getattr(tracer, "_trace"), import_module("jax._src.core")
            words = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            base = dotted(node.args[0]) if node.args else None
            for word in words:
                getter = isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr", "setattr")
                if is_private(word) or (getter and (word in internals or (base and is_private(f"{base}.{word}")))):
                    found.append((node.lineno, word))
    return sorted(set(found))


@pytest.mark.parametrize("package", PACKAGES)
def test_package_uses_public_jax_only(package):
    trees = {path: ast.parse(path.read_text()) for path in files_of(package)}
    own = own_names(trees.values())
    found = {str(path.relative_to(ROOT)): violations(tree, own) for path, tree in trees.items()}
    assert not {path: lines for path, lines in found.items() if lines}


@each(
    ("source", "what"),
    [
        ("import jax._src", "jax._src"),
        ("import jax._src.core as core", "jax._src.core"),
        ("from jax._src import core", "jax._src.core"),
        ("from jax import _src", "jax._src"),
        ("from jaxlib import xla_extension", "jaxlib.xla_extension"),
        ("import jaxlib._jax", "jaxlib._jax"),
        ("import jax\njax._src.core.Tracer", "jax._src"),
        ("import jax as j\nj.numpy._thing", "jax.numpy._thing"),
        ("import jax.numpy as jnp\njnp._thing", "jax.numpy._thing"),
        ("from jax import core\ncore._thing()", "jax.core._thing"),
        ("import jax\ngetattr(jax, '_src')", "_src"),
        ("import importlib\nimportlib.import_module('jax._src.core')", "jax._src.core"),
        ("def f(tracer):\n    return tracer._trace.parent_trace", "._trace"),
        ("def f(tracer):\n    return tracer._trace.parent_trace", ".parent_trace"),
        ("def f(tracer):\n    return getattr(tracer, 'batch_dim', None)", "batch_dim"),
    ],
)
def test_the_check_sees(source, what):
    assert what in [found for _, found in violations(ast.parse(source))]


def test_the_check_lets_pass():
    tree = ast.parse(
        "import jax, jax.numpy as jnp\n"
        "from jax.extend.core import get_opaque_trace_state\n"
        "from ._state import State\n"
        "class Overlay:\n"
        "    def __init__(self):\n"
        "        self._trace = get_opaque_trace_state()\n"
        "    def same(self, other):\n"
        "        return self._trace == other._trace and jax.__version__\n"
    )
    assert violations(tree, own_names([tree])) == []
