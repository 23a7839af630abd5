"""Layers of other frameworks that compute what ours do: for each row of a table up to four, torch by its formulas."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import flax.linen as fl
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import brainstate_nn as nn
from brainstate_transform import eval_shape, jit


class Peer(NamedTuple):
    """The same layer elsewhere.

    Attributes:
        framework: The name of the framework.
        make: ``make(ours, *inputs)`` returns its weights: what `export_weights` fills.
        call: ``call(ours, weights, *inputs)`` returns what ours returns.
    """

    framework: str
    make: Callable[..., Any]
    call: Callable[..., Any]


def linen(build: Callable[[Any], fl.Module], call: Callable[..., Any] | None = None) -> Peer:
    """A layer of linen; `call` is given it and the inputs, if they are not its arguments."""
    how: dict[str, Any] = {} if call is None else {"method": call}
    return Peer(
        "linen",
        lambda ours, *x: jax.eval_shape(lambda: build(ours).init(jax.random.key(0), *x, **how)),
        lambda ours, weights, *x: jax.jit(lambda v, *x: build(ours).apply(v, *x, **how))(weights, *x),
    )


def called(theirs: nnx.Module, call: Callable[[Any], Any]) -> Any:
    """Compile a call of a module of nnx, which the call may change."""
    shape, state = nnx.split(theirs)
    return jax.jit(lambda state: call(nnx.merge(shape, state)))(state)


def flax(
    build: Callable[..., Any], call: Callable[..., Any] = lambda theirs, *x: theirs(*x), *, abstract: bool = True
) -> Peer:
    """A layer of nnx, made by ``build(ours, rngs=)``: of shapes, unless it keeps streams that nothing fills."""

    def make(m: Any, *x: Any) -> Any:
        return nnx.eval_shape(lambda: build(m, rngs=nnx.Rngs(0))) if abstract else build(m, rngs=nnx.Rngs(0))

    return Peer("nnx", make, lambda m, t, *x: called(t, lambda t: call(t, *x)))


def equinox(
    build: Callable[..., Any],
    call: Callable[..., Any] = lambda theirs, x: jax.vmap(theirs)(x),
    *,
    abstract: bool = True,
) -> Peer:
    """A layer of equinox, made by ``build(ours, key=)``, which takes single examples."""

    def make(m: Any, *x: Any) -> Any:
        return eqx.filter_eval_shape(build, m, key=jax.random.key(0)) if abstract else build(m, key=jax.random.key(0))

    return Peer("equinox", make, lambda m, t, *x: eqx.filter_jit(call)(t, *x))


def torch(shapes: Callable[[Any], Mapping[str, Any]], formula: Callable[..., Any]) -> Peer:
    """The `state_dict` of a layer of torch by its documented shapes, and its documented formula."""

    def make(ours: Any, *x: Any) -> Any:
        dtypes = {name: np.int64 if name.endswith("batches_tracked") else np.float32 for name in shapes(ours)}
        return {name: np.full(shape, 7, dtypes[name]) for name, shape in shapes(ours).items()}

    return Peer("torch", make, lambda ours, weights, *x: formula(ours, weights, *map(np.asarray, x)))


RESULTS: dict[str, np.ndarray] = {}


class Row(NamedTuple):
    """A layer of ours, its inputs, and those that compute the same."""

    name: str
    build: Callable[[], Any]
    inputs: tuple[np.ndarray, ...]
    peers: tuple[Peer, ...]

    def result(self) -> np.ndarray:
        """What the layer returns whose weights are those of the first seed."""
        if self.name not in RESULTS:
            RESULTS[self.name] = np.asarray(apply(self.make(1), *map(jnp.asarray, self.inputs)))
        return RESULTS[self.name]

    def make(self, seed: int) -> Any:
        """Return the layer with all weights random, and variances positive."""
        return made(self.build, seed)


apply = jit(lambda layer, *inputs: layer(*inputs))  # compiled once for all layers of a structure


def made(build: Callable[[], Any], seed: int) -> Any:
    """Build a model with random weights, for evaluation, without a program for each initialiser."""
    return filled(eval_shape(lambda: build().eval()), seed)


def filled(model: Any, seed: int) -> Any:
    for number, state in enumerate(model.states((nn.ParamState, nn.BatchState)).values()):
        value = np.random.default_rng([seed, number]).normal(size=state.value.shape).astype(np.float32) / 2
        state.value = jnp.asarray(np.abs(value) + 0.1 if isinstance(state, nn.BatchState) else value)
    return model


def other(weights: Any, seed: int) -> Any:
    """A nested dictionary of arrays of the same names and shapes: those of statistics positive."""
    rng = np.random.default_rng(seed)

    def fresh(path: Any, leaf: Any) -> Any:
        value = np.asarray(rng.normal(size=leaf.shape)).astype(leaf.dtype) / 2
        positive = any(word in jax.tree_util.keystr(path[-1:]) for word in ("var", "mean"))
        return (abs(value) + 0.1 if positive else value).astype(leaf.dtype)

    return jax.tree_util.tree_map_with_path(fresh, weights)


def x(*shape: int) -> np.ndarray:
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


# ------------------------------------------------------------------------------------------------ formulas of torch


def t_linear(v: Mapping[str, Any], h: Any, name: str = "") -> Any:
    y = h @ v[f"{name}weight"].T
    return y + v[f"{name}bias"] if f"{name}bias" in v else y


def t_conv(x: Any, weight: Any, bias: Any, stride: int, padding: int, dilation: int, groups: int) -> Any:
    """`torch.nn.functional.conv2d` and its kin: (N, C, *), weight (O, I / groups, *)."""
    axes = "XYZ"[: weight.ndim - 2]
    spec = (f"NC{axes}", f"OI{axes}", f"NC{axes}")
    y = jax.lax.conv_general_dilated(
        jnp.asarray(x), jnp.asarray(weight), (stride,) * len(axes), [(padding, padding)] * len(axes),
        rhs_dilation=(dilation,) * len(axes),
        feature_group_count=groups, dimension_numbers=spec)  # fmt: skip
    return y if bias is None else np.asarray(y) + bias.reshape(-1, *[1] * len(axes))


def first(x: Any) -> Any:
    return np.moveaxis(x, -1, 1) if isinstance(x, np.ndarray) else jnp.moveaxis(x, -1, 1)


def last(x: Any) -> Any:
    return np.moveaxis(x, 1, -1) if isinstance(x, np.ndarray) else jnp.moveaxis(x, 1, -1)


def t_convolution(m: Any, v: Any, x: Any) -> Any:
    padding = m.padding[0][0]
    return last(t_conv(first(x), v["weight"], v["bias"], m.stride[0], padding, m.dilation[0], m.groups))


def t_conv_transpose(m: Any, v: Any, x: Any) -> Any:
    """By its definition: the gradient of the convolution with this weight, (I, O / groups, *), by its input."""
    x = first(x)
    length = [
        (n - 1) * m.stride[0] - 2 * m.padding[0][0] + m.dilation[0] * (k - 1) + m.output_padding[0] + 1
        for n, k in zip(x.shape[2:], m.kernel_size, strict=True)
    ]
    there = jnp.zeros((len(x), m.out_channels, *length), x.dtype)
    pull = jax.vjp(
        lambda y: t_conv(y, v["weight"], None, m.stride[0], m.padding[0][0], m.dilation[0], m.groups), there
    )[1]
    return last(np.asarray(pull(jnp.asarray(x))[0]) + v["bias"].reshape(-1, *[1] * (x.ndim - 2)))


def t_norm(v: Any, x: Any, axes: Any, epsilon: float, shape: Any = (-1,)) -> Any:
    y = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)
    return y * v["weight"].reshape(shape) + v["bias"].reshape(shape)


def t_batch_norm(m: Any, v: Any, x: Any, at: str = "") -> Any:
    w = {name: v[at + name] for name in ("weight", "bias", "running_mean", "running_var")}
    return (x - w["running_mean"]) / np.sqrt(w["running_var"] + m.epsilon) * w["weight"] + w["bias"]


def t_group_norm(m: Any, v: Any, x: Any) -> Any:
    groups = getattr(m, "num_groups", m.num_features)
    parts = np.asarray(x).reshape(len(x), -1, groups, m.num_features // groups)
    mean, var = parts.mean((1, 3), keepdims=True), parts.var((1, 3), keepdims=True)
    return ((parts - mean) / np.sqrt(var + m.epsilon)).reshape(x.shape) * v["weight"] + v["bias"]


def t_attention(m: Any, v: Any, query: Any, key: Any = None) -> Any:
    """`torch.nn.MultiheadAttention`, batch first."""
    key = query if key is None else key
    names = ("q", "k", "v")
    weights = np.split(v["in_proj_weight"], 3) if "in_proj_weight" in v else [v[f"{n}_proj_weight"] for n in names]
    biases = np.split(v["in_proj_bias"], 3) if "in_proj_bias" in v else [np.zeros(1, np.float32)] * 3
    parts = [i @ w.T + b for i, w, b in zip((query, key, key), weights, biases, strict=True)]
    q, k, values = (p.reshape(*p.shape[:2], m.num_heads, -1) for p in parts)
    scores = np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(m.head_size)
    weights = np.exp(scores - np.log(np.exp(scores).sum(-1, keepdims=True)))
    y = np.einsum("bhqk,bkhd->bqhd", weights, values)
    return t_linear(v, y.reshape(*y.shape[:2], -1), "out_proj.")


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def t_cell(m: Any, v: Any, carry: Any, x: Any, end: str = "") -> tuple[Any, Any]:
    """One step of `RNNCell`, `GRUCell` or `LSTMCell`: the new carry, and the output."""
    h = carry[0] if isinstance(m, nn.LSTMCell) else carry
    from_x, from_h = (s @ v[f"weight_{n}{end}"].T + v.get(f"bias_{n}{end}", 0.0) for s, n in ((x, "ih"), (h, "hh")))
    if isinstance(m, nn.RNNCell):
        new = np.tanh(from_x + from_h)
        return new, new
    if isinstance(m, nn.LSTMCell):
        i, f, g, o = np.split(from_x + from_h, 4, -1)
        c = sigmoid(f) * carry[1] + sigmoid(i) * np.tanh(g)
        new = sigmoid(o) * np.tanh(c)
        return (new, c), new
    (x_r, x_z, x_n), (h_r, h_z, h_n) = np.split(from_x, 3, -1), np.split(from_h, 3, -1)
    z = sigmoid(x_z + h_z)
    new = (1 - z) * np.tanh(x_n + sigmoid(x_r + h_r) * h_n) + z * h
    return new, new


def t_cell_shapes(m: Any, end: str = "") -> dict[str, tuple[int, ...]]:
    rows = m.gates * m.hidden_size
    biases = {} if m.bias is None else {f"bias_ih{end}": (rows,), f"bias_hh{end}": (rows,)}
    return {f"weight_ih{end}": (rows, m.in_size), f"weight_hh{end}": (rows, m.hidden_size), **biases}


def t_over_time(m: Any, v: Any, x: Any, end: str = "_l0") -> Any:
    carry, ys = np.zeros((2, len(x), m.hidden_size), np.float32), []
    carry = tuple(carry) if isinstance(m, nn.LSTMCell) else carry[0]
    for step in range(x.shape[1]):
        carry, y = t_cell(m, v, carry, x[:, step], end)
        ys.append(y)
    return np.stack(ys, 1)


def t_weight_normed(g: str, v: str) -> Callable[..., Any]:
    def formula(m: Any, w: Any, x: Any) -> Any:
        axes = tuple(range(1, w[v].ndim))
        weight = w[g] * w[v] / np.sqrt((w[v] ** 2).sum(axes, keepdims=True))
        return t_linear({"weight": weight, "bias": w["bias"]}, x)

    return formula


# ------------------------------------------------------------------------------------------------------------ cells


def half(m: Any, x: Any) -> Any:
    return np.full((len(x), m.hidden_size), 0.5, np.float32)


def carry_of(m: Any, x: Any) -> Any:
    return (half(m, x), half(m, x)) if isinstance(m, nn.LSTMCell) else half(m, x)


class Stepped(nn.Module):
    """One step of a cell from the middle of a sequence."""

    def __init__(self, cell: Any) -> None:
        self.cell = cell

    def __call__(self, x: Any) -> Any:
        return self.cell.step(carry_of(self.cell, x), x)[1]


def of_cell(linen_cell: Any, nnx_cell: Any, equinox_cell: Any) -> tuple[Peer, ...]:
    """The peers of `Stepped`: the cells under the name `cell`."""
    found = []
    if linen_cell is not None:

        class Holder(fl.Module):
            size: int

            def setup(self) -> None:
                self.cell = linen_cell(self.size)

            def __call__(self, carry: Any, x: Any) -> Any:
                return self.cell(carry, x)[1]

        found.append(
            Peer(
                "linen",
                lambda m, x: jax.eval_shape(Holder(m.cell.hidden_size).init, jax.random.key(0), carry_of(m.cell, x), x),
                lambda m, v, x: Holder(m.cell.hidden_size).apply(v, carry_of(m.cell, x), x),
            )
        )
    if nnx_cell is not None:

        class Kept(nnx.Module):
            def __init__(self, m: Any) -> None:
                self.cell = nnx_cell(m.cell.in_size, m.cell.hidden_size, rngs=nnx.Rngs(0))

        found.append(
            Peer(
                "nnx",
                lambda m, x: nnx.eval_shape(lambda: Kept(m)),
                lambda m, t, x: called(t, lambda t: t.cell(carry_of(m.cell, x), x)[1]),
            )
        )
    if equinox_cell is not None:

        class Box(eqx.Module):
            cell: Any

        def call(m: Any, t: Any, x: Any) -> Any:
            y = jax.jit(jax.vmap(t.cell))(x, carry_of(m.cell, x))
            return y[0] if isinstance(y, tuple) else y

        found.append(
            Peer(
                "equinox",
                lambda m, x: Box(
                    equinox_cell(
                        m.cell.in_size, m.cell.hidden_size, use_bias=m.cell.bias is not None, key=jax.random.key(0)
                    )
                ),
                call,
            )
        )
    return tuple(found)


TORCH_CELL = torch(
    lambda m: {f"cell.{name}": shape for name, shape in t_cell_shapes(m.cell).items()},
    lambda m, v, x: t_cell(m.cell, {k.removeprefix("cell."): a for k, a in v.items()}, carry_of(m.cell, x), x)[1],
)


# ---------------------------------------------------------------------------------------------------- the table


def spread(theirs: Any, x: Any) -> Any:
    """Call a layer of equinox for each of the positions."""
    return jax.vmap(jax.vmap(theirs))(x)


def with_channels_first(theirs: Any, x: Any) -> Any:
    return last(jax.vmap(theirs)(first(x)))


def conv(rank: int, **options: Any) -> Row:
    """A convolution with numbers for its padding, as all four have it."""
    ours = {"stride": 2, "padding": 1, **options}
    theirs = {"strides": ours["stride"], "padding": [(1, 1)] * rank, "kernel_dilation": ours.get("dilation", 1),
              "feature_group_count": ours.get("groups", 1)}  # fmt: skip
    flax_options = {**theirs, "strides": (ours["stride"],) * rank}
    window, shape = (3, 2, 3)[:rank], (2, *(7, 6, 5)[:rank], 4)
    return Row(
        f"Conv{rank}d of {', '.join(options) or 'plain'}",
        lambda: getattr(nn, f"Conv{rank}d")(4, 6, window, **ours), (x(*shape),),
        (linen(lambda m: fl.Conv(6, window, **flax_options)),
         flax(lambda m, rngs: nnx.Conv(4, 6, window, **flax_options, rngs=rngs)),
         equinox(lambda m, key: eqx.nn.Conv(rank, 4, 6, window, **ours, key=key), with_channels_first),
         torch(lambda m: {"weight": (6, 4 // m.groups, *window), "bias": (6,)}, t_convolution)))  # fmt: skip


def conv_transpose(transpose_kernel: bool, groups: int) -> Row:
    """A transposed convolution with numbers for its padding, as torch and equinox have it."""
    options: dict[str, Any] = {"stride": 2, "padding": 1, "output_padding": 1, "groups": groups}
    return Row(
        f"ConvTranspose2d of numbers, {groups} groups, transpose_kernel={transpose_kernel}",
        lambda: nn.ConvTranspose2d(4, 6, (3, 2), transpose_kernel=transpose_kernel, **options), (x(2, 5, 4, 4),),
        (equinox(lambda m, key: eqx.nn.ConvTranspose2d(4, 6, (3, 2), **options, key=key), with_channels_first),
         torch(lambda m: {"weight": (4, 6 // groups, 3, 2), "bias": (6,)}, t_conv_transpose)))  # fmt: skip


def conv_transpose_of_flax(transpose_kernel: bool, padding: str) -> Row:
    return Row(
        f"ConvTranspose1d {padding}, transpose_kernel={transpose_kernel}",
        lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, padding=padding, transpose_kernel=transpose_kernel),
        (x(2, 5, 4),),
        (linen(lambda m: fl.ConvTranspose(6, (3,), (2,), padding, transpose_kernel=transpose_kernel)),
         flax(lambda m, rngs: nnx.ConvTranspose(
             4, 6, (3,), (2,), padding=padding, transpose_kernel=transpose_kernel, rngs=rngs))))  # fmt: skip


def batch_normed(mode: str) -> Peer:
    def build(m: Any, key: Any) -> Any:
        return eqx.nn.make_with_state(eqx.nn.BatchNorm)(m.num_features, "batch", mode=mode, inference=True)

    def call(theirs: Any, x: Any) -> Any:
        module, state = theirs
        return jax.vmap(module, axis_name="batch", in_axes=(0, None), out_axes=(0, None))(x, state)[0]

    return equinox(build, call, abstract=False)


def attention(name: str, inputs: tuple[np.ndarray, ...], *, kv: int = 6, bias: bool = True) -> Row:
    def shapes(m: Any) -> dict[str, tuple[int, ...]]:
        apart = {"q_proj_weight": (6, 6), "k_proj_weight": (6, kv), "v_proj_weight": (6, kv)}
        weights = {"in_proj_weight": (18, 6)} if kv == 6 else apart
        biases = {"in_proj_bias": (18,), "out_proj.bias": (6,)} if bias else {}
        return {**weights, "out_proj.weight": (6, 6), **biases}

    def both(theirs: Any, x: Any, *key: Any) -> Any:
        return jax.vmap(lambda q, k: theirs(q, k, k))(x, *(key or (x,)))

    biased = {f"use_{n}_bias": bias for n in ("query", "key", "value", "output")}
    return Row(
        f"MultiHeadAttention {name}", lambda: nn.MultiHeadAttention(2, 6, kv_size=kv, use_bias=bias), inputs,
        (linen(lambda m: fl.MultiHeadDotProductAttention(2, qkv_features=6, out_features=6, use_bias=bias)),
         flax(lambda m, rngs: nnx.MultiHeadAttention(
             2, 6, in_kv_features=kv, use_bias=bias, decode=False, rngs=rngs)),
         equinox(lambda m, key: eqx.nn.MultiheadAttention(2, 6, key_size=kv, value_size=kv, **biased, key=key), both),
         torch(shapes, t_attention)))  # fmt: skip


def normed(name: str, ours: Callable[[], Any], theirs: str, shape: tuple[int, ...], *more: Peer, **options: Any) -> Row:
    """A normalisation, which is called the same in linen and nnx."""

    def of_nnx(m: Any, rngs: Any) -> Any:
        return getattr(nnx, theirs)(num_features=shape[-1], epsilon=m.epsilon, rngs=rngs, **options)

    return Row(name, ours, (x(*shape),), (
        linen(lambda m: getattr(fl, theirs)(epsilon=m.epsilon, **options)), flax(of_nnx), *more))  # fmt: skip


class ScannedDense(fl.Module):
    """Dense layers one after another, as linen writes a stack of alike layers."""

    @fl.compact
    def __call__(self, x: Any) -> Any:
        def step(layer: Any, x: Any, _: Any) -> Any:
            return layer(x), None

        layers = fl.Dense(4, name="layers")
        return fl.scan(step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)(layers, x, None)[0]


class LinenStack(fl.Module):
    def setup(self) -> None:
        self.blocks = [fl.Dense(4) for _ in range(3)]

    def __call__(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return x


class Held(nn.Module):
    """A layer under the name `blocks`."""

    def __init__(self, layer: Any) -> None:
        self.blocks = layer

    def __call__(self, x: Any) -> Any:
        return self.blocks(x)


def t_stack(m: Any, v: Any, x: Any) -> Any:
    for i in range(3):
        x = t_linear(v, x, f"blocks.{i}.")
    return x


def weight_norm_of_nnx(m: Any, rngs: Any) -> Any:
    return nnx.WeightNorm(nnx.Linear(4, 6, rngs=rngs), rngs=rngs)


G_V = [("parametrizations.weight.original0", "parametrizations.weight.original1"), ("weight_g", "weight_v")]

ROWS: list[Row] = [
    Row("Linear", lambda: nn.Linear(4, 6), (x(3, 4),), (
        linen(lambda m: fl.Dense(6)), flax(lambda m, rngs: nnx.Linear(4, 6, rngs=rngs)),
        equinox(lambda m, key: eqx.nn.Linear(4, 6, key=key)),
        torch(lambda m: {"weight": (6, 4), "bias": (6,)}, lambda m, v, x: t_linear(v, x)))),
    Row("Linear without bias", lambda: nn.Linear(4, 6, use_bias=False), (x(3, 4),), (
        linen(lambda m: fl.Dense(6, use_bias=False)),
        flax(lambda m, rngs: nnx.Linear(4, 6, use_bias=False, rngs=rngs)),
        equinox(lambda m, key: eqx.nn.Linear(4, 6, use_bias=False, key=key)),
        torch(lambda m: {"weight": (6, 4)}, lambda m, v, x: t_linear(v, x)))),
    Row("LinearGeneral", lambda: nn.LinearGeneral(4, (2, 3)), (x(5, 4),), (
        linen(lambda m: fl.DenseGeneral((2, 3))), flax(lambda m, rngs: nnx.LinearGeneral(4, (2, 3), rngs=rngs)),
        equinox(lambda m, key: eqx.nn.Linear(4, 6, key=key), lambda t, x: jax.vmap(t)(x).reshape(5, 2, 3)),
        torch(lambda m: {"weight": (6, 4), "bias": (6,)}, lambda m, v, x: t_linear(v, x).reshape(5, 2, 3)))),
    Row("LinearGeneral of two axes", lambda: nn.LinearGeneral((2, 3), 4, axis=(-2, -1)), (x(5, 2, 3),), (
        linen(lambda m: fl.DenseGeneral(4, axis=(-2, -1))),
        flax(lambda m, rngs: nnx.LinearGeneral((2, 3), 4, axis=(-2, -1), rngs=rngs)),
        equinox(lambda m, key: eqx.nn.Linear(6, 4, key=key), lambda t, x: jax.vmap(t)(x.reshape(5, 6))),
        torch(lambda m: {"weight": (4, 6), "bias": (4,)}, lambda m, v, x: t_linear(v, x.reshape(5, 6))))),
    Row("Einsum", lambda: nn.Einsum("btd,hdk->bhtk", (2, 4, 3), (2, 3)), (x(5, 6, 4),), (
        linen(lambda m: fl.Einsum((2, 4, 3), "btd,hdk->bhtk")),
        flax(lambda m, rngs: nnx.Einsum("btd,hdk->bhtk", (2, 4, 3), (2, 3), rngs=rngs)))),
    Row("Embedding", lambda: nn.Embedding(5, 4), (np.array([[1, 4], [0, 2]]),), (
        linen(lambda m: fl.Embed(5, 4)), flax(lambda m, rngs: nnx.Embed(5, 4, rngs=rngs)),
        equinox(lambda m, key: eqx.nn.Embedding(5, 4, key=key), spread),
        torch(lambda m: {"weight": (5, 4)}, lambda m, v, x: v["weight"][x]))),
    conv(3), conv(2, groups=2), conv(1, dilation=2),
    *[conv_transpose(turned, groups) for turned in (True, False) for groups in (1, 2)],
    conv_transpose_of_flax(True, "SAME"), conv_transpose_of_flax(False, "VALID"),
    normed("BatchNorm", lambda: nn.BatchNorm(4), "BatchNorm", (3, 4), batch_normed("ema"), batch_normed("batch"),
           torch(lambda m: {**dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (4,)),
                            "num_batches_tracked": ()}, t_batch_norm), use_running_average=True),
    normed("LayerNorm", lambda: nn.LayerNorm(4), "LayerNorm", (3, 4),
           equinox(lambda m, key: eqx.nn.LayerNorm(4)),
           torch(lambda m: {"weight": (4,), "bias": (4,)}, lambda m, v, x: t_norm(v, x, -1, m.epsilon))),
    Row("LayerNorm of two axes", lambda: nn.LayerNorm((3, 4)), (x(2, 3, 4),), (
        linen(lambda m: fl.LayerNorm(1e-5, reduction_axes=(-2, -1), feature_axes=(-2, -1))),
        equinox(lambda m, key: eqx.nn.LayerNorm((3, 4))),
        torch(lambda m: {"weight": (3, 4), "bias": (3, 4)},
              lambda m, v, x: t_norm(v, x, (-2, -1), m.epsilon, (3, 4))))),
    normed("RMSNorm", lambda: nn.RMSNorm(4), "RMSNorm", (3, 4),
           *[equinox(lambda m, key, b=b: eqx.nn.RMSNorm(4, eps=m.epsilon, use_bias=b)) for b in (True, False)],
           torch(lambda m: {"weight": (4,)}, lambda m, v, x: v["weight"] * x / np.sqrt(
               np.mean(np.square(x), -1, keepdims=True) + m.epsilon))),
    normed("GroupNorm", lambda: nn.GroupNorm(2, 4), "GroupNorm", (3, 5, 4),
           equinox(lambda m, key: eqx.nn.GroupNorm(2, 4), with_channels_first),
           torch(lambda m: {"weight": (4,), "bias": (4,)}, t_group_norm), num_groups=2),
    normed("InstanceNorm", lambda: nn.InstanceNorm(4), "InstanceNorm", (3, 5, 4),
           equinox(lambda m, key: eqx.nn.GroupNorm(4, 4), with_channels_first),
           torch(lambda m: {"weight": (4,), "bias": (4,)}, t_group_norm)),
    Row("PReLU", lambda: nn.PReLU(), (x(3, 4),), (
        linen(lambda m: fl.PReLU()), flax(lambda m, rngs: nnx.PReLU()), equinox(lambda m, key: eqx.nn.PReLU()),
        torch(lambda m: {"weight": (1,)}, lambda m, v, x: np.where(x > 0, x, v["weight"] * x)))),
    Row("PReLU of features", lambda: nn.PReLU(4), (x(3, 4),), (
        equinox(lambda m, key: eqx.nn.PReLU(jnp.zeros(4))),
        torch(lambda m: {"weight": (4,)}, lambda m, v, x: np.where(x > 0, x, v["weight"] * x)))),
    attention("plain", (x(2, 5, 6),)), attention("without bias", (x(2, 5, 6),), bias=False),
    attention("across", (x(2, 5, 6), x(2, 3, 4)), kv=4),
    Row("MultiHeadAttention normalised", lambda: nn.MultiHeadAttention(2, 6, normalize_qk=True), (x(2, 5, 6),), (
        linen(lambda m: fl.MultiHeadDotProductAttention(2, normalize_qk=True)),
        flax(lambda m, rngs: nnx.MultiHeadAttention(2, 6, normalize_qk=True, decode=False, rngs=rngs)))),
    Row("LSTMCell", lambda: Stepped(nn.LSTMCell(4, 3)), (x(5, 4),), (
        *of_cell(fl.LSTMCell, nnx.OptimizedLSTMCell, eqx.nn.LSTMCell),
        *of_cell(fl.OptimizedLSTMCell, nnx.LSTMCell, None),
        TORCH_CELL)),
    Row("LSTMCell without bias", lambda: Stepped(nn.LSTMCell(4, 3, use_bias=False)), (x(5, 4),), (
        *of_cell(fl.LSTMCell, nnx.OptimizedLSTMCell, eqx.nn.LSTMCell), *of_cell(None, nnx.LSTMCell, None), TORCH_CELL)),
    Row("GRUCell", lambda: Stepped(nn.GRUCell(4, 3)), (x(5, 4),), (
        *of_cell(fl.GRUCell, None, eqx.nn.GRUCell), TORCH_CELL)),
    Row("GRUCell without bias", lambda: Stepped(nn.GRUCell(4, 3, use_bias=False)), (x(5, 4),), (
        *of_cell(fl.GRUCell, nnx.GRUCell, eqx.nn.GRUCell), TORCH_CELL)),
    Row("RNNCell", lambda: Stepped(nn.RNNCell(4, 3)), (x(5, 4),), (
        *of_cell(fl.SimpleCell, nnx.SimpleCell, None), TORCH_CELL)),
    Row("RNNCell without bias", lambda: Stepped(nn.RNNCell(4, 3, use_bias=False)), (x(5, 4),), (
        *of_cell(fl.SimpleCell, nnx.SimpleCell, None), TORCH_CELL)),
    Row("RNN", lambda: nn.RNN(nn.LSTMCell(4, 3)), (x(2, 5, 4),), (
        linen(lambda m: fl.RNN(fl.OptimizedLSTMCell(3))),
        flax(lambda m, rngs: nnx.RNN(nnx.OptimizedLSTMCell(4, 3, rngs=rngs), rngs=rngs), abstract=False),
        torch(lambda m: t_cell_shapes(m.cell, "_l0"), lambda m, v, x: t_over_time(m.cell, v, x)))),
    Row("Bidirectional", lambda: nn.Bidirectional(nn.RNNCell(4, 3), nn.RNNCell(4, 3)), (x(2, 5, 4),), (
        linen(lambda m: fl.Bidirectional(fl.RNN(fl.SimpleCell(3)), fl.RNN(fl.SimpleCell(3)))),
        flax(lambda m, rngs: nnx.Bidirectional(
            *(nnx.RNN(nnx.SimpleCell(4, 3, rngs=rngs), rngs=rngs) for _ in range(2)), rngs=rngs), abstract=False),
        torch(lambda m: {**t_cell_shapes(m.forward.cell, "_l0"), **t_cell_shapes(m.backward.cell, "_l0_reverse")},
              lambda m, v, x: np.concatenate([
                  t_over_time(m.forward.cell, v, x),
                  t_over_time(m.backward.cell, v, x[:, ::-1], "_l0_reverse")[:, ::-1]], -1)))),
    Row("WeightNorm", lambda: nn.WeightNorm(nn.Linear(4, 6)), (x(3, 4),), (
        linen(lambda m: fl.WeightNorm(fl.Dense(6))), flax(weight_norm_of_nnx, abstract=False),
        equinox(lambda m, key: eqx.nn.WeightNorm(eqx.nn.Linear(4, 6, key=key))),
        *[torch(lambda m, g=g, v=v: {g: (6, 1), v: (6, 4), "bias": (6,)}, t_weight_normed(g, v)) for g, v in G_V])),
    Row("SpectralNorm", lambda: nn.SpectralNorm(nn.Linear(4, 6)), (x(3, 4),), (
        linen(lambda m: fl.SpectralNorm(fl.Dense(6)), lambda theirs, x: theirs(x, update_stats=False)),
        flax(lambda m, rngs: nnx.SpectralNorm(nnx.Linear(4, 6, rngs=rngs), rngs=rngs),
             lambda theirs, x: theirs(x, update_stats=False)))),
    Row("LoRA", lambda: nn.LoRA(4, 2, 6, base=nn.Linear(4, 6)), (x(3, 4),), (
        flax(lambda m, rngs: nnx.LoRA(4, 2, 6, base_module=nnx.Linear(4, 6, rngs=rngs), rngs=rngs)),
        *[torch(lambda m, a=a: {"base_layer.weight": (6, 4), "base_layer.bias": (6,), f"lora_A.{a}weight": (2, 4),
                                f"lora_B.{a}weight": (6, 2)},
                lambda m, v, x, a=a: t_linear(v, x, "base_layer.") + m.scale * t_linear(
                    v, t_linear(v, x, f"lora_A.{a}"), f"lora_B.{a}")) for a in ("", "default.")])),
    Row("Sequential", lambda: nn.Sequential(nn.Linear(4, 6), nn.tanh, nn.Linear(6, 3)), (x(3, 4),), (
        linen(lambda m: fl.Sequential([fl.Dense(6), jnp.tanh, fl.Dense(3)])),
        flax(lambda m, rngs: nnx.Sequential(nnx.Linear(4, 6, rngs=rngs), jnp.tanh, nnx.Linear(6, 3, rngs=rngs))),
        equinox(lambda m, key: eqx.nn.Sequential(
            [eqx.nn.Linear(4, 6, key=key), eqx.nn.Lambda(jnp.tanh), eqx.nn.Linear(6, 3, key=key)])),
        torch(lambda m: {"0.weight": (6, 4), "0.bias": (6,), "2.weight": (3, 6), "2.bias": (3,)},
              lambda m, v, x: t_linear(v, np.tanh(t_linear(v, x, "0.")), "2.")))),
    Row("MLP", lambda: nn.MLP(4, 3, width=6, depth=2), (x(3, 4),), (
        equinox(lambda m, key: eqx.nn.MLP(4, 3, 6, 2, key=key)),)),
    Row("Stack", lambda: Held(nn.Stack(3, lambda: nn.Linear(4, 4))), (x(3, 4),), (
        linen(lambda m: LinenStack()),
        torch(lambda m: {f"blocks.{i}.{n}": s for i in range(3) for n, s in (("weight", (4, 4)), ("bias", (4,)))},
              t_stack))),
    Row("Stack in one loop", lambda: nn.Stack(3, lambda: nn.Linear(4, 4)), (x(3, 4),), (
        linen(lambda m: ScannedDense()),)),
]  # fmt: skip

PAIRS = [(row, peer) for row in ROWS for peer in row.peers]
NAMES = [f"{row.name}-{peer.framework}{n}" for row in ROWS for n, peer in enumerate(row.peers)]
