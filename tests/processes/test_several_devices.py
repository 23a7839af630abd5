"""On several devices, which a process has from its start."""

from __future__ import annotations

import textwrap

import pytest

from tests.processes.run import output_of, passes

DEVICES = "--xla_force_host_platform_device_count={}"


def test_one_progress_bar():
    code = """
        import io, jax, jax.numpy as jnp
        from jax.sharding import NamedSharding, PartitionSpec as P
        from brainstate_graph import State
        from brainstate_transform import ProgressBar, for_loop, jit, scan
        mesh = jax.make_mesh((4,), ("d",))
        x = jax.device_put(jnp.arange(8.0), NamedSharding(mesh, P("d")))
        s = State(x)
        def body(i):
            s.value = jnp.sin(s.value) + i + jnp.sum(s.value)
        def shards(x):
            return scan(lambda c, i: (c + i, None), x, jnp.arange(6.0), pbar=bar)[0]
        for run in (
            lambda: jit(lambda: for_loop(body, jnp.arange(6.0), pbar=bar))(),
            lambda: jax.jit(jax.shard_map(shards, mesh=mesh, in_specs=P("d"), out_specs=P("d")))(x),
        ):
            out = io.StringIO()
            bar = ProgressBar(2, file=out, disable=False, mininterval=0)
            run()
            jax.effects_barrier()
            moves = [line.split("/")[0].split()[-1] for line in out.getvalue().split("\\r") if "/" in line]
            print(*sorted(set(moves), key=int), moves == sorted(moves, key=int))
    """
    said = output_of("-c", textwrap.dedent(code), XLA_FLAGS=DEVICES.format(4))
    assert said == "0 2 4 6 True\n" * 2


def test_checks():
    code = """
import logging; logging.disable(logging.CRITICAL)
import jax, jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from brainstate_transform import jit, jit_error_if
x = jax.device_put(jnp.arange(4.0), NamedSharding(Mesh(jax.devices(), "d"), PartitionSpec("d")))
f = jit(lambda x: (jit_error_if(x > 9, "big %s", x), x * 2)[1])
assert f(x)[3] == 6.0
try:
    f(x * 9).block_until_ready()
except (ValueError, jax.errors.JaxRuntimeError) as error:
    print("big [ 0." in str(error))
"""
    assert output_of("-c", code, XLA_FLAGS=DEVICES.format(2)).strip() == "True"


def test_states_on_four():
    passes("processes/devices/states_on_four_devices.py", XLA_FLAGS=DEVICES.format(4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "devices"),
    [
        ("meshes_on_four_devices.py", 4),
        ("shardings_on_four_devices.py", 4),
        ("transforms_on_four_devices.py", 4),
        ("gpt_on_four_devices.py", 4),
        ("layers_on_four_devices.py", 4),
        ("training_on_four_devices.py", 4),
        ("sharding_on_eight_devices.py", 8),
    ],
)
def test_files(file, devices):
    passes(f"processes/devices/{file}", XLA_FLAGS=DEVICES.format(devices))
