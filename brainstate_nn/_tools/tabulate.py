"""``tabulate``: the modules of a model as a table of shapes, sizes and costs, without computing anything.

It calls the model once with shapes, to note what each module takes and returns, and asks XLA what single modules cost.
For the structure alone a model prints itself.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from brainstate_graph import graphdef, nodes, states
from brainstate_graph.extend import describe, dotted, put_field, read_values
from brainstate_transform import eval_shape, jit

from .._core.module import Module
from .._core.paths import Path, defined, first_paths
from .._layers.stack import Stack
from .._models.intercept import intercepted

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["tabulate"]


def tabulate(
    model: Module, /, *inputs: Any, depth: int | None = None, console: Console | None = None, **kwargs: Any
) -> str:
    """Return a table of a model: what each module takes and returns, the size of its states, and its cost.

    The model is called with shapes only: nothing is computed, and no state changes. A row stands for a module and all
    below it; a state that several modules hold is counted where it is met first.

    FLOPs are what XLA estimates of the program as it is before it is optimised. XLA counts a loop as one step, which
    ``>`` tells. ``-`` is what is not known, and stands for a module that is not called.

    Args:
        model: The model.
        *inputs: What it is called with: arrays, of which only shapes and dtypes count, or ``jax.ShapeDtypeStruct``.
        depth: How many levels of modules to show below the model; None for all.
        console: A rich Console that decides on width and colours; None for plain text as wide as the terminal.
        **kwargs: What the model is called with by name.

    Returns:
        The table as text.

    Example:
        >>> import jax.numpy as jnp
        >>> from rich.console import Console
        >>> from brainstate_nn import Linear, Sequential, relu, tabulate
        >>> net = Sequential(Linear(2, 8), relu, Linear(8, 1))
        >>> print(tabulate(net, jnp.ones((5, 2)), console=Console(width=80)))
        module              inputs    outputs   states    bytes  FLOPs
        ───────────────────────────────────────────────────────────────
        Sequential          f32[5,2]  f32[5,1]  Param 33  132 B    325
          layers.0: Linear  f32[5,2]  f32[5,8]  Param 24   96 B    200
          layers.2: Linear  f32[5,8]  f32[5,1]  Param 9    36 B     85
    """
    modules: dict[Path, Module] = dict(defined(model, Module))
    first_of: dict[Any, Path] = first_paths(model)
    calls: list[list[_Call]] = [[] for _ in modules]

    def note(number: int, run: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        out = run(*args, **kwargs)
        calls[number].append(_Call(*jax.tree.map(_shape_of, (args, kwargs, out))))
        return out

    with intercepted(modules.values(), note):
        eval_shape(model, *inputs, **kwargs)
    sizes = [
        (first_of.get(path) or path, type(state).__name__, *_size(state.value)) for path, state in states(model).items()
    ]
    rows = []
    with _single_layers(modules) as layers:
        costs = _Costs()
        for (path, level, name), called in zip(_levels(list(modules)), calls, strict=True):
            if depth is None or level <= depth:
                module, repeats = layers[path]
                shown = dict.fromkeys((call.inputs(), describe(call.out)) for call in called)
                times = len(called) * repeats
                rows.append(
                    _Row(
                        level,
                        name,
                        type(module).__name__ + f" x{times}" * (times > 1),
                        "\n".join(taken for taken, _ in shown) or "-",
                        "\n".join(returned for _, returned in shown) or "-",
                        *_total([size for size in sizes if size[0][: len(path)] == path]),
                        costs.of(module, called, repeats),
                    )
                )
    return _rendered(rows, console)


class _Row(NamedTuple):
    """One row of the table, its columns as text."""

    level: int
    name: str
    kind: str
    inputs: str
    outputs: str
    states: str
    size: str
    flops: str

    def cells(self, narrow: bool) -> tuple[str, ...]:
        """Return the columns; in a narrow table the class is below the name, and outputs are below inputs."""
        indent = "  " * self.level
        between = f":\n{indent}  " if narrow else ": "
        first = f"{indent}{self.name}{between * bool(self.name)}{self.kind}"
        if not narrow:
            return first, *self[3:]
        returned = "" if self.outputs == "-" else "-> " + self.outputs.replace("\n", "\n-> ")
        return first, f"{self.inputs}\n{returned}".rstrip(), *self[5:]


class _Call(NamedTuple):
    """One call of a module: its arguments and its result, as shapes."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any

    def inputs(self) -> str:
        given = [*((None, arg) for arg in self.args), *self.kwargs.items()]
        return "\n".join(f"{name}={describe(arg)}" if name else describe(arg) for name, arg in given if _has_shape(arg))


@contextmanager
def _single_layers(modules: dict[Path, Module]) -> Generator[dict[Path, tuple[Module, int]]]:
    """Yield for each module one that can be called by itself, and how often it runs where it is called once.

    What is below a Stack has the states of all layers, so parts of a single layer take its place. In the block no Stack
    is a loop, so that all layers are counted.
    """
    found = {path: (module, 1) for path, module in modules.items()}
    loops: list[tuple[Stack, int]] = []
    try:
        for path in modules:
            stack, repeats = found[path]
            if isinstance(stack, Stack):
                loops.append((stack, stack.unroll))
                # Unrolled, so that XLA counts every layer; it counts a loop once.
                put_field(stack, "unroll", stack.n)
                for inner, part in nodes(eval_shape(partial(stack.__getitem__, 0)), Module).items():
                    below = (*path, "layers", *inner)
                    found.update({below: (part, repeats * stack.n)} if below in found else {})
        yield found
    finally:
        for stack, unroll in loops:
            put_field(stack, "unroll", unroll)


def _has_shape(tree: Any) -> bool:
    return any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree))


def _shape_of(leaf: Any) -> Any:
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) if isinstance(leaf, jax.Array) else leaf


def _levels(paths: list[Path]) -> list[tuple[Path, int, str]]:
    """Return for each path of a module how many modules are above it, and its name below the nearest of them."""
    found: list[tuple[Path, int, str]] = []
    above: list[Path] = []
    for path in paths:
        while above and path[: len(above[-1])] != above[-1]:
            above.pop()
        found.append((path, len(above), dotted(path[len(above[-1]) :]) if above else ""))
        above.append(path)
    return found


def _size(value: Any) -> tuple[int, int]:
    """Return how many numbers a value has, and their bytes."""
    leaves = [leaf for leaf in jax.tree.leaves(value) if hasattr(leaf, "dtype")]
    counts = [int(np.prod(leaf.shape)) for leaf in leaves]
    return sum(counts), sum(count * leaf.dtype.itemsize for count, leaf in zip(counts, leaves, strict=True))


def _total(sizes: list[tuple[Path, str, int, int]]) -> tuple[str, str]:
    """Spell how many numbers there are of each kind of state, and their bytes; parameters first."""
    kinds = sorted(dict.fromkeys(kind for _, kind, _, _ in sizes), key=lambda kind: kind != "ParamState")
    totals = [[sum(part) for part in zip(*[s[2:] for s in sizes if s[1] == kind], strict=True)] for kind in kinds]
    counts = [f"{kind.removesuffix('State')} {count:,}" for kind, (count, _) in zip(kinds, totals, strict=True)]
    return "\n".join(counts), "\n".join(_short(size, "B") for _, size in totals)


def _short(number: float, unit: str = "") -> str:
    """Spell a number with three digits: ``1.23 M``."""
    power = 0
    while number >= 999.5 and power < 6:
        number, power = number / 1000, power + 1
    digits = 0 if number >= 99.95 or not power else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f} {('', 'k', 'M', 'G', 'T', 'P', 'E')[power]}{unit}".rstrip()


class _Costs:
    """The costs of calls; modules of equal structure that are called with equal shapes are compiled once."""

    def __init__(self) -> None:
        self._found: dict[Hashable, tuple[float, bool] | None] = {}

    def of(self, module: Module, called: list[_Call], repeats: int) -> str:
        parts = [self._cost_of(module, call) for call in called]
        found = [part for part in parts if part is not None]
        if not parts or len(found) < len(parts):
            return "-"
        return ">" * any(loops for _, loops in found) + _short(repeats * sum(flops for flops, _ in found))

    def _cost_of(self, module: Module, call: _Call) -> tuple[float, bool] | None:
        values = read_values(states(module).values(), record=False)
        leaves, treedef = jax.tree.flatten((call.args, call.kwargs))
        arrays = [leaf for leaf in leaves if isinstance(leaf, jax.ShapeDtypeStruct)]

        def run(*arrays: Any) -> Any:
            given = iter(arrays)
            filled = [next(given) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf for leaf in leaves]
            args, kwargs = jax.tree.unflatten(treedef, filled)
            return module(*args, **kwargs)

        # Equal structure and equal shapes make one program, as with the blocks of a deep model.
        key = graphdef(module), describe(values), treedef, tuple(map(repr, leaves))
        if key not in self._found:
            try:
                lowered = jit(run).lower(*arrays)
                cost = lowered.cost_analysis()
                loops = "stablehlo.while" in lowered.as_text()
                self._found[key] = None if cost is None else (cost.get("flops", 0.0), loops)
            # A table without one cost is better than none.
            except Exception:
                self._found[key] = None
        return self._found[key]


def _rendered(rows: list[_Row], console: Console | None) -> str:
    from rich import box
    from rich.console import Console as RichConsole
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

    if console is None:
        console = RichConsole(file=io.StringIO(), color_system=None)
    # The wide table if there is room for it, else the narrow one.
    for narrow in (False, True):
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
        for name in ("module", *(["inputs -> outputs"] if narrow else ["inputs", "outputs"]), "states"):
            table.add_column(name, overflow="fold")
        table.add_column("bytes", justify="right", no_wrap=True)
        table.add_column("FLOPs", justify="right", no_wrap=True)
        for row in rows:
            table.add_row(*map(Text, row.cells(narrow)))
        if Measurement.get(console, console.options.update(width=10_000), table).maximum <= console.width:
            break
    with console.capture() as captured:
        console.print(table)
    lines = [line.rstrip() for line in captured.get().strip("\n").splitlines()]
    if any(row.flops.startswith(">") for row in rows):
        lines.append("> a loop is counted as one step")
    return "\n".join(lines)
