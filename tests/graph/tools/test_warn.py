"""Warnings name the line that called into the library."""

from __future__ import annotations

import inspect
import types

import pytest

from brainstate_graph.extend import warn


def inside(library, code="def call(fun): return fun()"):
    """Return a function that seems to be of a library, and calls what it is given."""
    module = types.ModuleType(library)
    exec(code, vars(module))
    return module.call


@pytest.mark.parametrize("libraries", [(), ("brainstate_nn._layers.stack",), ("jax", "brainstate_transform", "jax._x")])
def test_a_warning_is_at_the_line_of_the_user(libraries):
    call = lambda: warn("it is dear")
    for library in libraries:
        call = lambda call=call, library=library: inside(library)(call)
    with pytest.warns(UserWarning, match="it is dear") as caught:
        call()
    assert [warning.filename for warning in caught] == [__file__]


def test_it_is_the_line_that_calls_the_library():
    call = inside("brainstate_transform._jit", "def call(warn): warn('it is dear')")
    with pytest.warns(UserWarning, match="it is dear") as caught:
        call(warn)
    source, first = inspect.getsourcelines(inspect.currentframe())
    assert source[caught[0].lineno - first].strip() == "call(warn)"


def test_where_all_is_of_libraries_it_is_a_warning_still():
    with pytest.warns(UserWarning, match="it is dear"):
        inside("jaxlib", "def call(warn): warn('it is dear')")(warn)
