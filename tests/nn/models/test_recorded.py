from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_transform import for_loop, jit, vmap


def network():
    net = nn.Sequential(nn.Linear(2, 3, rng=nn.RandomState(0)), nn.LIF(3, refractory=2.0), nn.ExponentialSynapse(3))
    return nn.init_all_states(net)


XS = 3 * jax.random.normal(jax.random.key(0), (6, 2))


def by_hand(net):
    """The outputs, and what the states hold after each step."""
    seen = []
    for x in XS:
        y = net(x)
        seen.append((y, net.layers[1].v.value, net.layers[1].wait.value, net.layers[2].g.value))
    return [np.stack(parts) for parts in zip(*seen, strict=True)]


WANT = {"layers.1.v": 1, "layers.1.wait": 2, "layers.2.g": 3}


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ((), list(WANT)),
        (("**.v",), ["layers.1.v"]),
        (("layers.1.*",), ["layers.1.v", "layers.1.wait"]),
        ((nn.HiddenState,), list(WANT)),
    ],
)
def test_states_over_time_in_a_loop(where, names):
    want = by_hand(network())
    net = network()
    recording = nn.recorded(net, *where)
    for run in (lambda: for_loop(recording, XS), jit(lambda: for_loop(recording, XS))):
        nn.init_all_states(net)
        out, seen = run()
        np.testing.assert_allclose(out, want[0], rtol=1e-5, atol=1e-6)
        assert list(seen) == names
        for name, values in seen.items():
            np.testing.assert_allclose(values, want[WANT[name]], rtol=1e-5, atol=1e-6)


def test_results_of_modules_beside_states_and_a_method_in_place_of_the_model():
    net = network()
    (out, spikes), seen = for_loop(nn.recorded(net, "**.v", call=nn.capture(net, "layers.1")), XS)
    assert out.shape == spikes["layers.1"].shape == seen["layers.1.v"].shape == (6, 3)
    assert set(np.unique(spikes["layers.1"])) <= {0.0, 1.0}


def test_in_lanes():
    net = nn.LIF(2)
    nn.vmap_init_all_states(net, 3)
    lanes = {0: nn.HiddenState}
    out, seen = vmap(nn.recorded(net), in_states=lanes, out_states=lanes)(jnp.ones((3, 2)))
    assert out.shape == seen["v"].shape == (3, 2)


def test_what_chooses_nothing_is_told():
    net = network()
    with pytest.raises(ValueError, match="where"):
        nn.recorded(net, "**.w")(jnp.ones(2))
    assert not net.layers[1].v.value.any()


def test_states_that_the_call_makes():
    net = nn.LIF(2)

    def from_rest(xs):
        net.init_state()
        return for_loop(net, xs)

    out, seen = nn.recorded(net, "v", call=from_rest)(jnp.ones((3, 2)))
    assert out.shape == (3, 2)
    np.testing.assert_array_equal(seen["v"], net.v.value)
