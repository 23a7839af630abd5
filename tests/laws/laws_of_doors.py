"""Every way to a value goes through the door, also for states that are made inside."""

from __future__ import annotations

import copy

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from brainstate_graph import (
    Node,
    State,
    TraceContextError,
    WithTag,
    catch_new_states,
    clone,
    graph_to_tree,
    graphdef,
    iter_leaf,
    merge_context,
    pop_states,
    split_context,
    states,
    tree_to_graph,
    treefy_merge,
    treefy_split,
    treefy_states,
    update_states,
)
from brainstate_nn import Dropout, LayerNorm, Linear, Sequential
from tests.laws.law import against_plain, law, one
from tests.laws.transforms import (
    DERIVATIVES,
    Net,
    Param,
    Tied,
    holds_tracer,
)

READS = {
    "clone": lambda s: clone([s])[0].value,
    "split": lambda s: treefy_split({"a": [s]})[1]["a"][0].value,
    "split and merge": lambda s: treefy_merge(*treefy_split([s]))[0].value,
    "treefy_states": lambda s: treefy_states([s])[0].value,
    "pure dict": lambda s: treefy_states([s]).to_pure_dict()[0],
    "states": lambda s: states([s]).to_dict_values()[0,],
    "deepcopy": lambda s: copy.deepcopy(s).value,
    "deepcopy of a node": lambda s: copy.deepcopy(Holder(s)).s.value,
    "copy": lambda s: s.copy().value,
    "copy.copy": lambda s: copy.copy(s).value,
    "replace": lambda s: s.replace(name="other").value,
    "graph_to_tree": lambda s: jax.tree.leaves(graph_to_tree({"s": s})[0])[0],
    "there and back": lambda s: tree_to_graph(graph_to_tree([Holder(s)])[0])[0].s.value,
    "iter_leaf": lambda s: next(iter_leaf([s]))[1].value,
    "state of a state": lambda s: State(s).value,
    "update": lambda s: (other := type(s)(jnp.zeros(())), update_states([other], {0: s}), other.value)[-1],
    "update by tree": lambda s: (o := type(s)(jnp.zeros(())), update_states([o], treefy_states([s])), o.value)[-1],
    "merge of live": lambda s: treefy_merge(graphdef([s]), {0: s})[0].value,
    "pop": lambda s: pop_states({"a": s}, ...)["a",].value,
}


WRITES = {
    "update": lambda m, v: update_states(m, {"s": v}),
    "update by tree": lambda m, v: update_states(m, jax.tree.map(lambda _: v, treefy_states(m))),
    "update by state": lambda m, v: update_states(m, {"s": State(v)}),
    "update by merged": lambda m, v: update_states(m, treefy_states(treefy_merge(graphdef(m), {"s": v}))),
    "restore": lambda m, v: m.s.restore_value(v),
    "value": lambda m, v: setattr(m.s, "value", v),
}


class Holder(Node):
    def __init__(self, s):
        self.s = s


def read_all(boxes):
    return jnp.stack([read(box) for read, box in zip(READS.values(), boxes, strict=True)])


@law()
def reads_through_every_door(wrap):
    """Each verb of the graph gives the value of the trace: the one from outside, and the one written before it."""
    boxes, found = [State(jnp.float32(2.0)) for _ in READS], State(jnp.zeros(len(READS)))
    after = State(jnp.zeros(len(READS)))

    def f(x):
        found.value = read_all(boxes)
        for box in boxes:
            box.value = box.value * 3.0 * x
        after.value = read_all(boxes)
        return x

    wrapped = wrap(f)
    for start in (2.0, 100.0):
        for box in boxes:
            box.value = jnp.float32(start)
        wrapped(one)
        assert dict(zip(READS, found.value.tolist(), strict=True)) == dict.fromkeys(READS, start)
        assert dict(zip(READS, after.value.tolist(), strict=True)) == dict.fromkeys(READS, 3.0 * start)
        assert all(box.value == 3.0 * start for box in boxes)


@law()
def writes_through_every_door(wrap):
    """Each verb of the graph writes into the trace, and what it writes arrives."""
    models = {name: Holder(State(jnp.ones(()))) for name in WRITES}

    def f(x):
        for name, model in models.items():
            WRITES[name](model, treefy_states(model)["s"].value + x)
        return sum(treefy_states(model)["s"].value for model in models.values())

    wrapped = wrap(f)
    for k in (2.0, 3.0):
        assert wrapped(one) == k * len(WRITES)
        assert {name: float(model.s.value) for name, model in models.items()} == dict.fromkeys(WRITES, k)


@law()
def copies_stand_apart(wrap):
    """A copy made inside has the values of the moment, takes no write of the original, and passes none on."""

    def f(m, x):
        before = treefy_states(m, Param)
        m.w.value = m.w.value + x
        copies = [clone(m), copy.deepcopy(m), treefy_merge(*treefy_split(m))]
        y = sum(other(x) for other in copies)
        for other in copies:
            other.w.value = other.w.value * 100.0
        doubled = treefy_merge(graphdef(m), jax.tree.map(lambda v: v * 2.0, treefy_states(m)))
        y = y + doubled(x) + m.w.copy().value + m.w.replace(x).value + m.w.value + m.n.value
        update_states(m, before)
        return y

    against_plain(wrap, Net(), f)


@law()
def reads_its_own_writes(wrap):
    """A write without a read, and reads of what was written just before."""

    def f(m, x):
        m.w.value = x
        m.w.value = m.w.value + m.w.value
        m.n.value = 2.0 * x
        return m.w.value

    against_plain(wrap, Net(), f)


@law()
def runs_graph_verbs(wrap):
    """Contexts, popping, catching, tags and private containers work on graphs inside as they do outside."""
    nested = Tied()
    private = Holder(None)
    private._table = {"w": State(jnp.array(2.0)), "inner": Net(3.0)}

    def f(x):
        nested.a.w.value = nested.a.w.value + x
        with split_context() as (ctx, _):
            parts = ctx.treefy_split(nested)
        with merge_context() as (ctx, table):
            again = ctx.treefy_merge(*parts)
        assert any(item is again for item in table.values())
        assert [item for item in table.values() if item is again.a] == [again.a]
        again.a.w.value = again.a.w.value * 2.0
        own = treefy_merge(*treefy_split(nested))
        own.again = own.a
        (popped,) = jax.tree.leaves(pop_states(own, Param))
        assert "w" not in vars(own.a)
        assert "w" not in vars(own.b)
        with catch_new_states("first") as first:
            a = State(x)
        with catch_new_states("second", exclude=Param) as second:
            b, c = State(x * 2.0), Param(x * 3.0)
        assert (first, second) == ([a], [b])
        assert (a.tag, b.tag, c.tag) == ({"first"}, {"second"}, None)
        assert list(states([a, b, c], WithTag("second")).values()) == [b]
        private._table["w"].value = private._table["w"].value + x
        table = treefy_merge(*treefy_split(private))._table
        value = popped.value if isinstance(popped, State) else popped
        return again.b.w.value + nested.a.w.value + value + table["w"].value * table["inner"](x)

    assert wrap(f)(one) == 6.0 + 3.0 + 3.0 + 9.0
    assert nested.a.w is nested.b.w
    assert (nested.b.w.value, private._table["w"].value, private._table["inner"].n.value) == (3.0, 3.0, 0.0)


@law()
def any_layer_is_a_good_node(wrap):
    """Layers of brainstate_nn are taken apart and put together inside."""
    layers = [Linear(2, 2), Sequential(Linear(2, 2), Dropout(0.5)), LayerNorm(2), Dropout(0.5)]
    shapes = [jax.tree.structure(treefy_split(layer)) for layer in layers]

    def f(x):
        for layer, shape in zip(layers, shapes, strict=True):
            again = treefy_merge(*treefy_split(layer))
            assert type(again) is type(layer)
            assert jax.tree.structure(treefy_split(again)) == shape
        return x

    assert wrap(f)(one) == 1.0
    assert not any(map(holds_tracer, layers))


@law()
def makes_temporary_states(wrap):
    """States made inside work as any, and are gone afterwards."""

    def f(m, x):
        helper, total = Net(5.0), State(jnp.zeros(()))
        helper.w.value = helper.w.value + x
        for _ in range(3):
            total.value = total.value + clone(helper).w.value
        return helper(x) + m(x) + total.value

    against_plain(wrap, Net(), f)


@law(without=[*DERIVATIVES, "vmap", "checkpoint", "checkify"])  # which run Python: what the list holds comes out
def heals_states_that_outlive_it(wrap):
    """A state that was kept past the end of its trace says so at each use, and is as good as any once it is written."""
    for traced in (True, False):
        kept = []

        def f(x, traced=traced, kept=kept):
            kept.append(State(x * 2.0 if traced else 3.0, name="temporary"))
            kept[-1].value = kept[-1].value + 1.0
            return x

        wrap(f)(one)
        state = kept[-1]
        uses = (lambda s: s.value, lambda s: treefy_split([s]), lambda s: s.copy(), lambda s: clone([s]))
        for use in uses:
            with pytest.raises(TraceContextError, match=r"temporary.*made inside a transformed function"):
                use(state)
        assert "inside a transform" in repr(state)
        state.value = jnp.float32(5.0)
        wrapped = wrap(lambda x, state=state: setattr(state, "value", state.value + x) or state.value)
        assert (wrapped(one), wrapped(one), state.value) == (6.0, 7.0, 7.0)
        assert not holds_tracer([state])


@law()
def tracks_states_born_with_a_number(wrap):
    """A state made inside with a number of Python is one of the trace, and like any once it is written outside."""
    kept = []

    def make(x):
        kept[:] = [State(3.0), State(np.ones(2))]
        return x

    wrap(make)(one)
    for state, born_with in zip(kept, (3.0, np.ones(2)), strict=True):
        try:
            np.testing.assert_array_equal(state.value, born_with)
        except TraceContextError:  # in a program, a list that held no state was not looked at
            continue
    born = kept[0]
    born.value = jnp.float32(10.0)
    g = wrap(lambda x: setattr(born, "value", born.value + x) or born.value)
    assert (g(one), g(one), born.value) == (11.0, 12.0, 12.0)


@law()
def tells_hooks_once(wrap):
    """A hook that changes what is written does so once; one that refuses stops the call; copies have none."""

    def run(wrap):
        s, told = State(jnp.float32(1.0)), []

        def double(context):
            context.value = context.value * 2.0

        with s.register_hook("write_before", double), s.register_hook("restore", told.append):
            f = wrap(lambda x: setattr(s, "value", s.value + x) or s.value)
            return [float(f(one)) for _ in range(3)], float(s.value), told

    assert run(wrap) == run(lambda f: f) == ([4.0, 10.0, 22.0], 22.0, [])
    s, t, fired = State(jnp.ones(()), tag="old"), State(jnp.ones(())), []

    def refuse(context):
        raise InterruptedError("not now")

    def f(x):
        t.value = x * 5.0
        s.value = x
        return x

    with s.register_hook("write_before", refuse), pytest.raises(InterruptedError, match=r"^not now"):
        wrap(f)(one)
    assert (s.value, t.value) == (1.0, 1.0)

    def copies(x):
        copy, other = s.copy(), s.replace(x, tag="new")
        with copy.register_hook("read", lambda context: fired.append("copy")):
            y = copy.value + other.value
        assert (copy.tag, other.tag, s.tag) == ({"old"}, {"new"}, {"old"})
        return y

    with s.register_hook("read", lambda context: fired.append("original")):
        assert wrap(copies)(one) == 2.0
    assert set(fired) == {"copy"}
