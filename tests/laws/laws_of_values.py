"""Shapes, types and looks of values are those of plain Python; so are errors, also without compiling."""

from __future__ import annotations

import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    Node,
    State,
    check_state_value_tree,
    treefy_states,
    update_states,
)
from brainstate_nn import RandomState
from tests.laws.law import law, one
from tests.laws.transforms import (
    DERIVATIVES,
    LOOPS,
    Net,
    Stack,
    same,
    values,
)


@law()
def keeps_weak_types(wrap):
    """A number of Python in a state gives way to the dtypes that it meets, as in JAX."""
    s, x = State(2.0), jnp.ones((), jnp.bfloat16)

    def f(_):
        y = s.value * x
        s.value = s.value + 1.0
        return y.astype(jnp.float32) * (y.dtype == jnp.bfloat16)

    wrapped = wrap(f)
    assert (wrapped(one), wrapped(one)) == (2.0, 3.0)


@law()
def follows_shapes_from_outside(wrap):
    """Between calls a state may change its shape, dtype and structure, and what is written follows."""
    s = State(jnp.ones(3))

    def f(x):
        s.value = jax.tree.map(lambda v: v + 1, s.value)
        return sum(jnp.size(v) for v in jax.tree.leaves(s.value)) * x

    wrapped = wrap(f)
    for value in (jnp.ones(3), jnp.ones((2, 2)), {"a": jnp.ones(5)}, None, 2.0, jnp.ones(3, jnp.int32), jnp.ones(0)):
        wanted = jax.tree.map(lambda v: v + 1, value)
        s.value = value
        assert wrapped(jnp.float32(2.0)) == 2.0 * sum(jnp.size(v) for v in jax.tree.leaves(wanted))
        assert same(s.value, wanted)


@law(without=[*LOOPS, "jit_donating"])
def follows_shapes_from_inside(wrap):
    """A write may change the shape of a state."""
    s = State(jnp.ones(()))

    def f(x):
        s.value = jnp.stack([s.value, s.value])
        return x

    wrapped = wrap(f)
    for n in (1, 2, 3):
        wrapped(one)
        assert s.value.shape == (2,) * n


@law()
def holds_states_to_their_structure(wrap):
    """What `check_state_value_tree` allows is allowed inside, and what it refuses is refused."""
    s = State((jnp.ones(()), jnp.ones(())))
    with check_state_value_tree():
        wrap(lambda x: setattr(s, "value", (x, s.value[0])) or x)(jnp.float32(5.0))
        with pytest.raises(ValueError, match=r"structure"):
            wrap(lambda x: setattr(s, "value", x) or x)(one)
    assert s.value == (5.0, 1.0)


class Holder(Node):
    def __init__(self, s):
        self.s = s


@law()
def shows_anything(wrap):
    """Models, states and trees show inside whatever they hold, objects that do not show among it."""
    model = Holder(State(jnp.ones(())))
    model.odd, model.items = Odd(), [{1: Odd()}]
    odd = {"a": [object()], "b": Odd(), "c": "text", "d": None, "e": jax.random.key(0), "f": np.array([object()])}
    shown = []

    def f(x):
        model.s.value = model.s.value * x
        made = Holder(State(x))
        made.model, made.raw = model, [State(value) for value in odd.values()]
        tree = treefy_states(Holder(model.s))
        shown.extend(map(repr, (model, made, made.s, *made.raw, tree, tree.to_flat(), tree["s"])))
        shown.extend(map(str, (model, made)))
        return x

    wrap(f)(one)
    assert all("Holder" in text or "State" in text or "Dict" in text for text in shown)


class Odd:
    def __repr__(self):
        raise ValueError("I do not show")


@law()
def runs_with_and_without_compiling(wrap):
    """One function runs by turns with and without `jax.disable_jit`; states beyond its graph are found there too."""
    m = Stack(*map(float, range(1, 30)))
    hidden = weakref.ref(m)
    f, g = wrap(lambda x: m.layers[2](x)), wrap(lambda x: hidden().layers[3](x))
    for _ in range(2):
        assert (f(one), g(one)) == (3.0, 4.0)
        with jax.disable_jit():
            assert (f(one), g(one)) == (3.0, 4.0)
    assert (m.layers[2].n.value, m.layers[3].n.value) == (4.0, 4.0)


@law(without=[*DERIVATIVES, "vmap", "shard_map", "checkpoint"])  # JAX itself traces in these
def shows_numbers_without_compiling(wrap):
    """Without compiling, the code of the user sees numbers, where JAX itself does not trace."""
    m, seen = Net(), []

    def f(x):
        seen.append(float(x) + float(m.w.value))
        return x

    with jax.disable_jit():
        wrap(f)(one)
    assert seen == [3.0]


@law()
def gives_the_same_errors_without_compiling(wrap):
    """An error has the same type and first line without compiling."""
    faults = {
        "error of the user": lambda m, x: (_ for _ in ()).throw(LookupError("mine")),
        "shapes": lambda m, x: jnp.ones(2) @ jnp.ones(3),
        "wrong structure": lambda m, x: update_states(m, {"nothing": 1.0}),
    }

    def attempt(fault):
        m, stream = Net(), RandomState(0)
        before = values(m)

        def f(x):
            m.w.value = m.w.value * 0.5 + m(x)
            stream.split_key()
            return fault(m, x)

        with pytest.raises(Exception) as caught:
            wrap(f)(one)
        assert same(values(m), before)
        return type(caught.value), str(caught.value).splitlines()[0]

    for name, fault in faults.items():
        want = attempt(fault)
        with jax.disable_jit():
            assert attempt(fault) == want, name


@law()
def lets_an_error_out_as_it_is(wrap):
    """The exception of the user is the one that comes out, with nothing of ours on top; a stream is as it was."""
    m, stream, error = Net(), RandomState(0), KeyboardInterrupt("mine")
    before = jax.random.key_data(stream.split_key()), stream.value[1]

    def f(x):
        stream.split_key()
        m.w.value = m.w.value + m(x)
        raise error

    with pytest.raises(KeyboardInterrupt) as caught:
        wrap(f)(one)
    assert caught.value is error
    assert caught.value.args == ("mine",)
    seen = error.__cause__ or error.__context__
    while seen is not None:  # JAX itself may note that it has shortened the traceback
        assert not type(seen).__module__.startswith("brainstate")
        seen = seen.__cause__ or seen.__context__
    assert stream.value[1] == before[1]
