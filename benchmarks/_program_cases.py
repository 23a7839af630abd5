"""Steps in pairs: one *with* something beside or inside it that need not cost anything, and the same step *without*.

Each function makes such a pair, by these two names.  What is changed between the calls is timed with them, as users pay
for both; where that alone takes long, there is a third work, *change*, which does nothing else.  The two have models of
their own, with equal values.  The numbers that they take are sizes, so that a test can have all of them small.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

import brainstate_nn as nn
from brainstate_graph import treefy_merge, treefy_split
from brainstate_transform import for_loop, jit, value_and_grad

from ._cases import RATE, Stack, Works, batch, tracing, weights
from ._timing import Work

WIDTH, BATCH, TIME = 8, 4, 5

T = TypeVar("T")


def small() -> nn.Linear:
    return nn.Linear(2, 2, rng=nn.RandomState(0))


def point() -> jax.Array:
    return jnp.ones(2)


def calls_of(fun: Callable[[jax.Array], Any]) -> Work:
    """Compile a function of a point; return its call."""
    step, x = jit(fun), point()
    return lambda: step(x)


def changed(
    make: Callable[[], T], call: Callable[[T], Work], change: Callable[[T], object], dear: bool = False
) -> Works:
    """Make something twice, of which one is changed before each call.

    Args:
        make: Makes what a step is about.
        call: Compiles a step for it.
        change: Changes it.
        dear: Whether the change alone is worth to be timed.
    """
    mine, other = make(), make()
    step = call(mine)

    def work() -> Any:
        change(mine)
        return step()

    works = {"with": work, "without": call(other)}
    return {**works, "change": lambda: change(mine)} if dear else works


# ------------------------------------------------------------------------------------------------ plain objects


class Trainer:
    """A plain object that holds a model, as most programs have one."""

    def __init__(self, **things: Any) -> None:
        self.net, self.scale, self.count = small(), 2.0, 0
        vars(self).update(things)

    def step(self, x: jax.Array) -> jax.Array:
        return self.net(x).sum() * self.scale


class Meter:
    """An average; one of its attributes has the name of a method of arrays."""

    def __init__(self) -> None:
        self.sum, self.steps = 0.0, 0

    def update(self, value: float) -> None:
        self.sum += value
        self.steps += 1


class Sample:
    """One of many plain objects; its attribute has the name of one that the step reads elsewhere."""

    def __init__(self, number: int, before: Sample | None = None) -> None:
        self.scale, self.before = number, before


def step_of(trainer: Trainer) -> Work:
    return calls_of(trainer.step)


def counter() -> Works:
    def count(trainer: Trainer) -> None:
        trainer.count += 1

    return changed(Trainer, step_of, count)


def meter() -> Works:
    return changed(lambda: Trainer(meter=Meter()), step_of, lambda trainer: trainer.meter.update(1.0))  # type: ignore[attr-defined]


def counted_dict() -> Works:
    def count(held: dict[str, Any]) -> None:
        held["step"] += 1

    return changed(lambda: {"net": small(), "step": 0}, lambda held: calls_of(lambda x: held["net"](x)), count)


Samples = Callable[[int], Any]


def listed(count: int) -> list[Sample]:
    return [Sample(number) for number in range(count)]


def chained(count: int) -> Sample:
    """The last of some samples, each of which knows the one before it: no list that could be left out as a whole."""
    sample = Sample(0)
    for number in range(1, count):
        sample = Sample(number, sample)
    return sample


def calls(samples: Samples, count: int) -> Works:
    """A call of a trainer that holds samples beside its model."""
    return {name: step_of(trainer) for name, trainer in _trainers(samples, count).items()}


def first_calls(samples: Samples, count: int) -> Works:
    """The first call of a new function of such a trainer: traced, compiled and run."""
    return {name: lambda trainer=trainer: step_of(trainer)() for name, trainer in _trainers(samples, count).items()}


def _trainers(samples: Samples, count: int) -> dict[str, Trainer]:
    return {"with": Trainer(samples=samples(count)), "without": Trainer(samples=None)}


calls_beside_list, calls_beside_chain = partial(calls, listed), partial(calls, chained)
first_calls_beside_list, first_calls_beside_chain = partial(first_calls, listed), partial(first_calls, chained)


# ------------------------------------------------------------------------------------------------ things on a module


def words(count: int) -> list[str]:
    return [f"word{number}" for number in range(count)]


def holding(thing: Any) -> Works:
    """A call of a module that holds something which no function reads."""
    works: Works = {}
    for name in ("with", "without"):
        net = small()
        if name == "with":
            net.data = thing
        works[name] = calls_of(net)
    return works


def numbers(count: int) -> Works:
    return holding(list(range(count)))


def vocabulary(count: int) -> Works:
    return holding({word: number for number, word in enumerate(words(count))})


def set_of_words(count: int) -> Works:
    return holding(set(words(count)))


def numpy_array(count: int) -> Works:
    return holding(np.zeros(count, np.float32))


# ------------------------------------------------------------------------------------------------ ways to call


def partners(count: int) -> Works:
    """One model with several others in turn, as arguments; one run is a call with each."""

    def calls(partners: list[nn.Linear]) -> Work:
        rng = nn.RandomState(0)
        model = nn.Sequential(*[nn.Linear(2, 2, rng=rng) for _ in range(50)])
        step, x = jit(lambda model, partner, x: partner(model(x))), point()

        def work() -> Any:
            out = None
            for partner in partners:
                out = step(model, partner, x)
            return out

        return work

    return {"with": calls([small() for _ in range(count)]), "without": calls([small()] * count)}


def dataclass_of(slots: bool) -> Any:
    @dataclasses.dataclass(slots=slots)
    class Holder:
        net: nn.Module

        @jit
        def step(self, x: jax.Array) -> Any:
            return self.net(x)

    return Holder(small())


def slots_by_hand() -> Any:
    class Holder:
        __slots__ = ("net",)

        def __init__(self, net: nn.Module) -> None:
            self.net = net

        @jit
        def step(self, x: jax.Array) -> Any:
            return self.net(x)

    return Holder(small())


def _method(holder: Any) -> Work:
    x = point()
    return lambda: holder.step(x)


def slots() -> Works:
    return {"with": _method(slots_by_hand()), "without": _method(dataclass_of(slots=False))}


def slots_of_dataclass() -> Works:
    return {"with": _method(dataclass_of(slots=True)), "without": _method(dataclass_of(slots=False))}


def mapped() -> Works:
    """A module under a raw ``jax.vmap``, itself and in a lambda."""
    rows = jnp.ones((BATCH, 2))

    def mapping(apply: Callable[[nn.Linear, jax.Array], Any]) -> Work:
        net = small()
        step = jit(lambda x: apply(net, x))
        return lambda: step(rows)

    return {
        "with": mapping(lambda net, x: jax.vmap(net)(x)),
        "without": mapping(lambda net, x: jax.vmap(lambda row: net(row))(x)),
    }


# ------------------------------------------------------------------------------------------------ many modules


class Gain(nn.Module):
    def __init__(self) -> None:
        self.weight = nn.ParamState(jnp.ones(()))
        self.slope = 1.0

    def __call__(self, x: jax.Array) -> jax.Array:
        return x * self.weight.value + self.slope


def gains(count: int) -> nn.Sequential:
    return nn.Sequential(*[Gain() for _ in range(count)])


def one_attribute(count: int) -> Works:
    def change(net: nn.Sequential) -> None:
        net.layers[0].slope = 1.0  # type: ignore[attr-defined]

    return changed(lambda: gains(count), calls_of, change)


def each_attribute(count: int) -> Works:
    def change(net: nn.Sequential) -> None:
        for layer in net.layers:
            layer.slope = 1.0  # type: ignore[attr-defined]

    return changed(lambda: gains(count), calls_of, change, dear=True)


def modes(count: int) -> Works:
    return changed(lambda: gains(count), calls_of, lambda net: net.eval().train(), dear=True)


# ------------------------------------------------------------------------------------------------ toggled


class Cooled(nn.Module):
    """A layer whose result is divided by a number."""

    def __init__(self) -> None:
        self.layer, self.temperature = small(), 1.0

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer(x) / self.temperature


class Cooler:
    """A plain object that does the same."""

    def __init__(self) -> None:
        self.layer, self.temperature = small(), 1.0

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer(x) / self.temperature


def toggled(make: Callable[[], Any]) -> Works:
    """One run is a call with each of two temperatures; the other side has the second all the time."""

    def calls(toggles: bool) -> Work:
        cooled = make()
        step = calls_of(lambda x: cooled(x))

        def work() -> Any:
            out = None
            for temperature in (2.0, 1.0):
                if toggles:
                    cooled.temperature = temperature
                out = step()
            return out

        return work

    return {"with": calls(toggles=True), "without": calls(toggles=False)}


def toggled_attribute() -> Works:
    return toggled(Cooled)


def toggled_plain() -> Works:
    return toggled(Cooler)


# ------------------------------------------------------------------------------------------------ hidden states


def cells(width: int = WIDTH) -> nn.Sequential:
    rng = nn.RandomState(0)
    return nn.Sequential(*[nn.GRUCell(width, width, rng=rng) for _ in range(4)])


def spiking() -> nn.Sequential:
    rng = nn.RandomState(0)
    return nn.Sequential(
        nn.Linear(WIDTH, 16, rng=rng),
        nn.LIF(16, tau=10.0),
        nn.Linear(16, WIDTH, rng=rng),
        nn.ExponentialSynapse(WIDTH, tau=10.0),
    )


def series(width: int = WIDTH, time: int = TIME) -> jax.Array:
    return jnp.ones((time, BATCH, width))


def from_rest(net: nn.Module, x: jax.Array) -> jax.Array:
    """Make the hidden states, and run through a series."""
    nn.init_all_states(net, BATCH)
    return for_loop(net, x).mean()


def run_from_rest(width: int = WIDTH, time: int = TIME) -> Works:
    net, x = cells(width), series(width, time)
    step = jit(lambda x: from_rest(net, x))
    shape, tree = treefy_split(cells(width))
    values, structure = jax.tree.flatten(tree)

    @jax.jit
    def raw(values: list[jax.Array], x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        net = treefy_merge(shape, structure.unflatten(values))
        out = from_rest(net, x)
        return out, [state.value for state in net.states(nn.HiddenState).values()]

    return {"with": lambda: step(x), "without": lambda: raw(values, x)[0]}


def train_from_rest(time: int = TIME) -> Works:
    x = series(time=time)
    step = train_step(spiking(), from_rest)
    params, rest, raw = raw_train_step(spiking(), from_rest)

    def work() -> jax.Array:
        nonlocal params
        loss, params, _ = raw(params, rest, x)  # what it hid is made anew
        return loss

    return {"with": lambda: step(x), "without": work}


# ------------------------------------------------------------------------------------------------ training, and traces

Loss = Callable[[Any, jax.Array], jax.Array]


def train_step(net: nn.Module, loss_of: Loss) -> Any:
    """A fresh step of gradient descent."""
    params = net.states(nn.ParamState)

    def step(x: jax.Array) -> jax.Array:
        loss, grads = value_and_grad(lambda: loss_of(net, x), params)()
        for path, grad in grads.items():
            params[path].value -= RATE * grad
        return loss

    return jit(step)


def raw_train_step(net: nn.Module, loss_of: Loss) -> tuple[list[jax.Array], list[jax.Array], Any]:
    """The same by hand: the parameters, the other values, and a fresh step of raw JAX; it runs the same layers."""
    shape, params, rest = treefy_split(net, nn.ParamState, ...)
    (first, of_params), (others, of_rest) = jax.tree.flatten(params), jax.tree.flatten(rest)

    def pure(params: Any, rest: Any, x: jax.Array) -> tuple[jax.Array, Any]:
        net = treefy_merge(shape, of_params.unflatten(params), of_rest.unflatten(rest))
        loss = loss_of(net, x)
        return loss, jax.tree.leaves(treefy_split(net, nn.ParamState, ...)[2])

    def step(params: Any, rest: Any, x: jax.Array) -> tuple[jax.Array, Any, Any]:
        (loss, rest), grads = jax.value_and_grad(pure, has_aux=True)(params, rest, x)
        return loss, [p - RATE * g for p, g in zip(params, grads, strict=True)], rest

    return first, others, jax.jit(step)


class Block(nn.Module):
    def __init__(self, number: int, rng: nn.RandomState) -> None:
        self.norm = nn.LayerNorm(WIDTH) if number % 2 else nn.BatchNorm(WIDTH)
        self.linear = nn.Linear(WIDTH, WIDTH, rng=rng)
        self.dropout = nn.Dropout(0.1, rng=rng)

    def __call__(self, x: jax.Array) -> jax.Array:
        return x + self.dropout(nn.gelu(self.linear(self.norm(x))))


class Deep(nn.Module):
    """Blocks of norms and dropout behind a gate, which a raw ``jax.checkpoint`` is put around."""

    def __init__(self, blocks: int) -> None:
        rng = nn.RandomState(0)
        self.gate = nn.ParamState(jnp.ones(WIDTH))
        self.blocks = [Block(number, rng) for number in range(blocks)]

    def __call__(self, x: jax.Array) -> jax.Array:
        for block in self.blocks:
            x = block(x)
        return x


def trace_stack(layers: int) -> Works:
    works = tracing(layers)
    return {"with": works["ours"], "without": works["raw"]}


def deep_loss(net: Deep, x: jax.Array) -> jax.Array:
    return jnp.mean(net(net.gate.value * x) ** 2)


def deep_loss_reading(net: Deep, x: jax.Array) -> jax.Array:
    """The body of the checkpoint reads a State, so that JAX's caches have to be told apart from here on."""
    return jnp.mean(net(jax.checkpoint(lambda x: net.gate.value * x)(x)) ** 2)


def deep_loss_passing(net: Deep, x: jax.Array) -> jax.Array:
    return jnp.mean(net(jax.checkpoint(lambda gate, x: gate * x)(net.gate.value, x)) ** 2)


def rows_of_numbers() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(BATCH, WIDTH)), jnp.float32)


def trace_deep(blocks: int) -> Works:
    ours, theirs, x = Deep(blocks), Deep(blocks), rows_of_numbers()

    def raw() -> Any:
        params, rest, step = raw_train_step(theirs, deep_loss)
        return step.trace(params, rest, x)

    return {"with": lambda: train_step(ours, deep_loss).trace(x), "without": raw}


def trace_deep_with_token(blocks: int) -> Works:
    reading, passing, x = Deep(blocks), Deep(blocks), rows_of_numbers()
    return {
        "with": lambda: train_step(reading, deep_loss_reading).trace(x),
        "without": lambda: train_step(passing, deep_loss_passing).trace(x),
    }


def checkpointed_step(model: Stack) -> Any:
    """The step of `_cases.our_step`, its first layer in a raw ``jax.checkpoint``."""
    params = {f"{i}.{k}": getattr(layer, k) for i, layer in enumerate(model.layers) for k in "wb"}

    def loss_of(x: jax.Array, y: jax.Array) -> jax.Array:
        model.calls.value += 1
        first, *others = model.layers
        x = jax.checkpoint(lambda x: first(x))(x)
        for layer in others:
            x = layer(x)
        return jnp.mean((x - y) ** 2)

    def step(x: jax.Array, y: jax.Array) -> jax.Array:
        loss, grads = value_and_grad(loss_of, params)(x, y)
        for name, param in params.items():
            param.value = param.value - RATE * grads[name]
        return loss

    return jit(step)


def raw_checkpointed_step() -> Any:
    """The step of `_cases.raw_step` with the same checkpoint; its body closes over traced weights."""

    def layer(w: jax.Array, b: jax.Array, x: jax.Array) -> jax.Array:
        return jnp.tanh(x @ w + b)

    def loss_of(params: Any, calls: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, jax.Array]:
        (w, b), *others = params
        x = jax.checkpoint(lambda x: layer(w, b, x))(x)
        for w, b in others:
            x = layer(w, b, x)
        return jnp.mean((x - y) ** 2), calls + 1

    def step(params: Any, calls: jax.Array, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Any, jax.Array]:
        (loss, calls), grads = jax.value_and_grad(loss_of, has_aux=True)(params, calls, x, y)
        return loss, jax.tree.map(lambda p, g: p - RATE * g, params, grads), calls

    return jax.jit(step)


def trace_stack_with_token(layers: int) -> Works:
    model, (x, y) = Stack(layers), batch()
    params, calls = weights(layers), jnp.array(0)
    return {
        "with": lambda: checkpointed_step(model).trace(x, y),
        "without": lambda: raw_checkpointed_step().trace(params, calls, x, y),
    }
