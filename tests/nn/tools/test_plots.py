from __future__ import annotations

import sys

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import brainstate_nn as nn


def test_a_mark_for_each_spike():
    spikes = jnp.zeros((10, 2, 3)).at[4, 1, 2].set(1.0).at[9, 0, 1].set(1.0)
    (marks,) = nn.raster_plot(spikes, dt=0.5).lines
    np.testing.assert_allclose(marks.get_xydata(), [[2.0, 5], [4.5, 1]])


def test_a_line_for_each_neuron_and_a_name_for_each_variable():
    axes = Figure().subplots()
    assert nn.trace_plot({"v": jnp.ones((10, 2)), "w": np.zeros(10)}, dt=0.1, axes=axes) is axes
    assert len(axes.lines) == 3
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["v", "w"]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), 0.1 * np.arange(10))
    assert nn.trace_plot(jnp.ones(5)).get_legend() is None


def test_what_cannot_be_drawn_is_told(monkeypatch):
    with pytest.raises(ValueError, match=r"spikes must have the axes \(time, \*neurons\), not the shape \(5,\)"):
        nn.raster_plot(jnp.ones(5))
    with pytest.raises(ValueError, match="values of v must have the axes"):
        nn.trace_plot({"v": 1.0})
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="drawing needs matplotlib: write `pip install matplotlib`"):
        nn.trace_plot(jnp.ones(5))
