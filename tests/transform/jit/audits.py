"""What the tests of audits share: a program that is audited and one that is not, to the last bit."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from brainstate_transform import jit


def bits(tree: Any) -> Any:
    """The bits of all arrays in a tree, and its structure."""
    leaves, structure = jax.tree.flatten(tree)
    leaves = [jax.random.key_data(x) if jnp.issubdtype(jnp.result_type(x), jax.dtypes.prng_key) else x for x in leaves]
    return [(x.dtype, x.shape, x.tobytes()) for x in map(np.asarray, leaves)], str(structure)


def no_alarm(program: Callable[..., Any]) -> None:
    """Run a program four times with audits and without, and compare results, states and counted traces.

    Args:
        program: Makes a function of a number with the `jit` that it is given.
    """

    def run(audit: bool) -> tuple[Any, list[int]]:
        functions: list[Any] = []

        def compiled(fun: Any = None, **options: Any) -> Any:
            if fun is None:
                return functools.partial(compiled, **options)
            functions.append(jit(fun, audit=audit, **options))
            return functions[-1]

        call = program(compiled)
        results = [call(number) for number in range(1, 6)]
        return bits(results), [f.explain().traces for f in functions]

    (audited, counted), (plain, expected) = run(True), run(False)
    assert audited == plain
    assert counted == expected  # an audit stands in no log
