"""What is let go once nobody holds it, and models that are deeper than Python may recurse."""

from __future__ import annotations

import gc
import pickle
import weakref
from typing import Any

import jax
import jax.numpy as jnp

from brainstate_graph import State, clone, graphdef, nodes, states, treefy_split, treefy_states, update_states
from brainstate_transform import jit
from tests.laws.graphs import Gadget, chain, net

one = jnp.float32(1.0)  # an argument; not for a state, whose buffer may be donated


def test_classes_models_and_shapes_are_let_go():
    def use() -> list[weakref.ref[Any]]:
        class Model(Gadget):
            pass

        class Kind(State):
            pass

        model = Model(w=Kind(jnp.ones(2)), k=Gadget.__new__(Gadget))
        treefy_split(model, Kind, ...)
        states(model, Kind), nodes(model, Model), clone(model), repr(model), str(graphdef(model))
        jit(lambda m: m.w.value * 2)(model)
        update_states(model, treefy_states(model))
        pickle.dumps(treefy_states(net(1)))
        return [weakref.ref(x) for x in (Model, Kind, model, model.w, graphdef(model))]

    refs = use()
    jax.clear_caches()
    gc.collect()
    gc.collect()
    alive = [ref() for ref in refs]
    assert alive == [None] * len(refs)


def test_depth_is_no_limit():
    model = chain(3_000)
    f = jit(lambda m, x: m.w.value + m.next[0]["n"].w.value + x)
    assert f(model, one) == 2.0
    assert jit(lambda x: clone(model).w.value + x)(one) == 1.0
