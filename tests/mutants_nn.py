"""Faults of brainstate_nn, written by hand, each with the tests that notice it.

A mutant is one wrong line, of the kind that a tired person writes: an axis, a sign, a mask that is forgotten. Where none of
its tests fails, the suite has a hole. `python -m tests.mutants` applies them one after the other.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["MUTANTS", "Mutant"]


class Mutant(NamedTuple):
    """A fault.

    Attributes:
        file: The file, from the root of the repository.
        old: A text that stands in it exactly once.
        new: The fault, which takes its place.
        tests: The files or tests of which at least one has to fail.
    """

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


LAW = "tests/laws/test_layers.py::test_results_and_gradients_are_those_of_others"

MUTANTS = (
    # -------------------------------------------------------------------------------------- dtypes, streams, parameters
    Mutant(
        "brainstate_nn/_core/dtypes.py",
        "    if dtype is None:\n        dtype = common_dtype(*arrays)",
        "    dtype = common_dtype(*arrays)",
        ("tests/nn/layers/test_linear.py::test_dtypes_are_those_of_nnx", "tests/laws/test_layers.py::test_dtypes"),
    ),
    Mutant(
        "brainstate_nn/_core/dtypes.py",
        "    return x.astype(jnp.promote_types(jnp.float32, x.dtype))",
        "    return x",
        ("tests/nn/layers/test_layer_norm.py::test_half_precision_is_summed_in_single",),
    ),
    Mutant(
        "brainstate_nn/_core/random.py",
        "self.value = (key, _where_key_is(key, count + 1))",
        "self.value = (key, _where_key_is(key, count))",
        ("tests/nn/core/test_random.py",),
    ),
    Mutant(
        "brainstate_nn/_core/random.py",
        "    return jax.random.fold_in(jax.random.fold_in(key, count), lane), jnp.uint32(0)",
        "    return jax.random.fold_in(key, count), jnp.uint32(0)",
        ("tests/nn/core/test_random.py",),
    ),
    Mutant(
        "brainstate_nn/_core/parameters.py",
        "order = [*contracted, *(i for i in order if i not in contracted)]",
        "order = [*(i for i in order if i not in contracted), *contracted]",
        ("tests/nn/layers/test_einsum.py::test_the_initialiser_makes_a_matrix_of_what_is_summed_over",),
    ),
    Mutant(
        "brainstate_nn/_core/replacement.py",
        "        if not (cast and fits):",
        "        if not fits:",
        ("tests/nn/checkpoints/test_pure_dicts.py",),
    ),
    Mutant(
        "brainstate_nn/_core/undo.py",
        "        write_values(snap.states, values)\n        raise",
        "        raise",
        ("tests/nn/models/test_init_states.py",),
    ),
    # ----------------------------------------------------------------------------------------------------------- layers
    Mutant(
        "brainstate_nn/_layers/linear.py",
        "return y if bias is None else y + along_axis(bias, y.ndim)",
        "return y",
        ("tests/nn/layers/test_linear.py::test_is_that_of_nnx", f"{LAW}[Linear, training]"),
    ),
    Mutant(
        "brainstate_nn/_layers/normalisation.py",
        "    total = jnp.sum(x, axes, keepdims=True)",
        "    total = jnp.sum(x, axes[:1], keepdims=True)",
        ("tests/nn/layers/test_group_norm.py", f"{LAW}[GroupNorm, training]"),
    ),
    Mutant(
        "brainstate_nn/_layers/normalisation.py",
        "        count = jnp.sum(jnp.broadcast_to(mask, x.shape), axes, keepdims=True)",
        "        pass",
        ("tests/nn/layers/test_layer_norm.py::test_a_mask_is_that_of_nnx",),
    ),
    Mutant(
        "brainstate_nn/_layers/batch_norm.py",
        "moved = self.momentum * old + (1.0 - self.momentum) * new",
        "moved = (1.0 - self.momentum) * old + self.momentum * new",
        ("tests/nn/layers/test_batch_norm.py",),
    ),
    Mutant(
        "brainstate_nn/_layers/batch_norm.py",
        "resharded_like(jax.lax.stop_gradient(new).astype",
        "resharded_like(new.astype",
        ("tests/nn/layers/test_batch_norm.py::test_no_gradient_flows_through_the_running_statistics",),
    ),
    Mutant(
        "brainstate_nn/_layers/conv.py",
        "padding = [(self._extents[0], 0)]",
        "padding = [(0, self._extents[0])]",
        ("tests/nn/layers/test_conv.py::test_causal_padding_sees_no_future",),
    ),
    Mutant(
        "brainstate_nn/_layers/conv_transpose.py",
        "weight = jnp.flip(weight, tuple(range(len(window))))",
        "weight = weight + 0.0",
        ("tests/nn/layers/test_conv_transpose.py",),
    ),
    Mutant(
        "brainstate_nn/_layers/conv_transpose.py",
        "(n - 1) * stride + 1 + extent - low - high + self.output_padding[axis]",
        "(n - 1) * stride + 1 + extent - low - high",
        ("tests/nn/layers/test_conv_transpose.py",),
    ),
    Mutant(
        "brainstate_nn/_layers/adaptive_pool.py",
        "end = -(-np.arange(1, size + 1) * n // size)",
        "end = np.arange(1, size + 1) * n // size",
        ("tests/nn/layers/test_adaptive_pool.py", f"{LAW}[AdaptiveAvgPool, training]"),
    ),
    Mutant(
        "brainstate_nn/_layers/pool.py",
        "    if count_include_pad:\n        mean",
        "    if True:\n        mean",
        ("tests/nn/layers/test_pool.py",),
    ),
    Mutant(
        "brainstate_nn/_layers/embedding.py",
        "        if self.padding_idx is None:\n            return rows",
        "        if True:\n            return rows",
        ("tests/nn/layers/test_embedding.py",),
    ),
    Mutant(
        "brainstate_nn/_layers/dropout.py",
        "x / (1.0 - rate)",
        "x",
        ("tests/nn/layers/test_dropout.py",),
    ),
    Mutant(
        "brainstate_nn/_layers/attention.py",
        "preferred_element_type=wide) / math.sqrt(size)",
        "preferred_element_type=wide)",
        ("tests/nn/layers/test_attention.py::test_weights_before_dropout_are_those_of_jax",),
    ),
    Mutant(
        "brainstate_nn/_layers/attention.py",
        "jnp.arange(cache.max_length)[None, :] <= (cache",
        "jnp.arange(cache.max_length)[None, :] < (cache",
        ("tests/nn/layers/test_kv_cache.py",),
    ),
    Mutant(
        "brainstate_nn/_layers/rotary.py",
        "[first * cos - second * sin, second * cos + first * sin]",
        "[first * cos + second * sin, second * cos - first * sin]",
        ("tests/nn/layers/test_rotary.py",),
    ),
    Mutant(
        "brainstate_nn/_layers/reparametrised.py",
        "vectors if keep else None)",
        "vectors)",
        ("tests/nn/layers/test_reparametrised.py::test_the_vector_moves_in_training_only",),
    ),
    Mutant(
        "brainstate_nn/_layers/lora.py",
        "correction = self.scale * jnp.tensordot(a, b, 1",
        "correction = jnp.tensordot(a, b, 1",
        ("tests/nn/layers/test_lora.py",),
    ),
    Mutant(
        "brainstate_nn/_layers/containers.py",
        'own["key"] = jax.random.fold_in(own["key"], index)',
        "pass",
        ("tests/nn/layers/test_containers.py", "tests/nn/layers/test_dropout.py"),
    ),
    # -------------------------------------------------------------------------------------------------- recurrent cells
    Mutant(
        "brainstate_nn/_recurrent/cells.py",
        "        i, f, g, o = jnp.split(gates",
        "        f, i, g, o = jnp.split(gates",
        (f"{LAW}[LSTMCell, training]", "tests/nn/recurrent/test_rnn.py"),
    ),
    Mutant(
        "brainstate_nn/_recurrent/cells.py",
        "h = (1 - z) * self.activation(x_n + sigmoid(x_r + h_r) * h_n) + z * h",
        "h = z * self.activation(x_n + sigmoid(x_r + h_r) * h_n) + (1 - z) * h",
        (f"{LAW}[GRUCell, training]",),
    ),
    Mutant(
        "brainstate_nn/_recurrent/rnn.py",
        "kept = jax.tree.map(lambda new, old: _where(within, new, old), after, carry)",
        "kept = after",
        ("tests/nn/recurrent/test_rnn.py",),
    ),
    Mutant(
        "brainstate_nn/_recurrent/neurons.py",
        "back = jax.lax.stop_gradient(spike) if self.detach_reset else spike",
        "back = spike",
        ("tests/nn/recurrent/test_neurons.py",),
    ),
    Mutant(
        "brainstate_nn/_recurrent/delay.py",
        "return (buffer, (position + 1) % self._slots), y",
        "return (buffer, position), y",
        ("tests/nn/recurrent/test_delay.py",),
    ),
    # --------------------------------------------------------------------------------------------------------- training
    Mutant(
        "brainstate_nn/_training/ema.py",
        "self.decay * old + (1.0 - self.decay) * x.astype(old.dtype)",
        "(1.0 - self.decay) * old + self.decay * x.astype(old.dtype)",
        ("tests/nn/training/test_ema.py",),
    ),
    Mutant(
        "brainstate_nn/_training/ema.py",
        "                yield (average, i), (self.params[name], i)",
        "                yield from ()",
        ("tests/nn/devices/test_sharding.py",),
    ),
    Mutant(
        "brainstate_nn/_training/optimizer.py",
        "        self._refuse_other_states()\n",
        "",
        ("tests/nn/training/test_optimizer.py",),
    ),
    Mutant(
        "brainstate_nn/_training/optimizer.py",
        "if param is not None and shape == jnp.shape(leaf):",
        "if param is not None:",
        ("tests/nn/devices/test_sharding.py::test_what_optax_keeps_for_a_parameter_follows_it",),
    ),
    Mutant(
        "brainstate_nn/_training/metrics.py",
        "self.count.value = add_to_count(self.count.value, jnp.sum(counted, dtype=jnp.uint32))",
        "self.count.value = add_to_count(self.count.value, jnp.uint32(values.size))",
        ("tests/nn/training/test_metrics.py",),
    ),
    Mutant(
        "brainstate_nn/_training/exact_sums.py",
        "jnp.stack([count[0] + (low < count[1]), low])",
        "jnp.stack([count[0], low])",
        ("tests/nn/training/test_metrics.py::test_counts_of_two_words",),
    ),
    Mutant(
        "brainstate_nn/_training/constraints.py",
        "return jnp.maximum(jax.nn.softplus(x), float(_finfo(x).tiny))",
        "return jax.nn.softplus(x)",
        ("tests/nn/training/test_constraints.py",),
    ),
    Mutant(
        "brainstate_nn/_training/penalties.py",
        "value = state.constrained if isinstance(state, Constrained) else state.value",
        "value = state.value",
        ("tests/nn/training/test_penalties.py",),
    ),
    Mutant(
        "brainstate_nn/_training/freeze.py",
        '        meta["kind"] = kind',
        "        pass",
        ("tests/nn/training/test_freeze.py",),
    ),
    # ------------------------------------------------------------------------------------------------- devices and files
    Mutant(
        "brainstate_nn/_devices/rules.py",
        "given = rules_here[0].spec",
        "given = rules_here[-1].spec",
        ("tests/nn/devices/test_sharding.py",),
    ),
    Mutant(
        "brainstate_nn/_checkpoints/container.py",
        "_crc32_of_array(name, array) != self._crc32[name]",
        "name not in self._crc32",
        ("tests/nn/checkpoints/test_state_files.py", "tests/processes/test_damaged_files.py"),
    ),
    Mutant(
        "brainstate_nn/_checkpoints/msgpack.py",
        "if start < 0 or data[head.tell() : start] != _head_of_bytes(size):",
        "if start < 0:",
        ("tests/processes/test_damaged_files.py",),
    ),
    Mutant(
        "brainstate_nn/_checkpoints/orbax_leaves.py",
        "records[name] = StoredLeaf(keys, kind, str(array.dtype), array.shape)",
        'records[name] = StoredLeaf(keys, "", str(array.dtype), array.shape)',
        ("tests/nn/checkpoints/test_orbax.py::test_a_round_trip_is_exact",),
    ),
    Mutant(
        "brainstate_nn/_checkpoints/pure_dicts.py",
        "    if len(items) > 1 and not all(other is first or _same_bits(first, other) for other in rest):",
        "    if False:",
        ("tests/nn/checkpoints/test_pure_dicts.py",),
    ),
    Mutant(
        "brainstate_nn/_interop/weight_maps.py",
        "return WeightMap(name, np.transpose, np.transpose)",
        "return named(name)",
        ("tests/nn/interop/test_weights.py",),
    ),
    Mutant(
        "brainstate_nn/_interop/torch.py",
        "b_ih + np.concatenate([b_hh[: 2 * size], _negative_zeros(b_hh[2 * size :])]), b_hh[2 * size :]",
        "b_ih + b_hh, b_hh[2 * size :]",
        ("tests/nn/interop/test_weights.py",),
    ),
    Mutant(
        "brainstate_nn/_models/surgery.py",
        "                    self.places.setdefault(edge, []).append((row, key))",
        "                    self.places[edge] = [(row, key)]",
        ("tests/nn/models/test_surgery.py",),
    ),
)  # fmt: skip
