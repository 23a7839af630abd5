"""Listings: equal programs have equal ones, however they were made, and others are told by their first difference."""

from __future__ import annotations

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from brainstate_transform._jit.listing import difference_of, listing, tree_key
from tests.tables import each

x = jnp.arange(3.0)


def lines(fun):
    return list(listing(jax.make_jaxpr(fun)(x)))


def difference(one, other):
    """The difference of two functions, which has to be there both ways."""
    told, back = difference_of(lines(one), lines(other)), difference_of(lines(other), lines(one))
    assert (told is None) == (back is None)
    return told


# -- equal programs; each is made twice by a function of its own


def inner_jit(number):
    def named(y):
        return y + 1

    named.__name__ = named.__qualname__ = f"name_{number}"
    return lambda x: jax.jit(named)(x)


def rule_of_jvp(number):
    @jax.custom_jvp
    def f(x):
        return jnp.sin(x)

    f.defjvp(lambda primals, tangents: (f(*primals), tangents[0] + 0 * number))
    return lambda x: (f(x), jax.vmap(f)(x))


def rule_of_vjp(number):
    f = jax.custom_vjp(jnp.sin)
    f.defvjp(lambda x: (jnp.sin(x), None), lambda _, ct: (ct,))
    return lambda x: (f(x), jax.vjp(f, x)[1](x))


def loops(number):
    def body(c, x):
        return c + 1.0, c * x

    return lambda x: (
        jax.lax.scan(body, 0.0, x),
        jax.lax.while_loop(lambda c: c < 3, lambda c: c + 1, 0),
        jax.lax.fori_loop(0, 3, lambda i, c: c + i, 0),
        jax.lax.switch(1, [jnp.sin, jnp.cos], x),
    )


def callback_made_anew(number):
    scale, many, itself = 2.0, (1, "a", np.ones(2)), None

    def call(y):
        assert itself is None or call
        return y * np.float32(scale) + np.float32(many[0])

    return lambda x: jax.pure_callback(call, x, x)


def callback_of_a_partial(number):
    add = functools.partial(np.add, np.float32(1.0))
    return lambda x: jax.pure_callback(functools.partial(add), x, x)


def callback_that_counts(number):
    """What a list holds is what the callback sees when it runs."""
    seen = [number]
    return lambda x: jax.debug.callback(lambda y: seen.append(y), x)


def policy(number):
    keep = jax.checkpoint_policies.save_only_these_names("a")
    return lambda x: jax.checkpoint(lambda y: checkpoint_name(jnp.sin(y), "a"), policy=keep)(x)


def constants(number):
    table = np.array([np.nan, -0.0, 0.0], np.float32)
    weights = jnp.full(3, 2.0, jnp.bfloat16)
    key = jax.random.key(3)
    return lambda x: (x * table * np.nan, x.astype(jnp.bfloat16) * weights, jax.random.uniform(key, (3,)))


def sharding(number):
    mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    where = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("i"))
    return lambda x: jax.lax.with_sharding_constraint(x, where)


EQUAL = [
    inner_jit, rule_of_jvp, rule_of_vjp, loops, callback_made_anew, callback_of_a_partial, callback_that_counts, policy,
    constants, sharding,
]  # fmt: skip


@each("make", EQUAL)
def test_equal_programs(make):
    assert difference(make(0), make(1)) is None


def test_variables_and_lines_are_no_part():
    def one(x):
        a = jnp.sin(x)
        return a, x

    def other(y):
        b = jnp.sin(y)

        return b, y

    assert difference(one, other) is None


# -- others


def callback(scale=2.0, add=np.add, held=1.0):
    def call(y):
        return add(y * np.float32(scale), np.float32(held))

    return lambda x: jax.pure_callback(call, x, x)


def kept(name, policy_of="a"):
    keep = jax.checkpoint_policies.save_only_these_names(policy_of)
    return lambda x: jax.checkpoint(lambda y: checkpoint_name(jnp.sin(y), name), policy=keep)(x)


def times(array):
    return lambda x: x * array


def scanned(body):
    return lambda x: jax.lax.scan(body, 0.0, x)


f32 = np.float32
OTHERS = [
    (lambda x: x * 2, lambda x: x * 3, r"a constant of `mul`, 2.0 is now 3.0, at \S+test_listing.py:\d+"),
    (lambda x: x * 2, lambda x: 2 * x, r"`mul a:f32\[3\] 2.0` is now `mul 2.0 a:f32\[3\]`"),
    (lambda x: x - x.sum(), lambda x: x.sum() - x, r"`sub a:f32\[3\] \w:f32\[\]` is now `sub \w:f32\[\] a:f32\[3\]`"),
    (jnp.sin, jnp.cos, r"`sin a:f32\[3\]` is now `cos a:f32\[3\]`"),
    (jnp.sin, lambda x: jnp.sin(jnp.sin(x)), r"`return b:f32\[3\]` is now `sin b:f32\[3\]`"),
    (lambda x: (x, x + 1), lambda x: (x + 1, x), r"`return a:f32\[3\] b:f32\[3\]` is now `return b:f32\[3\] a"),
    (lambda x: (x, x), lambda x: x, r"`return a:f32\[3\] a:f32\[3\]` is now `return a:f32\[3\]`"),
    (lambda x: x.sum(0), lambda x: x.max(0), "`reduce_sum .*` is now `reduce_max"),
    (lambda x: jnp.zeros((2, 3)), lambda x: jnp.zeros((3, 2)), r"`shape` of `broadcast_in_dim`: \(2, 3\) is now \(3"),
    (times(f32(0.0)), times(f32(-0.0)), r"`mul`, 0.0 is now -0.0"),
    (times(f32(np.nan)), times(f32(1.0)), r"`mul`, nan is now 1.0"),
    (times(np.zeros(3, f32)), times(np.array([0.0, -0.0, 0.0], f32)), r"f32\[3\], at \[1\]: 0.0 is now -0.0"),
    (times(np.ones(3, f32)), times(np.ones(1, f32)), r"f32\[3\] is now f32\[1\]"),
    (times(jnp.ones(3)), times(jnp.arange(3.0)), r"f32\[3\], at \[0\]: 1.0 is now 0.0"),
    (scanned(lambda c, x: (c + 1.0, x)), scanned(lambda c, x: (c + 2.0, x)), "a constant of `add`, 1.0 is now 2.0"),
    (lambda x: jax.jit(jnp.sin)(x), lambda x: jax.jit(jnp.cos)(x), "`sin .*` is now `cos"),
    (lambda x: x.sum().astype("int32"), lambda x: x.sum().astype("int16"), "`new_dtype` of `convert_element_type`: "),
    (inner_jit(0), lambda x: jax.jit(lambda y: y.sum())(x), r"`jit` gave f32\[3\], and gives f32\[\] now"),
    (lambda x: jax.jit(lambda: 1.0)(), lambda x: jax.jit(lambda: jnp.float32(1))(), r"f32\[\] weak, and gives f32"),
    (callback(), callback(scale=3.0), "`callback` of `pure_callback`"),
    (callback(), callback(add=np.subtract), "`callback` of `pure_callback`"),
    (callback(held=np.ones(2)), callback(held=np.zeros(2)), "`callback` of `pure_callback`"),
    (callback(), lambda x: jax.pure_callback(lambda y: y * 2, x, x), "`callback` of `pure_callback`"),
    (kept("a"), kept("b"), "`name` of `name`: 'a' is now 'b'"),
    (kept("a"), kept("a", "b"), "`policy` of `(checkpoint|remat2)`: .* is now "),
]  # fmt: skip


@each("one, other, told", OTHERS)
def test_other_programs(one, other, told):
    said = difference(one, other)
    assert said is not None
    assert re.search(told, said), said


def test_a_listing_keeps_what_an_array_held():
    table = np.ones(3, np.float32)
    program = jax.make_jaxpr(lambda x: x * table)(x)
    before = list(listing(program))
    table[0] = 2.0
    assert difference_of(before, lines(lambda x: x * table)) is not None


def test_keys_and_deleted_arrays():
    def draw(key):
        return lambda x: jax.random.uniform(key)

    assert difference(draw(jax.random.key(0)), draw(jax.random.key(1))) is not None
    array = jnp.ones(3)
    program = jax.make_jaxpr(times(array))(x)
    before = list(listing(program))
    array.delete()
    assert difference_of(before, list(listing(program))) is not None
    assert difference_of(list(listing(program)), list(listing(program))) is None


class Result:
    """A result whose static part compares by identity."""

    def __init__(self, value, static):
        self.value, self.static = value, static


jax.tree_util.register_pytree_node(Result, lambda r: ((r.value,), r.static), lambda s, c: Result(c[0], s))


@each(
    "one, other, equal",
    [
        ({"a": 1}, {"a": 2}, True),
        ({"a": 1}, {"b": 1}, False),
        ([1, 2], (1, 2), False),
        ([1, None], [1, 2], False),
        (Result(1, "a"), Result(1, "a"), True),
        (Result(1, "a"), Result(1, "b"), False),
        (Result(1, 1), Result(1, 1.0), False),
        (Result(1, object()), Result(1, object()), True),
        (Result(1, np.ones(2)), Result(1, np.ones(2)), True),
        (Result(1, np.ones(2)), Result(1, np.zeros(2)), False),
    ],
)
def test_structures(one, other, equal):
    assert (tree_key(jax.tree.structure(one)) == tree_key(jax.tree.structure(other))) == equal
