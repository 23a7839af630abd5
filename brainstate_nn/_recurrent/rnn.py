"""``RNN`` and ``Bidirectional``: run a cell over time, and two of them from both ends.

They use the pure face of a cell, in one `scan`, and leave its hidden states alone. They are for whole sequences that
are at hand; a model that is fed step by step calls the cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph.extend import describe, locate
from brainstate_transform import scan

from .._core.arguments import as_size
from .._core.inputs import as_indices, as_input
from .._core.module import Module
from .._core.sharded import mask_like, resharded
from .chain import first_carry, held, is_cell, num_feature_axes, refuse_hidden_cells, step

__all__ = ["RNN", "Bidirectional"]


class RNN(Module):
    """Runs a cell along the time axis of its input, by its pure face: hidden states of the cell are not touched.

    With `lengths`, each sequence ends after its own number of steps: its carry stays what it is there, its outputs
    behind are zero, and what the input holds behind has no influence, be it NaN. (In flax.nnx the outputs behind the
    end go on.) In reverse, each sequence starts at its own end.

    Several cells one after another in each step are a `Sequential` of them. Other layers between them are called in
    each step: a Dropout draws a mask for each, as between the layers of torch. The carry is then a tuple with one for
    each cell.

    Args:
        cell: A `RecurrentCell`, or another module with ``step(carry, x) -> (carry, y)`` and
            ``initial_carry(batch_shape)``, or a `Sequential` with such cells.
        reverse: Whether to go from the last step to the first.
        keep_order: In reverse, whether each output is at the place of its input; otherwise outputs are in the order of
            computation.
        time_major: Whether the time axis is the first one, and not the last of those in front of the features.
        unroll: How many steps of the loop are compiled as one, as in ``jax.lax.scan``.

    Raises:
        TypeError: `cell` is not a cell, or a layer of a `Sequential` hides one inside.
        ValueError: `unroll` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import GRUCell, RNN
        >>> rnn = RNN(GRUCell(2, 3))
        >>> x = jnp.ones((4, 10, 2))
        >>> rnn(x).shape
        (4, 10, 3)
        >>> carry, y = rnn(x, lengths=jnp.array([10, 3, 1, 0]), return_carry=True)
        >>> carry.shape, float(abs(y[1, 3:]).max())
        ((4, 3), 0.0)
        >>> from brainstate_nn import Dropout, Sequential
        >>> RNN(Sequential(GRUCell(2, 3), Dropout(0.1), GRUCell(3, 5)))(x).shape
        (4, 10, 5)
    """

    def __init__(
        self, cell: Any, *, reverse: bool = False, keep_order: bool = True, time_major: bool = False, unroll: int = 1
    ) -> None:
        if not is_cell(cell):
            raise TypeError(
                f"cell must be a module with `step` and `initial_carry`, such as GRUCell(2, 3), not {_kind_of(cell)}"
            )
        refuse_hidden_cells(cell)
        self.cell: Any = cell
        self.reverse = bool(reverse)
        self.keep_order = bool(keep_order)
        self.time_major = bool(time_major)
        self.unroll = as_size("unroll", unroll)

    def __call__(
        self, x: jax.Array, *, initial_carry: Any = None, lengths: jax.Array | None = None, return_carry: bool = False
    ) -> Any:
        """Run the cell over a sequence, or over each of a batch.

        Args:
            x: An array of shape ``(*batch, time, features)``, or ``(time, *batch, features)`` if `time_major`.
            initial_carry: The carry to start from; None for the one that the cell makes.
            lengths: Whole numbers of shape ``batch``: how many steps each sequence has; None for all of them.
            return_carry: Whether to return the last carry too.

        Returns:
            The outputs, with the time axis where that of `x` is; with `return_carry` a pair ``(carry, outputs)``.

        Raises:
            ValueError: `lengths` has another shape than the batch.
        """
        features = num_feature_axes(self.cell)
        x = as_input(x, self, rank=1 + features)
        time = 0 if self.time_major else x.ndim - features - 1
        xs = jnp.moveaxis(x, time, 0)
        batch = xs.shape[1 : xs.ndim - features]
        carry = self._first_carry(xs, batch) if initial_carry is None else initial_carry
        order = None
        if lengths is None:
            carry, ys = scan(self._step, carry, xs, reverse=self.reverse, unroll=self.unroll)
        else:
            lengths = self._as_lengths(lengths, batch)[None]
            steps = jnp.arange(len(xs)).reshape(-1, *[1] * len(batch))
            within = steps < lengths
            # Step t of a sequence of n is step n - 1 - t in reverse; the steps behind its end stay where they are.
            order = jnp.where(within, jnp.minimum(lengths, len(xs)) - 1 - steps, steps)
            carry, ys = scan(self._masked_step, carry, (xs, within), reverse=self.reverse, unroll=self.unroll)
        if self.reverse and not self.keep_order:
            ys = jax.tree.map(lambda y: _in_order(y, order), ys)
        if not self.time_major:
            ys = jax.tree.map(lambda y: jnp.moveaxis(y, 0, len(batch)), ys)
        return (carry, ys) if return_carry else ys

    def _first_carry(self, xs: jax.Array, batch: tuple[int, ...]) -> Any:
        """In a loop over an explicit mesh the carry must lie as the batch does from the first step on."""
        spec = jax.P(*jax.typeof(xs).sharding.spec[1 : 1 + len(batch)])
        carry = first_carry(self.cell, batch)
        return (
            jax.tree.map(lambda part: resharded(part, spec, xs) if jnp.ndim(part) else part, carry)
            if any(spec)
            else carry
        )

    def _as_lengths(self, lengths: Any, batch: tuple[int, ...]) -> jax.Array:
        lengths = as_indices(lengths, self, "lengths")
        if lengths.shape != batch:
            raise ValueError(
                f"{locate(self)} needs one number in `lengths` for each sequence, an array of shape {batch}, not "
                f"{describe(lengths)}"
            )
        return lengths

    def _step(self, carry: Any, x: jax.Array) -> tuple[Any, Any]:
        return step(self.cell, carry, x)

    def _masked_step(self, carry: Any, inputs: tuple[jax.Array, jax.Array]) -> tuple[Any, Any]:
        x, within = inputs
        # The input is masked too, and not only the results: the derivative at an input that is NaN is NaN, whatever
        # result is chosen.
        after, y = step(self.cell, carry, _where(within, x, jnp.zeros_like(x)))

        def chosen(new: Any, old: Any) -> Any:
            # What goes on for all sequences alike, as the position of a Delay; `hold` has put the rest in step with it.
            if new is old:
                return new
            if jnp.shape(old)[: within.ndim] != within.shape:
                raise ValueError(
                    f"{locate(self)} cannot stop single sequences: the carry of {type(self.cell).__name__} has a part "
                    "without the batch axes. Leave out `lengths`, or define `hold(before, after)` in the cell"
                )
            return _where(within, new, old)

        kept = jax.tree.map(chosen, after, held(self.cell, carry, after))
        return kept, jax.tree.map(lambda part: _where(within, part, jnp.zeros_like(part)), y)


class Bidirectional(Module):
    """Runs one cell forward and another one backward over the same input, and merges their outputs step by step.

    Args:
        forward: The cell that reads from the first step to the last, or an `RNN` that does.
        backward: The cell that reads from the last step to the first, or an `RNN` with `reverse`.
        merge: A function of both outputs; None concatenates them along the last axis.
        time_major: As for `RNN`.
        unroll: As for `RNN`.

    Attributes:
        forward: The `RNN` with the first cell.
        backward: The `RNN` with the second.

    Raises:
        TypeError: One is not a cell, or `merge` is not a function.
        ValueError: An `RNN` that is given goes in the wrong direction, or has its time axis elsewhere.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Bidirectional, GRUCell
        >>> both = Bidirectional(GRUCell(2, 3), GRUCell(2, 5))
        >>> both(jnp.ones((4, 10, 2))).shape
        (4, 10, 8)
    """

    def __init__(
        self,
        forward: Any,
        backward: Any,
        *,
        merge: Callable[[Any, Any], Any] | None = None,
        time_major: bool = False,
        unroll: int = 1,
    ) -> None:
        if merge is not None and not callable(merge):
            raise TypeError(f"merge must be a function of two arrays, such as jnp.add, or None, not {merge!r}")
        self.forward = _runner("forward", forward, reverse=False, time_major=time_major, unroll=unroll)
        self.backward = _runner("backward", backward, reverse=True, time_major=time_major, unroll=unroll)
        self.merge = merge

    def __call__(
        self,
        x: jax.Array,
        *,
        initial_carry: tuple[Any, Any] | None = None,
        lengths: jax.Array | None = None,
        return_carry: bool = False,
    ) -> Any:
        """Run both cells.

        Args:
            x: An array of shape ``(*batch, time, features)``, or ``(time, *batch, features)`` if `time_major`.
            initial_carry: A pair of carries to start from, forward and backward.
            lengths: Whole numbers of shape ``batch``: how many steps each sequence has; None for all of them.
            return_carry: Whether to return the pair of last carries too.

        Returns:
            The merged outputs; with `return_carry` a pair ``(carries, outputs)``.
        """
        starts = (None, None) if initial_carry is None else initial_carry
        (ahead, one), (back, two) = (
            rnn(x, initial_carry=start, lengths=lengths, return_carry=True)
            for rnn, start in zip((self.forward, self.backward), starts, strict=True)
        )
        y = jnp.concatenate([one, two], axis=-1) if self.merge is None else self.merge(one, two)
        return ((ahead, back), y) if return_carry else y


def _runner(argument: str, cell: Any, *, reverse: bool, time_major: bool, unroll: int) -> RNN:
    if not isinstance(cell, RNN):
        return RNN(cell, reverse=reverse, time_major=time_major, unroll=unroll)
    want = {"reverse": reverse, "keep_order": True, "time_major": time_major}
    if {name: getattr(cell, name) for name in want} != want:
        raise ValueError(f"{argument} must be a cell, or an RNN with {want}")
    return cell


def _kind_of(cell: Any) -> str:
    return f"the class {cell.__name__}" if isinstance(cell, type) else type(cell).__name__


def _where(mask: jax.Array, one: jax.Array, other: jax.Array) -> jax.Array:
    """Choose by a mask over the first axes."""
    mask = mask.reshape(*mask.shape, *[1] * (one.ndim - mask.ndim))
    return jnp.where(mask_like(mask, one), one, other)


def _in_order(y: jax.Array, order: jax.Array | None) -> jax.Array:
    """Turn outputs around along the first axis; `order` has the index of each step of each sequence."""
    if order is None:
        return jnp.flip(y, axis=0)
    return jnp.take_along_axis(y, order.reshape(*order.shape, *[1] * (y.ndim - order.ndim)), axis=0)
