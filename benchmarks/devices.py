"""``python -m benchmarks.devices``: a training step over eight devices, beside ``jax.jit`` with the same shardings.

On a CPU the eight devices share its cores, so a time says what it costs to pass the states, and nothing of a machine
with eight devices.  Both sides put the batch on the devices; *sharded* puts each weight on them too.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from brainstate_graph import Node
from brainstate_transform import jit, shard_map, value_and_grad

from ._arena.claim import Claim, Row, Works
from ._arena.command import options, run
from ._arena.timing import Work
from ._cases.stacks import RATE, Param

__all__ = ["CLAIM", "main"]

DEVICES, WIDTH, BATCH, LAYERS = 8, 16, 16, 20


def placed() -> tuple[NamedSharding, NamedSharding]:
    """Return the shardings of what is on all devices, and of what is split among them."""
    mesh = Mesh(np.array(jax.devices()[:DEVICES]), ("i",))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("i"))


def arrays(sharding: NamedSharding) -> list[jax.Array]:
    rng = np.random.default_rng(0)
    drawn = [rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) / WIDTH**0.5 for _ in range(LAYERS)]
    return [jax.device_put(array, sharding) for array in drawn]


def batch(sharding: NamedSharding) -> jax.Array:
    return jax.device_put(jnp.ones((BATCH, WIDTH)), sharding)


class Layers(Node):
    def __init__(self, weights: list[jax.Array]) -> None:
        self.weights = [Param(weight) for weight in weights]


def loss_of(weights: Any, x: jax.Array) -> jax.Array:
    for weight in weights:
        x = jnp.tanh(x @ weight)
    return jnp.mean(x**2)


def by_us(weights: list[jax.Array], x: jax.Array) -> Work:
    layers = Layers(weights)

    @jit
    def step(x: jax.Array) -> jax.Array:
        loss, grads = value_and_grad(lambda: loss_of([w.value for w in layers.weights], x), layers.weights)()
        for weight, grad in zip(layers.weights, grads, strict=True):
            weight.value = weight.value - RATE * grad
        return loss

    return lambda: step(x)


def by_hand(weights: Any, x: jax.Array) -> Work:
    @jax.jit
    def step(weights: Any, x: jax.Array) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(weights, x)
        return loss, tuple(w - RATE * grad for w, grad in zip(weights, grads, strict=True))

    weights = tuple(weights)

    def work() -> jax.Array:
        nonlocal weights
        loss, weights = step(weights, x)
        return loss

    return work


def stepping(sharded: bool) -> Works:
    whole, split = placed()
    kind = split if sharded else whole
    return {"ours": by_us(arrays(kind), batch(split)), "raw": by_hand(arrays(kind), batch(split))}


def mapping() -> Works:
    """A loss by ``shard_map``, the mean over the devices by hand."""
    whole, split = placed()
    x, layers, weights = batch(split), Layers(arrays(whole)), tuple(arrays(whole))
    spec = PartitionSpec("i")

    def ours(x: jax.Array) -> jax.Array:
        return jax.lax.pmean(loss_of([w.value for w in layers.weights], x), "i")

    def raw(weights: Any, x: jax.Array) -> jax.Array:
        return jax.lax.pmean(loss_of(weights, x), "i")

    mapped = jit(shard_map(ours, mesh=whole.mesh, in_specs=(spec,), out_specs=PartitionSpec()))
    by_jax = jax.jit(jax.shard_map(raw, mesh=whole.mesh, in_specs=(PartitionSpec(), spec), out_specs=PartitionSpec()))
    return {"ours": lambda: mapped(x), "raw": lambda: by_jax(weights, x)}


ROWS = (
    Row("training step, 20 layers on each of 8 devices", stepping, (False,), target=1.1, same=True),
    Row("training step, 20 layers sharded over 8 devices", stepping, (True,), target=1.1, same=True),
    Row("loss by shard_map over 8 devices", mapping, target=1.1, same=True),
)
CLAIM = Claim("devices", "Eight devices cost what they cost by hand", ROWS, budget_s=6.0, devices=DEVICES)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
