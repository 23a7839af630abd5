"""``Einsum``: a product with a weight, written as an equation.

It is for products that no other layer has, such as one with a weight for each head. `LinearGeneral` contracts axes by
their numbers instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from brainstate_graph.extend import describe, locate

from .._core.arguments import as_dtype, as_precision, as_sizes
from .._core.inputs import as_input, promote
from .._core.module import Module
from .._core.parameters import Initializer, lecun_normal, make_parameter
from .._core.products import DotGeneral, as_element_type, as_function, contract
from .._core.random import Rng
from .._core.sharded import with_spec
from .._core.states import ParamState

__all__ = ["Einsum"]


class Einsum(Module):
    """The product of an input and a weight by an equation of `jnp.einsum`, plus an offset.

    Args:
        equation: As ``"btd,dhk->bthk"``: the axes of the input, those of the weight, and those of the result; each a
            letter. ``...`` in the input and the result stands for any number of further axes.
        weight_shape: The shape of `weight`.
        bias_shape: The shape of `bias`, which has the axes that the result has from the weight, in the order of the
            result; None for no bias.
        w_init: The initialiser of `weight`, a function ``(key, shape, dtype) -> array``; LeCun normal by default. It
            makes a matrix, the summed axes by all others, which is then reshaped. So its fan-in is the size of the sum.
        b_init: The initialiser of `bias`; zeros by default.
        dtype: The dtype to compute in; None for the one that JAX's promotion gives.
        param_dtype: The dtype of the parameters; float32 by default.
        precision: The precision of the product, as `jnp.einsum` takes it; None for JAX's default.
        preferred_element_type: The dtype that products are added up in, and the result has; None for `dtype`.
        dot_general: The function that computes the product, such as a quantiser's; None for `jax.lax.dot_general`.
        rng: The stream that gives the keys, or streams with `params`; None for the default one.

    Attributes:
        weight: ParamState of shape `weight_shape`.
        bias: ParamState of shape `bias_shape`, or None.

    Raises:
        ValueError: The equation is invalid, or does not fit the shapes.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Einsum
        >>> heads = Einsum("...d,dhk->...hk", (16, 2, 8), (2, 8))
        >>> heads(jnp.ones((5, 7, 16))).shape
        (5, 7, 2, 8)
        >>> heads(jnp.ones(16)).shape
        (2, 8)
    """

    def __init__(
        self,
        equation: str,
        weight_shape: int | Sequence[int],
        bias_shape: int | Sequence[int] | None = None,
        *,
        w_init: Initializer = lecun_normal,
        b_init: Initializer = jax.nn.initializers.zeros,
        dtype: Any = None,
        param_dtype: Any = jnp.float32,
        precision: Any = None,
        preferred_element_type: Any = None,
        dot_general: DotGeneral | None = None,
        rng: Rng = None,
    ) -> None:
        self.weight_shape = as_sizes("weight_shape", weight_shape)
        terms = _terms(equation, len(self.weight_shape))
        self.equation = terms.equation
        self.dtype = as_dtype(dtype)
        self.precision = as_precision(precision)
        self.preferred_element_type = as_element_type(preferred_element_type)
        self.dot_general = as_function("dot_general", dot_general)
        self.weight = make_parameter(
            "w_init", w_init, self.weight_shape, param_dtype, rng,
            contracted=[i for i, letter in enumerate(terms.weight) if letter not in terms.result],
        )  # fmt: skip
        self.bias: ParamState | None = None
        if bias_shape is not None:
            needed, given = terms.of_bias(self.weight_shape), as_sizes("bias_shape", bias_shape)
            if given != needed:
                raise ValueError(
                    f"bias_shape must be {needed}, the axes that the result of {self.equation!r} has from the weight, "
                    f"not {bias_shape!r}"
                )
            self.bias = make_parameter("b_init", b_init, needed, param_dtype, rng)

    def __call__(self, x: jax.Array, *, equation: str | None = None, out_sharding: Any = None) -> jax.Array:
        """Apply the layer.

        Args:
            x: An array with the axes that the equation names.
            equation: Another equation for this call, such as one that uses the weight transposed.
            out_sharding: The sharding of the result, a NamedSharding or PartitionSpec, where JAX cannot tell it.

        Returns:
            An array with the axes that the equation names.
        """
        try:
            terms = _terms(self.equation if equation is None else equation, len(self.weight_shape))
        except ValueError as error:
            raise ValueError(f"{locate(self)} cannot use `equation`: {error}") from None
        x = as_input(x, self)
        self._check(x, terms)
        bias = None if self.bias is None else self.bias.value
        x, weight, bias = promote(x, self.weight.value, bias, dtype=self.dtype)
        y = self._product(terms, x, weight, out_sharding)
        if bias is None:
            return y
        if bias.shape != terms.of_bias(self.weight_shape):
            raise ValueError(
                f"{locate(self)} has a bias of shape {bias.shape}, but the result of `equation` {terms.equation!r} has "
                f"axes of sizes {terms.of_bias(self.weight_shape)} from the weight"
            )
        return y + bias.astype(y.dtype).reshape(terms.beside(self.weight_shape, y.ndim))

    def _product(self, terms: _Terms, x: jax.Array, weight: jax.Array, out_sharding: Any) -> jax.Array:
        # What one operand alone has is summed first; then it is one product, as a function of the user's takes it.
        of_x, of_weight, result = terms.axes(x.ndim)
        wide = getattr(self, "preferred_element_type", None)
        if wide is not None and (set(of_x) ^ set(of_weight)) - set(result):
            x, weight = x.astype(wide), weight.astype(wide)
        x, of_x = _alone(x, of_x, {*of_weight, *result})
        weight, of_weight = _alone(weight, of_weight, {*of_x, *result})
        both = [axis for axis in of_x if axis in of_weight]
        batch, summed = ([axis for axis in both if (axis in result) is kept] for kept in (True, False))
        numbers = tuple((tuple(map(of_x.index, axes)), tuple(map(of_weight.index, axes))) for axes in (summed, batch))
        made = [*batch, *(axis for axis in [*of_x, *of_weight] if axis not in both)]
        if out_sharding is not None:
            spec = dict(zip(result, getattr(out_sharding, "spec", out_sharding), strict=False))
            out_sharding = with_spec(out_sharding, jax.P(*(spec.get(axis) for axis in made)))
        return jnp.transpose(contract(self, x, weight, numbers, out_sharding), [made.index(axis) for axis in result])

    def _check(self, x: jax.Array, terms: _Terms) -> None:
        if x.ndim != len(terms.input) and not (terms.open and x.ndim > len(terms.input)):
            raise ValueError(
                f"{locate(self)} expects {'at least ' if terms.open else ''}{len(terms.input)} axes of `x` for "
                f"{terms.equation!r}, not {describe(x)}"
            )
        sizes = dict(zip(terms.weight, self.weight_shape, strict=True))
        for letter, size in zip(terms.input, terms.of_input(x.shape), strict=True):
            if sizes.setdefault(letter, size) != size:
                raise ValueError(
                    f"{locate(self)} expects {sizes[letter]} elements along {letter!r} of `x` for {terms.equation!r}, "
                    f"not {describe(x)}"
                )


class _Terms(NamedTuple):
    """An equation taken apart.

    Attributes:
        equation: The equation without spaces.
        input: The letters of the input.
        weight: The letters of the weight.
        result: The letters of the result.
        open: Whether input and result have further axes, ``...``.
        before: How many letters are before the further axes of the input, and of the result.
    """

    equation: str
    input: str
    weight: str
    result: str
    open: bool
    before: tuple[int, int]

    def of_input(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes of the axes that have letters, given the shape of the input."""
        after = len(self.input) - self.before[0]
        return shape[: self.before[0]] + shape[len(shape) - after :]

    def axes(self, ndim: int) -> tuple[list[Any], list[Any], list[Any]]:
        """Return the axes of the input, which has so many, of the weight and of the result; further ones as numbers."""
        further = list(range(ndim - len(self.input)))
        ends = zip((self.input, self.result), self.before, strict=True)
        x, result = ([*text[:at], *further, *text[at:]] for text, at in ends)
        return x, list(self.weight), result

    def of_bias(self, weight: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sizes of the axes that the result has from the weight, in the order of the result."""
        sizes = dict(zip(self.weight, weight, strict=True))
        return tuple(sizes[letter] for letter in self.result if letter in sizes)

    def beside(self, weight: tuple[int, ...], ndim: int) -> tuple[int, ...]:
        """Return the shape of the bias with a 1 for each other axis of the result."""
        sizes = dict(zip(self.weight, weight, strict=True))
        shape = [sizes.get(letter, 1) for letter in self.result]
        shape[self.before[1] : self.before[1]] = [1] * (ndim - len(shape))
        return tuple(shape)


def _alone(array: jax.Array, axes: list[Any], wanted: set[Any]) -> tuple[jax.Array, list[Any]]:
    """Sum over the axes that are wanted nowhere else, and take the diagonal of those that have one name."""
    kept = [axis for axis in dict.fromkeys(axes) if axis in wanted]
    if kept == axes:
        return array, axes
    numbers = list(dict.fromkeys(axes))
    return jnp.einsum(array, [numbers.index(a) for a in axes], [numbers.index(a) for a in kept]), kept


def _terms(equation: str, rank: int) -> _Terms:
    """Take an equation apart, or raise with what is wrong in it."""
    pattern = r"([A-Za-z]*(?:\.\.\.)?[A-Za-z]*),([A-Za-z]+)->([A-Za-z]*(?:\.\.\.)?[A-Za-z]*)"
    found = re.fullmatch(pattern, equation.replace(" ", "")) if isinstance(equation, str) else None
    if found is None:
        raise ValueError(
            "equation must name the axes of the input, of the weight and of the result, as in "
            f'"btd,dhk->bthk" or "...d,dk->...k", not {equation!r}'
        )
    names, weight, result = (found[i].replace("...", "") for i in (1, 2, 3))
    problems: list[str] = []
    if len(weight) != rank:
        problems.append(f"names {len(weight)} axes of the weight, which has {rank}")
    if len(set(weight)) < len(weight) or len(set(result)) < len(result):
        problems.append("names an axis of the weight or of the result twice")
    if new := [letter for letter in result if letter not in names + weight]:
        problems.append(f"has {', '.join(map(repr, new))} only in the result")
    if ("..." in found[1]) != ("..." in found[3]):
        problems.append("has `...` in only one of the input and the result")
    if problems:
        raise ValueError(f"equation {equation!r} " + ", and ".join(problems))
    # Further axes stand where the dots are, among the letters.
    before = tuple(len(found[i].partition("...")[0]) for i in (1, 3))
    return _Terms(found[0], names, weight, result, "..." in found[1], before)  # type: ignore[arg-type]
