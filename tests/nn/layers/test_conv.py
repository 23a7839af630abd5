from __future__ import annotations

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings

import brainstate_nn as nn
from tests.nn.oracle import assert_same, by_text, give_parameters, sample
from tests.tables import each, pairs

SPATIAL = {1: (9,), 2: (8, 7), 3: (5, 6, 4)}
CLASSES = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def pair(rank, kernel, *, stride=1, padding="SAME", dilation=1, groups=1, use_bias=True):
    ours = CLASSES[rank](
        4,
        6,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        use_bias=use_bias,
        b_init=jax.nn.initializers.normal(1.0),
        rng=nn.RandomState(0),
    )
    theirs = nnx.Conv(
        4,
        6,
        (kernel,) * rank if isinstance(kernel, int) else kernel,
        strides=stride,
        padding=padding,
        kernel_dilation=dilation,
        feature_group_count=groups,
        use_bias=use_bias,
        rngs=nnx.Rngs(0),
    )
    return ours, theirs


@pairs(
    rank=by_text([1, 2, 3]),
    options=by_text(
        [
            {},
            {"use_bias": False, "padding": "VALID"},
            {"stride": 2},
            {"dilation": 2},
            {"groups": 2, "padding": 1},
            {"padding": "CIRCULAR", "stride": 2},
            {"padding": "REFLECT"},
        ]
    ),
)
def test_is_that_of_nnx(rank, options):
    ours, theirs = pair(rank, 3, **options)
    assert_same(ours, theirs, sample(2, *SPATIAL[rank], 4))


@each(
    "options",
    [
        {"kernel": (2, 3), "stride": (1, 2)},
        {"kernel": (3, 2), "padding": ((0, 1), (2, 1))},
        {"kernel": (3, 3), "padding": (0, 2)},
        {"kernel": (2, 4), "padding": "CIRCULAR", "dilation": (2, 1)},
        {"kernel": (1, 1), "groups": 2, "stride": 3},
    ],
    ids=str,
)
def test_one_number_per_axis(options):
    ours, theirs = pair(2, **options)
    assert_same(ours, theirs, sample(2, 8, 7, 4))


@pytest.mark.parametrize("dilation", [1, 2])
def test_causal_padding_sees_no_future(dilation):
    ours, theirs = pair(1, 3, padding="CAUSAL", dilation=dilation)
    assert_same(ours, theirs, sample(2, 9, 4))
    x = sample(9, 4)
    assert (ours(x)[:5] == ours(x.at[5:].set(0.0))[:5]).all()


@each("leading", [(), (2,), (2, 3), (0,), (0, 2)], ids=str)
def test_any_number_of_leading_axes(leading):
    ours, theirs = pair(2, 3)
    assert_same(ours, theirs, sample(*leading, 8, 7, 4)) if 0 not in leading else None
    assert ours(jnp.ones((*leading, 8, 7, 4))).shape == (*leading, 8, 7, 6)


@settings(max_examples=8)
@given(
    padding=st.sampled_from(["CIRCULAR", "REFLECT", "CAUSAL", "SAME", "VALID"]),
    kernel=st.integers(1, 4), stride=st.integers(1, 3), dilation=st.integers(1, 2), groups=st.sampled_from([1, 2]),
)  # fmt: skip
def test_every_padding_with_strides_dilation_and_groups_is_that_of_nnx(padding, kernel, stride, dilation, groups):
    ours, theirs = pair(1, kernel, padding=padding, stride=stride, dilation=dilation, groups=groups)
    give_parameters(ours, theirs)
    x = sample(2, 9, 4)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


def test_replicated_padding_repeats_the_border():
    layer = nn.Conv2d(4, 6, (3, 2), padding="replicate", dilation=(2, 1), rng=nn.RandomState(0))
    plain = nn.Conv2d(4, 6, (3, 2), padding="VALID", dilation=(2, 1), rng=nn.RandomState(0))
    x = sample(2, 5, 5, 4)
    want = plain(jnp.pad(x, ((0, 0), (2, 2), (0, 1), (0, 0)), "edge"))
    np.testing.assert_allclose(layer(x), want, rtol=1e-5, atol=1e-6)


def test_the_precision_reaches_the_product():
    layer = nn.Conv1d(4, 6, 3, precision="highest")
    assert "Precision.HIGHEST" in str(jax.make_jaxpr(layer)(sample(9, 4)))
    assert "Precision.HIGHEST" not in str(jax.make_jaxpr(nn.Conv1d(4, 6, 3))(sample(9, 4)))


def test_padding_same_lower_pads_more_before():
    x = jnp.zeros((4, 1)).at[0, 0].set(1.0)
    ones = jax.nn.initializers.ones
    same, lower = (nn.Conv1d(1, 1, 2, padding=p, w_init=ones)(x).ravel().tolist() for p in ("same", "same_lower"))
    assert same == [1, 0, 0, 0]
    assert lower == [1, 1, 0, 0]


def test_names_layout_and_readable_attributes():
    layer = nn.Conv(4, 6, (3, 2), stride=2, groups=2)
    assert layer.weight.value.shape == (3, 2, 2, 6)
    assert layer.bias.value.shape == (6,)
    assert (layer.kernel_size, layer.stride, layer.dilation, layer.groups) == ((3, 2), (2, 2), (1, 1), 2)


def test_half_precision_in_and_out():
    layer = nn.Conv2d(4, 6, 3, dtype=jnp.bfloat16)
    assert layer(jnp.ones((8, 8, 4))).dtype == jnp.bfloat16
    assert layer.weight.value.dtype == jnp.float32


@each(
    ("make", "text"),
    [
        (lambda: nn.Conv(4, 6, 3), r"kernel_size=3 does not say how many .* write `Conv2d\(..., 3\)`"),
        (lambda: nn.Conv2d(4, 6, (3, 3, 3)), r"kernel_size must be one number or 2 of them"),
        (lambda: nn.Conv2d(4, 6, 3, stride=0), r"stride must be a positive whole number, not 0"),
        (lambda: nn.Conv2d(4, 6, 3, stride=(1, 2, 3)), r"stride must be one number or 2 of them"),
        (lambda: nn.Conv2d(4, 6, 3, groups=3), r"groups=3 must divide in_channels=4 and out_channels=6"),
        (lambda: nn.Conv2d(4, 6, 3, padding="CAUSAL"), r"padding='CAUSAL' does not fit 2 spatial axes: give one of"),
        (lambda: nn.Conv1d(4, 6, 3, padding=(1, 2)), r"padding=\(1, 2\) does not fit 1 spatial axes"),
        (lambda: nn.Conv2d(4, 6, 3, padding="FULL"), r"padding='FULL' does not fit 2 spatial axes"),
        (lambda: nn.Conv2d(4, 6, 3, padding=((1, 2, 3), 1)), r"does not fit 2 spatial axes"),
        (lambda: nn.Conv2d(4, 6, 3, padding=-1), r"padding=-1 does not fit .* a whole number that is not negative"),
        (lambda: nn.Conv2d(4, 6, 3, padding=True), r"padding=True does not fit 2 spatial axes"),
        (lambda: nn.Conv(4, 6, "33"), r"kernel_size='33' does not say how many spatial axes there are"),
        (lambda: nn.Conv(4, 6, ()), r"kernel_size=\(\) does not say how many spatial axes there are"),
        (lambda: nn.Conv2d(4, 6, 3, dilation=None), r"dilation must be a positive whole number, not None"),
        (lambda: nn.Conv2d(4, 6, 3, precision="best"), r"precision must be one that .*, not 'best'"),
        (
            lambda: nn.Conv2d(4, 6, 3, padding="VALID")(jnp.ones((2, 8, 4))),
            r"^Conv2d has a window of \(3, 3\), which is longer than `x`, f32\[2,8,4\]$",
        ),
        (lambda: nn.Conv2d(4, 6, 3)(jnp.ones((8, 8, 3))), r"Conv2d expects 4 features along axis -1"),
        (lambda: nn.Conv2d(4, 6, 3)(jnp.ones((8, 4))), r"Conv2d needs at least 3 axes of `x`, which is"),
    ],
)
def test_errors(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@each("stride", [1, 2])
@each("padding", [((0, 0),), ((2, 1),)])  # XLA takes no names here, and so flax does not
def test_input_dilation_is_that_of_nnx(stride, padding):
    ours = nn.Conv1d(4, 6, 3, stride=stride, padding=padding, input_dilation=2, dilation=2, rng=nn.RandomState(0))
    theirs = nnx.Conv(
        4, 6, (3,), strides=stride, padding=padding, input_dilation=2, kernel_dilation=2, rngs=nnx.Rngs(0)
    )  # fmt: skip
    assert_same(ours, theirs, sample(2, 7, 4))


@each("padding", ["SAME", "SAME_LOWER", "VALID", "CAUSAL", 1])
@each("length", [7, 1, 0])
def test_input_dilation_is_a_convolution_of_an_input_with_zeros_between(padding, length):
    options = {"stride": 2, "padding": padding, "rng": nn.RandomState(0)}
    x = sample(2, length, 4)
    spread = jnp.zeros((2, max(3 * length - 2, 0), 4)).at[:, ::3].set(x)
    if padding == "VALID" and length == 1:
        return  # too short for the window, with and without zeros
    want = nn.Conv1d(4, 6, 3, **options | {"rng": nn.RandomState(0)})(spread)
    np.testing.assert_allclose(nn.Conv1d(4, 6, 3, input_dilation=3, **options)(x), want, rtol=1e-5, atol=1e-6)


@each("padding", ["CIRCULAR", "REFLECT", "REPLICATE"])
def test_input_dilation_is_refused_where_its_zeros_would_be_repeated(padding):
    told = rf"input_dilation=\(1, 2\) puts zeros .* padding='{padding}' would repeat: give \"SAME\""
    with pytest.raises(ValueError, match=told):
        nn.Conv2d(4, 6, 3, padding=padding, input_dilation=(1, 2))
