"""``perturb`` and ``perturbed``: gradients by what is computed inside a model.

Something is added to a value, and a derivative by that, at zero, is one by the value. `capture` shows the values, and
in which form the perturbations are given.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from brainstate_graph.extend import describe

from .._core.module import Module
from .capture import noted_as
from .recorder import recorded_call

__all__ = ["perturb", "perturbed"]

T = TypeVar("T")


def perturb(module: Module, name: str, value: T) -> T:
    """Return a value to which `perturbed` adds; a `capture` of the module returns it too, as what it sows.

    Args:
        module: The module whose method computes it.
        name: Its name, which no attribute of the module has.
        value: A pytree of arrays.

    Raises:
        ValueError: The module has an attribute of this name.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Module, perturb, perturbed
        >>> from brainstate_transform import grad
        >>> class Net(Module):
        ...     def __call__(self, x):
        ...         return perturb(self, "square", x**2) ** 2
        >>> {name: float(g) for name, g in grad(perturbed(Net()))({"square": 0.0}, jnp.array(3.0)).items()}
        {'square': 18.0}
    """
    noted = noted_as(module, name)
    if noted is None:
        return value
    recorder, path = noted
    return recorder.collector.give(path, value)


def perturbed(node: Any, /, *, call: Callable[..., Any] | None = None) -> Callable[..., Any]:
    """Return a function that calls a model, and adds to what modules in it return and `perturb`.

    Its first argument is a dict of perturbations as `capture` returns it: from a dotted path to an array or pytree, or
    to a list of these where a module is called several times. A value that is not in it stays the same. So the gradient
    by the first argument, at zeros, is the gradient by the values inside.

    Args:
        node: The model, or a container of modules.
        call: What is called in place of the model, such as a loss that uses it.

    Returns:
        A function of the perturbations and the arguments of the model, with the result of the model.

    Raises:
        TypeError: The perturbations are not a dict, when it is called.
        ValueError: A name or shape is not that of a value, or a list is too long or short, when it is called.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import Linear, Sequential, capture, perturbed, relu
        >>> from brainstate_transform import grad
        >>> net = Sequential(Linear(2, 8), relu, Linear(8, 1))
        >>> def loss(x):
        ...     return net(x).sum()
        >>> _, inner = capture(net, "layers.0", call=loss)(jnp.ones((5, 2)))
        >>> grads = grad(perturbed(net, call=loss))(jax.tree.map(jnp.zeros_like, inner), jnp.ones((5, 2)))
        >>> {path: g.shape for path, g in grads.items()}
        {'layers.0': (5, 8)}
    """
    run = node if call is None else call
    recorded = recorded_call(node, ..., run)

    def perturbing(perturbations: Mapping[str, Any], /, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(perturbations, Mapping):
            raise TypeError(
                f"a function of `perturbed` takes a dict of perturbations first, not {describe(perturbations)}: write "
                "`perturbed(model)({'layers.0': zeros}, x)`, with the names and shapes that `capture(model)(x)` returns"
            )
        added = {name: each if isinstance(each, list) else [each] for name, each in perturbations.items()}
        out, recorder = recorded(added, args, kwargs)
        given = recorder.collector.given
        for name, each in added.items():
            if name not in given:
                names = ", ".join(sorted(given)) or "nothing"
                raise ValueError(f"there is no value {name!r} to add to: {type(node).__name__} computes {names}")
            if len(given[name]) != len(each):
                raise ValueError(
                    f"{name!r} is computed {len(given[name])} times, but {len(each)} perturbations are given: write a "
                    "list of one for each time"
                )
        return out

    functools.update_wrapper(perturbing, run, updated=())
    return perturbing
