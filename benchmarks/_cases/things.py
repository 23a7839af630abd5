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
from brainstate_transform import jit

from .._arena.timing import Work

WIDTH, BATCH = 8, 4

Pair = dict[str, Work]

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
) -> Pair:
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


def counter() -> Pair:
    def count(trainer: Trainer) -> None:
        trainer.count += 1

    return changed(Trainer, step_of, count)


def meter() -> Pair:
    return changed(lambda: Trainer(meter=Meter()), step_of, lambda trainer: trainer.meter.update(1.0))  # type: ignore[attr-defined]


def counted_dict() -> Pair:
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


def calls(samples: Samples, count: int) -> Pair:
    """A call of a trainer that holds samples beside its model."""
    return {name: step_of(trainer) for name, trainer in _trainers(samples, count).items()}


def first_calls(samples: Samples, count: int) -> Pair:
    """The first call of a new function of such a trainer: traced, compiled and run."""
    return {name: lambda trainer=trainer: step_of(trainer)() for name, trainer in _trainers(samples, count).items()}


def _trainers(samples: Samples, count: int) -> dict[str, Trainer]:
    return {"with": Trainer(samples=samples(count)), "without": Trainer(samples=None)}


calls_beside_list, calls_beside_chain = partial(calls, listed), partial(calls, chained)
first_calls_beside_list, first_calls_beside_chain = partial(first_calls, listed), partial(first_calls, chained)


# ------------------------------------------------------------------------------------------------ things on a module


def words(count: int) -> list[str]:
    return [f"word{number}" for number in range(count)]


def holding(thing: Any) -> Pair:
    """A call of a module that holds something which no function reads."""
    works: Pair = {}
    for name in ("with", "without"):
        net = small()
        if name == "with":
            net.data = thing
        works[name] = calls_of(net)
    return works


def numbers(count: int) -> Pair:
    return holding(list(range(count)))


def vocabulary(count: int) -> Pair:
    return holding({word: number for number, word in enumerate(words(count))})


def set_of_words(count: int) -> Pair:
    return holding(set(words(count)))


def numpy_array(count: int) -> Pair:
    return holding(np.zeros(count, np.float32))


# ------------------------------------------------------------------------------------------------ ways to call


def partners(count: int) -> Pair:
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


def slots() -> Pair:
    return {"with": _method(slots_by_hand()), "without": _method(dataclass_of(slots=False))}


def slots_of_dataclass() -> Pair:
    return {"with": _method(dataclass_of(slots=True)), "without": _method(dataclass_of(slots=False))}


def mapped() -> Pair:
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


def one_attribute(count: int) -> Pair:
    def change(net: nn.Sequential) -> None:
        net.layers[0].slope = 1.0  # type: ignore[attr-defined]

    return changed(lambda: gains(count), calls_of, change)


def each_attribute(count: int) -> Pair:
    def change(net: nn.Sequential) -> None:
        for layer in net.layers:
            layer.slope = 1.0  # type: ignore[attr-defined]

    return changed(lambda: gains(count), calls_of, change, dear=True)


def modes(count: int) -> Pair:
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


def toggled(make: Callable[[], Any]) -> Pair:
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


def toggled_attribute() -> Pair:
    return toggled(Cooled)


def toggled_plain() -> Pair:
    return toggled(Cooler)
