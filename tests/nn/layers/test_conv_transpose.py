from __future__ import annotations

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import assume, given, settings

import brainstate_nn as nn
from tests.nn.oracle import assert_same, sample
from tests.tables import each

CLASSES = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
SPATIAL = {1: (5,), 2: (4, 3), 3: (3, 2, 2)}
NORMAL = jax.nn.initializers.normal(1.0)


def pair(rank, kernel, *, stride, dilation=1, padding="SAME", transpose_kernel=False):
    ours = CLASSES[rank](
        4, 6, kernel, stride=stride, dilation=dilation, padding=padding, transpose_kernel=transpose_kernel,
        b_init=NORMAL, rng=nn.RandomState(0),
    )  # fmt: skip
    theirs = nnx.ConvTranspose(
        4, 6, (kernel,) * rank, (stride,) * rank, kernel_dilation=(dilation,) * rank, padding=padding,
        transpose_kernel=transpose_kernel, rngs=nnx.Rngs(0),
    )  # fmt: skip
    return ours, theirs


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_gradients_are_those_of_nnx(rank):
    assert_same(*pair(rank, 3, stride=2, transpose_kernel=rank == 2), sample(2, *SPATIAL[rank], 4))


def check_named_padding(padding, kernel, stride, dilation, n, transpose_kernel):
    ours, theirs = pair(1, kernel, stride=stride, dilation=dilation, padding=padding, transpose_kernel=transpose_kernel)
    theirs.kernel, theirs.bias = nnx.Param(ours.weight.value), nnx.Param(ours.bias.value)
    x = sample(2, n, 4)
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


@each(
    "padding, kernel, stride, dilation, n, transpose_kernel",
    [
        ("SAME", 3, 2, 1, 4, False),
        ("SAME", 2, 3, 2, 1, True),
        ("VALID", 4, 2, 1, 2, True),
        ("VALID", 1, 3, 1, 3, False),
        ("CIRCULAR", 3, 2, 2, 3, False),
        ("CIRCULAR", 5, 1, 1, 2, True),
    ],
)
def test_named_paddings_are_those_of_nnx(padding, kernel, stride, dilation, n, transpose_kernel):
    check_named_padding(padding, kernel, stride, dilation, n, transpose_kernel)


@pytest.mark.exhaustive
@settings(max_examples=60)
@given(
    padding=st.sampled_from(["SAME", "VALID", "CIRCULAR"]), kernel=st.integers(1, 5), stride=st.integers(1, 4),
    dilation=st.integers(1, 2), n=st.integers(1, 4), transpose_kernel=st.booleans(),
)  # fmt: skip
def test_every_named_padding_is_that_of_nnx(padding, kernel, stride, dilation, n, transpose_kernel):
    check_named_padding(padding, kernel, stride, dilation, n, transpose_kernel)


def check_transpose(kernel, stride, dilation, low, high, length, groups):
    extent = dilation * (kernel - 1)
    options = {"stride": stride, "dilation": dilation, "padding": ((low, high),), "groups": groups, "use_bias": False}
    conv = nn.Conv1d(6, 4, kernel, rng=nn.RandomState(0), **options)
    y, pull = jax.vjp(conv, jnp.zeros((2, length, 6)))
    missing = (length + low + high - extent - 1) % stride  # what the strides of the convolution leave out at the end
    layer = nn.ConvTranspose1d(4, 6, kernel, output_padding=missing, transpose_kernel=True, **options)
    assert layer.weight.value.shape == conv.weight.value.shape
    layer.weight.value = conv.weight.value
    x = sample(*y.shape)
    np.testing.assert_allclose(layer(x), pull(x)[0], rtol=1e-4, atol=1e-5)
    # the length that torch documents
    assert layer(x).shape[1] == (y.shape[1] - 1) * stride - low - high + extent + missing + 1


@each(
    "kernel, stride, dilation, low, high, length, groups",
    [(3, 2, 1, 1, 1, 8, 1), (4, 3, 1, 2, 0, 9, 2), (2, 2, 2, 0, 1, 5, 2), (1, 1, 1, 0, 0, 4, 1), (3, 3, 2, 2, 2, 7, 1)],
)
def test_with_numbers_it_is_the_transpose_of_the_convolution(kernel, stride, dilation, low, high, length, groups):
    check_transpose(kernel, stride, dilation, low, high, length, groups)


@pytest.mark.exhaustive
@settings(max_examples=60)
@given(
    kernel=st.integers(1, 4), stride=st.integers(1, 3), dilation=st.integers(1, 2), low=st.integers(0, 2),
    high=st.integers(0, 2), length=st.integers(4, 9), groups=st.sampled_from([1, 2]),
)  # fmt: skip
def test_with_any_numbers_it_is_the_transpose_of_the_convolution(kernel, stride, dilation, low, high, length, groups):
    assume(length + low + high > dilation * (kernel - 1))
    check_transpose(kernel, stride, dilation, low, high, length, groups)


def test_in_two_dimensions_with_all_options():
    options = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 2), "groups": 2, "use_bias": False}
    conv = nn.Conv2d(6, 4, (3, 2), rng=nn.RandomState(0), **options)
    layer = nn.ConvTranspose2d(4, 6, (3, 2), output_padding=(1, 0), transpose_kernel=True, **options)
    layer.weight.value = conv.weight.value
    y, pull = jax.vjp(conv, jnp.zeros((1, 6, 5, 6)))
    x = sample(*y.shape)
    np.testing.assert_allclose(layer(x), pull(x)[0], rtol=1e-4, atol=1e-5)


def test_a_kernel_as_it_is_in_groups():
    whole = nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2, rng=nn.RandomState(0))
    assert whole.weight.value.shape == (3, 2, 6)
    x = sample(2, 5, 4)
    for group in range(2):
        part = nn.ConvTranspose1d(2, 3, 3, stride=2)
        part.weight.value = whole.weight.value[..., 3 * group : 3 * group + 3]
        want = part(x[..., 2 * group : 2 * group + 2])
        np.testing.assert_allclose(whole(x)[..., 3 * group : 3 * group + 3], want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(4, 2, 1), (2, 3, 1), (3, 2, 2)])
def test_causal_padding_keeps_the_first_of_the_full_result_and_sees_no_future(kernel, stride, dilation):
    options = {"stride": stride, "dilation": dilation, "rng": nn.RandomState(0)}
    causal = nn.ConvTranspose1d(4, 6, kernel, padding="CAUSAL", **options)
    full = nn.ConvTranspose1d(4, 6, kernel, padding="VALID", **options)
    full.weight.value = causal.weight.value
    x = sample(5, 4)
    np.testing.assert_allclose(causal(x), full(x)[: 5 * stride], rtol=1e-5, atol=1e-6)
    assert (causal(x)[: 3 * stride] == causal(x.at[3:].set(0.0))[: 3 * stride]).all()


@each("leading", [(), (2, 3), (0,)], ids=str)
def test_any_number_of_leading_axes(leading):
    layer = nn.ConvTranspose(4, 6, (4, 4), stride=2)
    x = sample(*leading, 3, 2, 4)
    assert layer(x).shape == (*leading, 6, 4, 6)
    if leading:
        np.testing.assert_allclose(layer(x)[-1:], layer(x[-1:]), rtol=1e-5, atol=1e-6)


def test_names_layout_and_readable_attributes():
    layer = nn.ConvTranspose(4, 6, (3, 2), stride=2, padding=1, output_padding=1)
    assert layer.weight.value.shape == (3, 2, 4, 6)
    assert (layer.kernel_size, layer.stride, layer.output_padding) == ((3, 2), (2, 2), (1, 1))
    assert nn.ConvTranspose(4, 6, (3, 2), transpose_kernel=True).weight.value.shape == (3, 2, 6, 4)
    assert not isinstance(layer, nn.Conv)


@each(
    ("make", "text"),
    [
        (lambda: nn.ConvTranspose(4, 6, 3), r"kernel_size=3 .* write `ConvTranspose2d\(..., 3\)` or"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, padding="REFLECT"), r"padding='REFLECT' does not fit .* give one of SAME"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, padding="CAUSAL"), r"padding='CAUSAL' does not fit 2 spatial axes"),
        (lambda: nn.ConvTranspose1d(4, 6, 3, groups=3), r"groups=3 must divide in_channels=4 and out_channels=6"),
        (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, padding=1, output_padding=2),
         r"output_padding must be one number or 1 of them, each less than the stride or the dilation .*, not 2"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=(1, 1, 1)), r"not \(1, 1, 1\)"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=-1), r"not -1"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=None), r"not None"),
        (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1),
         r"output_padding=1 needs numbers for padding, not 'SAME', which sets the length of the result by itself"),
        (lambda: nn.ConvTranspose1d(4, 6, 1, padding=2)(jnp.ones((1, 2, 4))),
         r"^ConvTranspose1d has a padding that cuts off the whole result for `x`, f32\[1,2,4\]: write a smaller"),
        (lambda: nn.ConvTranspose2d(4, 6, 3)(jnp.ones((8, 8, 3))), r"ConvTranspose2d expects 4 features along axis -1"),
        (lambda: nn.ConvTranspose2d(4, 6, 3)(jnp.ones((8, 4))), r"ConvTranspose2d needs at least 3 axes of `x`"),
    ],
)  # fmt: skip
def test_errors(make, text):
    with pytest.raises(ValueError, match=text):
        make()
