"""``python -m benchmarks.calls``: how many Python functions of the library one training step goes through.

The step is that of README.md: a function that closes over a Linear-ReLU-Linear model and its parameters, with
``value_and_grad`` inside, and plain SGD written to the states.  Times are noisy and differ from machine to machine.
This number does not, and it tells how much somebody reads who follows a call through the code.

What counts is the beginning of a Python function whose code is in a file of the library.  Our library is
`brainstate_graph`, `brainstate_transform` and `brainstate_nn`, with the layers of the model; a peer is the package of
its name.  JAX, NumPy, the standard library (with the methods that it generates for dataclasses), functions written in
C, and the model and the step in this file do not count.  A generator counts once, however often it goes on.  A
comprehension does not count, as only Python 3.11 runs it in a frame of its own.

The traced call is the first one of a new step over a new model; the warm call is the third.

Options: ``--top N`` (the N functions of ours that are called most, and all files), ``--tree N`` (who calls whom, as far
as N calls lie below), ``--warm`` (both for the warm call), ``--ours`` (no peers).
"""

from __future__ import annotations

import dis
import functools
import importlib
import importlib.util
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ._arena.claim import Claim, Row, Works, each
from ._arena.command import options, prepare, run
from ._arena.timing import Number, Work

__all__ = ["CLAIM", "SYSTEMS", "TARGETS", "Calls", "count", "counted"]

RATE = 0.1
WIDTHS = (4, 16, 1)

_COMPREHENSIONS = {"<listcomp>", "<dictcomp>", "<setcomp>"}
_AT_RESUME = 3  # the bits of RESUME's argument that say where a frame goes on: 0 is its beginning


# ------------------------------------------------------------------------------------------------ the counter


@dataclass(frozen=True)
class Calls:
    """The calls of one piece of code, in order.

    Attributes:
        codes: The code object of each call.
        depths: How many of the counted functions each was called from.
        folder: The folder that file names are told from.
    """

    codes: tuple[CodeType, ...]
    depths: tuple[int, ...]
    folder: Path

    @property
    def files(self) -> Counter[str]:
        """How many calls are into each file."""
        return Counter(self.name_of_file(code) for code in self.codes)

    @property
    def functions(self) -> Counter[str]:
        """How many calls are to each function."""
        return Counter(self.name_of(code) for code in self.codes)

    @property
    def switches(self) -> int:
        """How often a call is in another file than the call before it."""
        return sum(a.co_filename != b.co_filename for a, b in pairwise(self.codes))

    def __len__(self) -> int:
        return len(self.codes)

    def name_of_file(self, code: CodeType) -> str:
        file = Path(code.co_filename)
        return str(file.relative_to(self.folder) if file.is_relative_to(self.folder) else file)

    def name_of(self, code: CodeType) -> str:
        return f"{self.name_of_file(code)}:{code.co_firstlineno} {code.co_qualname}"

    def tree(self, least: int) -> Iterator[str]:
        """Yield a line for each call with at least `least` calls below it, itself included."""
        for index, (code, depth) in enumerate(zip(self.codes, self.depths, strict=True)):
            after = (n for n in range(index + 1, len(self)) if self.depths[n] <= depth)
            below = next(after, len(self)) - index
            if below >= least:
                yield f"{below:6} {'  ' * depth}{code.co_qualname}  ({self.name_of_file(code)})"


def _begins(frame: FrameType) -> bool:
    """Whether a frame starts, as against a generator that goes on."""
    code, at = frame.f_code.co_code, frame.f_lasti
    return at < 0 or dis.opname[code[at]] != "RESUME" or code[at + 1] & _AT_RESUME == 0


def count(work: Work, *packages: str) -> Calls:
    """Run `work` once and note the Python calls that it makes inside some packages, in this thread."""
    folders = tuple(str(folder_of(package)) + "/" for package in packages)
    codes: list[CodeType] = []
    depths: list[int] = []
    inside: list[FrameType] = []

    def note(frame: FrameType, event: str, arg: object) -> None:
        if event == "call":
            code = frame.f_code
            if code.co_filename.startswith(folders) and code.co_name not in _COMPREHENSIONS:
                if _begins(frame):
                    codes.append(code)
                    depths.append(len(inside))
                inside.append(frame)
        elif event == "return" and inside and inside[-1] is frame:
            inside.pop()

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return Calls(tuple(codes), tuple(depths), folder_of(packages[0]).parent)


def folder_of(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"{package} is not installed")
    return Path(spec.origin).parent


# ------------------------------------------------------------------------------------------------ the step, four times


Step = Callable[[jax.Array, jax.Array], Work]  # makes a model and a jitted step over it, whose call is one step


def _ours(x: jax.Array, y: jax.Array) -> Work:
    import brainstate_nn as nn
    from brainstate_transform import jit, value_and_grad

    class Net(nn.Module):
        def __init__(self) -> None:
            self.hidden = nn.Linear(WIDTHS[0], WIDTHS[1])
            self.out = nn.Linear(WIDTHS[1], WIDTHS[2])

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.out(nn.relu(self.hidden(x)))

    nn.seed(0)
    net = Net()
    params = net.states(nn.ParamState)

    @jit
    def step(x: jax.Array, y: jax.Array) -> jax.Array:
        loss, grads = value_and_grad(lambda: jnp.mean((net(x) - y) ** 2), params)()
        for path, param in params.items():
            param.value -= RATE * grads[path]
        return loss

    return lambda: step(x, y)


def _equinox(x: jax.Array, y: jax.Array) -> Work:
    eqx: Any = importlib.import_module("equinox")

    class Net(eqx.Module):
        hidden: eqx.nn.Linear
        out: eqx.nn.Linear

        def __init__(self, key: jax.Array) -> None:
            first, second = jax.random.split(key)
            self.hidden = eqx.nn.Linear(WIDTHS[0], WIDTHS[1], key=first)
            self.out = eqx.nn.Linear(WIDTHS[1], WIDTHS[2], key=second)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.out(jax.nn.relu(self.hidden(x)))

    def loss_of(net: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean((jax.vmap(net)(x) - y) ** 2)

    @eqx.filter_jit
    def step(net: Any, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any]:
        loss, grads = eqx.filter_value_and_grad(loss_of)(net, x, y)
        return loss, eqx.apply_updates(net, jax.tree.map(lambda g: -RATE * g, grads))

    net = Net(jax.random.key(0))

    def work() -> jax.Array:
        nonlocal net
        loss, net = step(net, x, y)
        return loss

    return work


def _nnx(x: jax.Array, y: jax.Array) -> Work:
    nnx: Any = importlib.import_module("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, rngs: Any) -> None:
            self.hidden = nnx.Linear(WIDTHS[0], WIDTHS[1], rngs=rngs)
            self.out = nnx.Linear(WIDTHS[1], WIDTHS[2], rngs=rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.out(nnx.relu(self.hidden(x)))

    def loss_of(net: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.mean((net(x) - y) ** 2)

    @nnx.jit
    def step(net: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        loss, grads = nnx.value_and_grad(loss_of)(net, x, y)
        params = nnx.state(net, nnx.Param)
        nnx.update(net, jax.tree.map(lambda p, g: p - RATE * g, params, grads))
        return loss

    net = Net(nnx.Rngs(0))
    return lambda: step(net, x, y)


def _brainstate(x: jax.Array, y: jax.Array) -> Work:
    brainstate: Any = importlib.import_module("brainstate")

    class Net(brainstate.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden = brainstate.nn.Linear(WIDTHS[0], WIDTHS[1])
            self.out = brainstate.nn.Linear(WIDTHS[1], WIDTHS[2])

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.out(brainstate.nn.relu(self.hidden(x)))

    net = Net()
    params = net.states(brainstate.ParamState)

    @brainstate.transform.jit
    def step(x: jax.Array, y: jax.Array) -> jax.Array:
        grad = brainstate.transform.grad(lambda: jnp.mean((net(x) - y) ** 2), params, return_value=True)
        grads, loss = grad()
        for path, param in params.items():
            param.value = jax.tree.map(lambda p, g: p - RATE * g, param.value, grads[path])
        return loss

    return lambda: step(x, y)


# By system, the packages whose functions count, and the step.
SYSTEMS: dict[str, tuple[tuple[str, ...], Step]] = {
    "ours": (("brainstate_graph", "brainstate_transform", "brainstate_nn"), _ours),
    "nnx": (("flax",), _nnx),
    "brainstate": (("brainstate",), _brainstate),
    "equinox": (("equinox",), _equinox),
}


_NAMES = {name: functools.partial(str, name) for name in SYSTEMS}


@functools.cache
def counted(system: str) -> tuple[Calls, Calls]:
    """Return the calls of the first call of a new step, and those of a warm one."""
    packages, make = SYSTEMS[system]
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.normal(size=(8, width)), jnp.float32) for width in (WIDTHS[0], WIDTHS[-1]))
    step = make(x, y)
    first = count(step, *packages)
    step()
    return first, count(step, *packages)


# ------------------------------------------------------------------------------------------------ the rows

# Of these, some 400 are the call itself and 250 the reading of what the step depends on, each place once.
TARGETS = {"traced": 700, "files": 50, "warm": 8}


def numbers(of: Callable[[Calls, Calls], int]) -> Works:
    return each(_NAMES, lambda name: Number(of(*counted(name))))


ROWS = (
    Row("calls when it is first traced", numbers, (lambda first, warm: len(first),), TARGETS["traced"], None, "calls"),
    Row("files that they are in", numbers, (lambda first, warm: len(first.files),), TARGETS["files"], None, "files"),
    Row("functions that are called", numbers, (lambda first, warm: len(first.functions),), None, None, "functions"),
    Row("goings from file to file", numbers, (lambda first, warm: first.switches,), None, None, "goings"),
    Row("calls when it is warm", numbers, (lambda first, warm: len(warm),), TARGETS["warm"], None, "calls"),
)
CLAIM = Claim("calls", "A training step goes through few Python functions of the library", ROWS)


def show(calls: Calls, top: int, least: int) -> None:
    """Print the functions that are called most, and who calls whom."""
    if top:
        print("\ncalls  function")
        print(*(f"{times:5}  {name}" for name, times in calls.functions.most_common(top)), sep="\n")
        print("\ncalls  file")
        print(*(f"{times:5}  {name}" for name, times in calls.files.most_common()), sep="\n")
    if least:
        print("\n below call", *calls.tree(least), sep="\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    parser = options(CLAIM, __doc__)
    parser.add_argument("--top", type=int, default=0, metavar="N", help="the N functions of ours that are called most")
    parser.add_argument("--tree", type=int, default=0, metavar="N", help="who calls whom, from N calls on")
    parser.add_argument("--warm", action="store_true", help="--top and --tree for the warm call")
    parser.add_argument("--ours", action="store_true", help="leave the peers out")
    given = parser.parse_args(argv)
    given.alone |= given.ours
    if not (given.top or given.tree):
        return run(CLAIM, given)
    prepare(CLAIM, given.platform)
    first, warm = counted("ours")
    show(warm if given.warm else first, given.top, given.tree)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
