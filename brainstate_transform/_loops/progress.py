"""``ProgressBar``: a bar on the terminal that moves while a compiled loop runs.

*ProgressBar*: what the user wants, compared by value.  *Bar*: the bar of one loop, with its number of steps; it counts
in the carry of the loop, and calls back into Python when it is to move.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_graph.extend import untraced

from .._engine.core import Core
from .._engine.placeholders import unseal

__all__ = ["Bar", "ProgressBar", "closing"]

_MOVES = 50  # of a bar for which nothing is said: a callback takes 0.1 to 1 ms of the loop

_open: set[Bar] = set()
_lock = threading.RLock()


class ProgressBar:
    r"""Shows how far a loop is; given to `scan`, `for_loop` and others as ``pbar=``.

    The bar is one of tqdm, so it needs ``pip install "brainstate-graph[progress]"``. It is silent where standard error
    is not a terminal, unless ``disable=False`` or ``file=`` is given. All lanes and devices share one bar.

    Args:
        freq: After how many steps to move it. By default it moves 50 times at most.
        count: How many times to move it at most, instead of `freq`.
        desc: The text in front: a string, or ``(format, fn)``. `fn` gets a dict ``{"i": ..., "carry": ..., "x": ...,
            "y": ...}`` of one step: its number, carry, input and result. It may read states, and returns a dict of
            scalars for ``format.format(**scalars)``. Under `vmap` the values are those of the first lane.
        **tqdm_options: Further options of ``tqdm.tqdm``.

    Raises:
        ImportError: tqdm is not installed.
        TypeError: An argument has the wrong type.
        ValueError: `freq` or `count` is not positive, or both are given; or, in the loop, larger than its number of
            steps.

    Example:
        >>> import io
        >>> import jax.numpy as jnp
        >>> from brainstate_transform import ProgressBar, for_loop
        >>> out = io.StringIO()
        >>> bar = ProgressBar(desc=("y = {y:.0f}", lambda step: {"y": step["y"]}), file=out, disable=False)
        >>> doubled = for_loop(lambda x: 2 * x, jnp.arange(4.0), pbar=bar)
        >>> out.getvalue().split("\r")[-1]
        'y = 6: 100%|...| 4/4 [...]\n'
    """

    def __init__(
        self,
        freq: int | None = None,
        count: int | None = None,
        desc: str | tuple[str, Callable[[dict[str, Any]], Mapping[str, Any]]] | None = None,
        **tqdm_options: Any,
    ) -> None:
        for name, number in (("freq", freq), ("count", count)):
            if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
                raise TypeError(f"{name}={number!r}: give a whole number")
            if number is not None and number <= 0:
                raise ValueError(f"{name}={number}: give a positive number")
        if freq is not None and count is not None:
            raise ValueError(f"freq={freq} and count={count} both set how often the bar moves: give one of them")
        if isinstance(desc, tuple):
            if len(desc) != 2:
                raise ValueError(f"desc has {len(desc)} entries: give a string, or a format and a function")
            if not isinstance(desc[0], str) or not callable(desc[1]):
                raise TypeError(f"desc={desc!r}: the pair is a format, such as 'loss {{loss:.3f}}', and a function")
        elif desc is not None and not isinstance(desc, str):
            raise TypeError(f"desc={desc!r}: give a string, or a format and a function")
        _tqdm()
        self.freq = freq
        self.count = count
        self.desc = desc
        self.tqdm_options = tqdm_options

    @staticmethod
    def of(given: Any) -> ProgressBar | None:
        """Return the progress bar that a user gave as ``pbar=``.

        Raises:
            TypeError: It is neither a ProgressBar nor a number of steps.
        """
        if given is None or isinstance(given, ProgressBar):
            return given
        if isinstance(given, bool) or not isinstance(given, int):
            raise TypeError(
                f"pbar={given!r}: give a ProgressBar, as in `pbar=ProgressBar()`, or after how many steps to move one"
            )
        return ProgressBar(freq=given)

    def _key(self) -> Any:
        return self.freq, self.count, self.desc, tuple(sorted(self.tqdm_options.items()))

    # By value: a loop that is called with a new, equal bar each time is compiled once.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, ProgressBar) and self._key() == other._key()

    def __hash__(self) -> int:
        try:
            return hash(self._key())
        except TypeError:
            return hash((self.freq, self.count))

    def __repr__(self) -> str:
        given = {"freq": self.freq, "count": self.count, "desc": self.desc, **self.tqdm_options}
        return f"ProgressBar({', '.join(f'{k}={v!r}' for k, v in given.items() if v is not None)})"

    def bar(self, total: int) -> Bar:
        """Return the bar of one loop of `total` steps.

        Raises:
            ValueError: `freq` or `count` is larger than that.
        """
        for name, number in (("freq", self.freq), ("count", self.count)):
            if number is not None and number > total:
                raise ValueError(f"{name}={number} of the progress bar is more than the {total} steps of the loop")
        return Bar(self, total, self.freq or -(-total // (self.count or _MOVES)))


class Bar:
    """The bar of one loop, in the program and on the terminal.

    Args:
        settings: What the user wants.
        total: The number of steps.
        freq: After how many steps it moves.
    """

    def __init__(self, settings: ProgressBar, total: int, freq: int) -> None:
        self.settings = settings
        self.total = total
        self.freq = freq
        self.shown: Any = None  # of tqdm, while it is open

        @jax.custom_batching.custom_vmap
        def call_back(done: Any, values: Any) -> Any:
            jax.debug.callback(self.move, done, values)
            return done

        @call_back.def_vmap
        def _(_: int, batched: list[Any], *args: Any) -> tuple[Any, bool]:  # one call for all lanes, about the first
            return call_back(*jax.tree.map(lambda lanes, x: x[0] if lanes else x, tuple(batched), args)), False

        self._call_back = call_back

    def watch(self, block: Callable[[Any, Any], Any], steps: int) -> Callable[[Any, Any], Any]:
        """Return a block of `steps` steps that counts them in its carry, and moves the bar when it is time."""

        def counted(counting: Any, x: Any) -> Any:
            done, carry = counting
            carry, y = block(carry, x)
            done = done + steps
            due = (done // self.freq != (done - steps) // self.freq) | (done == self.total)
            last = (x, y) if steps == 1 else jax.tree.map(lambda a: a[-1], (x, y))
            jax.lax.cond(
                due & _first_shard(), lambda: self._call_back(done, self._values(done, carry, *last)), lambda: done
            )
            return (done, carry), y

        return counted

    def _values(self, done: Any, carry: Any, x: Any, y: Any) -> dict[str, Any]:
        """What the description shows: the scalars that the user's function makes of a step."""
        desc = self.settings.desc
        if not isinstance(desc, tuple):
            return {}
        states, user_carry = carry
        overlay = Core(desc[1]).overlay()
        with overlay:
            overlay.bind(states.states, states.values)
            step = unseal({"i": done - 1, "carry": user_carry, "x": x, "y": y}, ())
            values: Any = desc[1](step)
        if not isinstance(values, Mapping):
            raise TypeError(f"the function in desc of the progress bar must return a dict, not {values!r}")
        found = {str(name): jax.lax.stop_gradient(jnp.asarray(value)) for name, value in values.items()}
        for name, value in found.items():
            if value.ndim:
                raise TypeError(f"desc of the progress bar: {name!r} has the shape {list(value.shape)}: give scalars")
        return found

    def move(self, done: Any, values: dict[str, Any]) -> None:
        """Move the bar on the terminal; called while the program runs."""
        at, desc = int(done), self.settings.desc
        with _lock:
            shown: Any = self.shown
            if shown is None or at <= shown.n:  # the loop runs for the first time, or once more
                shown = self.open()
            if isinstance(desc, tuple):
                text = desc[0].format(**{name: np.asarray(value).item() for name, value in values.items()})
                shown.set_description_str(f"{text}: ", refresh=False)
            shown.update(at - shown.n)
            shown.n = at  # one that is silent does not count
            if at == self.total:
                self.close()

    def open(self) -> Any:
        """Show it, and return it as tqdm has it."""
        self.close()
        options: dict[str, Any] = {"disable": None, **self.settings.tqdm_options}  # None: unless it is a terminal
        if isinstance(self.settings.desc, str):
            options["desc"] = self.settings.desc
        self.shown = shown = _tqdm()(total=self.total, **options)
        _open.add(self)
        return shown

    def close(self) -> None:
        """Leave it on the terminal as it is."""
        with _lock:
            if self.shown is not None:
                self.shown.close()
                self.shown = None
                _open.discard(self)


def closing(pbar: Any, loop: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Call `loop`; where nothing is traced, wait for it, and close its bars whatever happens."""
    if not untraced():
        return loop(*args)
    try:
        out = jax.block_until_ready(loop(*args))
        jax.effects_barrier()
        return out
    finally:
        with _lock:
            for bar in [bar for bar in _open if bar.settings == pbar]:
                bar.close()


def _first_shard() -> Any:
    """Whether this is the first of the shards of ``shard_map``, of which each runs the loop."""
    first: Any = True
    for name in jax.sharding.get_abstract_mesh().manual_axes:
        first = first & (jax.lax.axis_index(name) == 0)
    return first


def _tqdm() -> Any:
    try:
        from tqdm.auto import tqdm
    except ImportError:
        raise ImportError('a ProgressBar needs tqdm: `pip install "brainstate-graph[progress]"`') from None
    return tqdm
