"""``raster_plot`` and ``trace_plot``: spikes and variables over time, drawn by matplotlib, which is imported then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .._core.arguments import as_positive

__all__ = ["raster_plot", "trace_plot"]


def raster_plot(spikes: Any, *, dt: float = 1.0, axes: Any = None) -> Any:
    """Draw a mark for each spike: time to the right, neurons upward.

    Args:
        spikes: An array of shape ``(time, *neurons)``, of one example; what is not 0 is a spike.
        dt: The time of one step.
        axes: The Axes of matplotlib to draw into; None for those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: `spikes` has no axis of neurons.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import raster_plot
        >>> axes = raster_plot(jnp.eye(5), dt=0.1)
        >>> axes.get_xlabel(), axes.get_ylabel()
        ('time', 'neuron')
    """
    spikes, dt = np.asarray(spikes), as_positive("dt", dt)
    if spikes.ndim < 2:
        raise ValueError(f"spikes must have the axes (time, *neurons), not the shape {spikes.shape}")
    when, which = np.nonzero(spikes.reshape(len(spikes), -1))
    axes = _axes(axes)
    axes.plot(when * dt, which, "|", color="black", markersize=3)
    axes.set(xlabel="time", ylabel="neuron", xlim=(0, len(spikes) * dt))
    return axes


def trace_plot(values: Any, *, dt: float = 1.0, axes: Any = None) -> Any:
    """Draw variables over time, a line for each.

    Args:
        values: An array of shape ``(time, *neurons)``, of one example, or a dict of them by name, as `recorded` makes.
        dt: The time of one step.
        axes: The Axes of matplotlib to draw into; None for those of a new figure.

    Returns:
        The Axes.

    Raises:
        ValueError: An array has no axis of time.

    Example:
        >>> import jax.numpy as jnp
        >>> from brainstate_nn import trace_plot
        >>> axes = trace_plot({"v": jnp.linspace(0.0, 1.0, 10)}, dt=0.1)
        >>> len(axes.lines)
        1
    """
    dt = as_positive("dt", dt)
    named = values if isinstance(values, Mapping) else {"": values}
    arrays = {name: np.asarray(array) for name, array in named.items()}
    for name, array in arrays.items():
        if array.ndim < 1:
            raise ValueError(
                f"values{f' of {name}' if name else ''} must have the axes (time, *neurons), not be a single number"
            )
    axes = _axes(axes)
    for name, array in arrays.items():
        for line in axes.plot(dt * np.arange(len(array)), array.reshape(len(array), -1))[:1]:
            line.set_label(name or None)
    axes.set(xlabel="time")
    if any(arrays):
        axes.legend()
    return axes


def _axes(axes: Any) -> Any:
    if axes is not None:
        return axes
    try:
        # It is no dependency, and takes a second to import.
        from matplotlib.figure import Figure
    except ImportError:
        raise ImportError("drawing needs matplotlib: write `pip install matplotlib`") from None
    # Of no window and no global list of figures, which would keep it.
    return Figure(figsize=(7, 4), layout="constrained").subplots()
