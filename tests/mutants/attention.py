"""Faults of attention: a scale, a sign, a position that is seen and should not be."""

from __future__ import annotations

ATTENTION = "brainstate_nn/_attention"

MUTANTS = [
    (
        "attention logits are not scaled",
        f"{ATTENTION}/product.py",
        "1.0 / math.sqrt(size) if",
        "1.0 if",
        ("tests/nn/attention/test_attention.py::test_weights_before_dropout_are_those_of_jax",),
    ),
    (
        "a query does not see its own position in the cache",
        f"{ATTENTION}/kv_cache.py",
        "seen = back >= 0 if",
        "seen = back > 0 if",
        ("tests/nn/attention/test_kv_cache.py",),
    ),
    (
        "a window is not kept to while decoding",
        f"{ATTENTION}/kv_cache.py",
        "(back >= 0) & (back < window)",
        "back >= 0",
        ("tests/nn/attention/test_kv_cache.py",),
    ),
    (
        "what a ring of a cache has never had is seen",
        f"{ATTENTION}/kv_cache.py",
        "return seen & (at >= 0) if self._is_ring else seen",
        "return seen",
        ("tests/nn/attention/test_kv_cache.py",),
    ),
    (
        "several new positions are written over what the first of them sees",
        f"{ATTENTION}/kv_cache.py",
        "index = self._index(self._in_slots(end), count)",
        "index = self._in_slots(end) % self.room",
        ("tests/nn/attention/test_kv_cache.py",),
    ),
    (
        "rotations go the other way",
        f"{ATTENTION}/rotary.py",
        "[first * cos - second * sin, second * cos + first * sin]",
        "[first * cos + second * sin, second * cos - first * sin]",
        ("tests/nn/attention/test_rotary.py",),
    ),
    (
        "a part of the features is turned by the frequencies of all",
        f"{ATTENTION}/rotary.py",
        "frequencies(size, self.theta)",
        "frequencies(self.head_size, self.theta)[: size // 2]",
        ("tests/nn/attention/test_rotary.py",),
    ),
    (
        "a quantiser computes one of the two products",
        f"{ATTENTION}/attention.py",
        "weighted_sum(product, kept, v)",
        "weighted_sum(jax.lax.dot_general, kept, v)",
        ("tests/nn/attention/test_product.py",),
    ),
]
