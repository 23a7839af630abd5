"""Faults of the layers of brainstate_nn."""

from __future__ import annotations

from .nn import LAW, NN

MUTANTS = [
    (
        "no bias",
        f"{NN}/_layers/linear.py",
        "return with_bias(matmul(self, x, weight, out_sharding), bias)",
        "return matmul(self, x, weight, out_sharding)",
        ("tests/nn/layers/test_linear.py::test_is_that_of_nnx", f"{LAW}[Linear, training]"),
    ),
    (
        "statistics over one axis of several",
        f"{NN}/_layers/normalisation.py",
        "    total = jnp.sum(x, axes, keepdims=True)",
        "    total = jnp.sum(x, axes[:1], keepdims=True)",
        ("tests/nn/layers/test_group_norm.py", f"{LAW}[GroupNorm, training]"),
    ),
    (
        "masked elements are counted",
        f"{NN}/_layers/normalisation.py",
        "        count = jnp.sum(jnp.broadcast_to(mask, x.shape), axes, keepdims=True)",
        "        pass",
        ("tests/nn/layers/test_layer_norm.py::test_a_mask_is_that_of_nnx",),
    ),
    (
        "momentum is the weight of the new value",
        f"{NN}/_layers/batch_norm.py",
        "moved = self.momentum * old + (1.0 - self.momentum) * new",
        "moved = (1.0 - self.momentum) * old + self.momentum * new",
        ("tests/nn/layers/test_batch_norm.py",),
    ),
    (
        "gradients flow through running statistics",
        f"{NN}/_layers/batch_norm.py",
        "resharded_like(jax.lax.stop_gradient(new).astype",
        "resharded_like(new.astype",
        ("tests/nn/layers/test_batch_norm.py::test_no_gradient_flows_through_the_running_statistics",),
    ),
    (
        "causal padding sees the future",
        f"{NN}/_layers/conv.py",
        "padding = [(self._extents[0], 0)]",
        "padding = [(0, self._extents[0])]",
        ("tests/nn/layers/test_conv.py::test_causal_padding_sees_no_future",),
    ),
    (
        "a transposed kernel is not turned around",
        f"{NN}/_layers/conv_transpose.py",
        "weight = jnp.flip(weight, tuple(range(len(window))))",
        "weight = weight + 0.0",
        ("tests/nn/layers/test_conv_transpose.py",),
    ),
    (
        "no output padding",
        f"{NN}/_layers/conv_transpose.py",
        "(n - 1) * stride + 1 + extent - low - high + self.output_padding[axis]",
        "(n - 1) * stride + 1 + extent - low - high",
        ("tests/nn/layers/test_conv_transpose.py",),
    ),
    (
        "adaptive windows end one too early",
        f"{NN}/_layers/adaptive_pool.py",
        "end = -(-np.arange(1, size + 1) * n // size)",
        "end = np.arange(1, size + 1) * n // size",
        ("tests/nn/layers/test_adaptive_pool.py", f"{LAW}[AdaptiveAvgPool, training]"),
    ),
    (
        "padded elements always count",
        f"{NN}/_layers/pool.py",
        "    if count_include_pad:\n        mean",
        "    if True:\n        mean",
        ("tests/nn/layers/test_pool.py",),
    ),
    (
        "the padding row of a table is looked up",
        f"{NN}/_layers/embedding.py",
        "        if self.padding_idx is None:\n            return rows",
        "        if True:\n            return rows",
        ("tests/nn/layers/test_embedding.py",),
    ),
    (
        "dropout does not scale",
        f"{NN}/_layers/dropout.py",
        "x / (1.0 - rate)",
        "x",
        ("tests/nn/layers/test_dropout.py",),
    ),
    (
        "the singular vector moves in evaluation",
        f"{NN}/_layers/reparametrised.py",
        "vectors if keep else None)",
        "vectors)",
        ("tests/nn/layers/test_reparametrised.py::test_the_vector_moves_in_training_only",),
    ),
    (
        "a merged LoRA has no scale",
        f"{NN}/_layers/lora.py",
        "return (wide + self.scale * correction)",
        "return (wide + correction)",
        ("tests/nn/layers/test_lora.py",),
    ),
    (
        "all layers of a Sequential drop by one key",
        f"{NN}/_core/random.py",
        "own = {name: jax.random.fold_in(given[name], index) for name in names if is_one_key(given[name])}",
        "own = {}",
        ("tests/nn/layers/test_containers.py", "tests/nn/layers/test_dropout.py"),
    ),
]
