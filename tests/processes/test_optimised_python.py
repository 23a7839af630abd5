"""Errors under ``python -O``, which removes assertions."""

from __future__ import annotations

import textwrap

from tests.processes.run import output_of


def test_bad_arguments_of_transforms_are_refused():
    code = """
        import jax.numpy as jnp
        import brainstate_transform as t
        from brainstate_graph import State
        s, xs = State(jnp.zeros(2)), jnp.arange(3.0)
        bad = {
            "not callable": lambda: t.jit(3),
            "no such argument": lambda: t.jit(lambda x: x, static_argnums=4),
            "unhashable": lambda: t.jit(lambda x: x, static_argnums=0)([1]),
            "state": lambda: t.jit(lambda x: x)(s),
            "state result": lambda: t.jit(lambda: s)(),
            "argnums": lambda: t.grad(lambda x: x, argnums=-2)(1.0),
            "no such state": lambda: t.grad(lambda x: x, s)(1.0),
            "not a pair": lambda: t.grad(lambda x: x, has_aux=True)(1.0),
            "lanes": lambda: t.vmap(lambda x: x, in_axes=None)(1.0),
            "per lane": lambda: t.vmap(lambda x: setattr(s, "value", x))(xs),
            "length": lambda: t.for_loop(lambda x: x, xs, length=5),
            "no length": lambda: t.for_loop(lambda: 0.0),
            "scalar": lambda: t.for_loop(lambda x: x, 1.0),
            "pair": lambda: t.scan(lambda c, x: c, 0.0, xs),
            "drift": lambda: t.for_loop(lambda x: setattr(s, "value", jnp.zeros(3)), xs),
            "predicate": lambda: t.cond(None, lambda: 0.0, lambda: 0.0),
            "branch": lambda: t.cond(True, 1.0, lambda: 0.0),
            "static": lambda: t.checkpoint(lambda x: x, static_argnums=-1),
            "axis": lambda: t.StatefulFunction(lambda x: x, static_argnums=3)(1.0),
        }
        for name, call in bad.items():
            try:
                call()
            except (TypeError, ValueError) as error:
                assert str(error), name
            else:
                print("accepted:", name)
        print(s.value.tolist())
    """
    assert output_of("-O", "-c", textwrap.dedent(code)).strip() == "[0.0, 0.0]"


def test_errors_of_graphs_do_not_depend_on_assertions():
    code = """
import jax, jax.numpy as jnp
from brainstate_graph import *
from brainstate_transform import jit
s = State(1.0)
assert False, "not run with -O"
def refused(f, *kinds):
    try:
        f()
    except kinds:
        return
    raise SystemExit("accepted")
n = Node()
refused(lambda: graph_to_tree([n, n], prefix=[0]), ValueError)
refused(lambda: graph_to_tree([n, n], prefix=[0, 1]), GraphError)
refused(lambda: treefy_split({"a": s}, "tag"), ValueError)
refused(lambda: treefy_merge(graphdef({"a": s}), {"b": 1.0}), GraphError)
refused(lambda: update_states({"a": s}, {"a": jnp.ones(3)}), GraphError)
refused(lambda: pop_states([s], ...), GraphError)
refused(lambda: jax.jit(lambda x: setattr(s, "value", x))(1.0), TraceContextError)
refused(lambda: jit(lambda s: s.value)(s), StateArgumentError)
refused(lambda: NestedDict({"a": 1}).split("tag"), ValueError)
refused(lambda: treefy_split({"a": {s}}), GraphError)
print(s.value)
"""
    assert output_of("-O", "-c", code) == "1.0\n"
