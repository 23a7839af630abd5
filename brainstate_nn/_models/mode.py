"""``mode``: training or evaluation for a block of code, and back; for good, see `Module.train` and `Module.eval`."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from brainstate_graph import nodes
from brainstate_graph.extend import ABSENT, fields_of, put_fields

from .._core.module import Module, switch

__all__ = ["mode"]


@contextmanager
def mode(node: Any, /, *, training: bool) -> Generator[None]:
    """Switch modules to training or evaluation for a block; afterwards each has the mode that it had before.

    Inside a compiled function the block is traced in its mode, so that one program may use both. That is also how a
    whole model is called in another mode than its own.

    Args:
        node: A module, for itself and all below it, or a container of modules.
        training: Whether they behave as in training.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Dropout, mode
        >>> drop = Dropout(0.5)
        >>> with mode(drop, training=False):
        ...     print(drop.training, float(drop(jnp.ones(100)).sum()))
        False 100.0
        >>> drop.training
        True
    """
    modules = list(nodes(node, Module).values())
    before = [fields_of(module).get("training", ABSENT) for module in modules]
    try:
        switch(modules, training)
        yield
    finally:
        # Back to what it was: with its own attribute or without, which are different structures.
        put_fields([(module, "training", flag) for module, flag in zip(modules, before, strict=True)])
