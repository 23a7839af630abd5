"""Faults of spiking networks: a reset, a delay, a row of connections that is left out, lanes that are mixed up."""

from __future__ import annotations

NN = "brainstate_nn"
PRODUCT = f"{NN}/_sparse/product.py"
LAYER = f"{NN}/_sparse/sparse_linear.py"
CONNECTIONS = f"{NN}/_sparse/connections.py"
TESTS = "tests/nn/sparse"
RESULTS = f"{TESTS}/test_product.py::test_results_and_derivatives_are_those_of_a_matrix"

MUTANTS = [
    (
        "gradients flow through the reset",
        f"{NN}/_dynamics/spiking_cell.py",
        "back = jax.lax.stop_gradient(spike) if self.detach_reset else spike",
        "back = spike",
        ("tests/nn/dynamics/test_neurons.py",),
    ),
    (
        "a delay line writes one slot only",
        f"{NN}/_recurrent/delay.py",
        "return (buffer, (position + 1) % self._slots), y",
        "return (buffer, position), y",
        ("tests/nn/recurrent/test_delay.py",),
    ),
    (
        "a silent neuron before an active one sends in its place",
        PRODUCT,
        'side="right"',
        'side="left"',
        (RESULTS,),
    ),
    (
        "the weights of lanes are those of the first",
        PRODUCT,
        "if not any(batched[1:]):",
        "if True:",
        (RESULTS,),
    ),
    (
        "lanes of one layer are in one loop",
        PRODUCT,
        "        if not any(batched[1:]):\n            return full(x, *others), True\n        return jax.vmap(full, [",
        "        return jax.vmap(lambda *parts: _by_events(*parts, out_size), [",
        (f"{TESTS}/test_product.py::test_the_time_is_that_of_the_spikes",),
    ),
    (
        "weights have no second derivative",
        PRODUCT,
        " + _full(x, dweight, pre, post, out_size)",
        "",
        (RESULTS,),
    ),
    (
        "the gradient of a half precision is a sum in half precision",
        PRODUCT,
        "jnp.moveaxis(at_least_float32(x), -1, 0)[pre]",
        "at_least_float32(jnp.moveaxis(x, -1, 0)[pre])",
        (f"{TESTS}/test_product.py::test_dtypes_are_promoted_where_jax_is_strict_and_has_double_precision",),
    ),
    (
        "a sum of spikes is rounded before it is multiplied",
        PRODUCT,
        "(at_least_float32(weight) * number).astype(x.dtype)",
        "weight * number.astype(x.dtype)",
        (f"{TESTS}/test_product.py::test_one_weight_for_all_is_rounded_once_in_half_precision",),
    ),
    (
        "elements behind the end of a sparse matrix are connections",
        LAYER,
        "return *indices[inside].T, None if data.dtype == bool else data[inside]",
        "return *indices.T, None if data.dtype == bool else data",
        (f"{TESTS}/test_sparse_linear.py::test_weights_come_with_connections",),
    ),
    (
        "connections are left in the order in which they were given",
        LAYER,
        "order = np.lexsort((post, pre))",
        "order = np.arange(len(pre))",
        (f"{TESTS}/test_sparse_linear.py::test_weights_come_with_connections",),
    ),
    (
        "the first pair is never connected",
        CONNECTIONS,
        "(ends <= pairs)] - 1, out_size",
        "(ends < pairs)], out_size",
        (f"{TESTS}/test_connections.py",),
    ),
    (
        "a neuron is connected to itself",
        CONNECTIONS,
        "picked + (picked >= row) if own else picked",
        "picked",
        (f"{TESTS}/test_connections.py",),
    ),
]
