"""A thing has a name where it is found under it; only allowed names are looked up, and nothing else is imported."""

from __future__ import annotations

import functools
import json
import math
import sys
import textwrap

import jax
import numpy as np
import pytest

import brainstate_nn as nn
from brainstate_graph import GraphError, Node, State
from brainstate_graph._data.names import Allowed, name_of
from tests.laws import graphs
from tests.tables import each


class Outer:
    class Inner:
        pass

    @classmethod
    def make(cls):
        pass

    @staticmethod
    def help():
        pass

    def method(self):
        pass


def original():
    pass


passed_on = original


@functools.wraps(original)
def impostor():
    pass


@each(
    ("thing", "name"),
    [
        (int, "builtins:int"),
        (len, "builtins:len"),
        (math.tanh, "math:tanh"),
        (np.add, "numpy:add"),
        (jax.nn.relu, "jax.nn:relu"),  # defined in a private module
        (jax.numpy.float32, "jax.numpy:float32"),
        (nn.Linear, "brainstate_nn:Linear"),
        (Node, "brainstate_graph:Node"),
        (State, "brainstate_graph:State"),
        (graphs.Gadget, "tests.laws.graphs:Gadget"),
        (Outer.Inner, f"{__name__}:Outer.Inner"),
        (Outer.method, f"{__name__}:Outer.method"),
        (Outer.help, f"{__name__}:Outer.help"),
        (Outer.make.__func__, f"{__name__}:Outer.make"),
        (passed_on, f"{__name__}:original"),
        (impostor, None),  # it says that it is `original`, which is another
        (lambda: 0, None),
        (Outer(), None),
        (np, None),
        (3, None),
        (dict.fromkeys, None),
    ],
)
def test_names(thing, name):
    assert name_of(thing) == name
    if name is not None:
        assert Allowed([name.partition(":")[0]]).find(name) is thing
        assert Allowed([thing]).find(name) is thing


def test_a_local_class_has_no_name():
    class Local:
        pass

    assert name_of(Local) is None
    with pytest.raises(TypeError, match="top level of a module"):
        Allowed([Local])


def test_a_name_is_no_code_of_the_thing():
    class Nosy:
        def __getattribute__(self, name):
            raise AssertionError(name)

    assert name_of(Nosy()) is None


def test_plain_types_need_no_mention():
    for name in ("builtins:int", "collections:OrderedDict", "numpy:float32", "jax.numpy:bfloat16"):
        Allowed([]).find(name)
    for name in ("builtins:eval", "builtins:len", "os:system", "collections:Counter", "numpy:load"):
        with pytest.raises(GraphError, match="not allowed"):
            Allowed([]).find(name)


@each(
    ("allow", "fine"),
    [(["tests"], True), (["tests.laws.graphs"], True), ([graphs], True), ([graphs.Gadget], True),
     (["tests.laws.graph"], False), (["tests.laws.graphs.x"], False), ([graphs.Widget], False), (["math"], False),
     ([], False)],
)  # fmt: skip
def test_what_is_allowed(allow, fine):
    if fine:
        assert Allowed(allow).find("tests.laws.graphs:Gadget") is graphs.Gadget
    else:
        with pytest.raises(GraphError, match=r'tests.laws.graphs:Gadget.*allow=\[\.\.\., "tests.laws.graphs"\]'):
            Allowed(allow).find("tests.laws.graphs:Gadget")


def test_a_class_brings_what_is_defined_in_it():
    assert Allowed([Outer]).find(f"{__name__}:Outer.method") is Outer.method
    with pytest.raises(GraphError, match="not allowed"):
        Allowed([Outer]).find(f"{__name__}:original")


@each(
    ("name", "words"),
    [
        ("tests.laws.graphs:Nothing", "no Nothing in tests.laws.graphs"),
        ("tests.laws.graphs:State", "is not defined there: its name is brainstate_graph:State"),
        ("tests.laws.graphs:math", "is not defined there"),
        ("tests.laws.graphs:jax.numpy", "no jax.numpy in"),
        ("tests.laws.graphs:math.tanh", "no math.tanh in"),
        ("tests.laws.graphs:Color.RED", "is not defined there"),
        ("tests.laws.graphs:Gadget.__init__.__globals__", "no Gadget"),
        ("tests.laws.graphs:__name__", "is not defined there"),
        ("tests.graph.missing:X", "cannot import tests.graph.missing"),
        ("tests.laws.graphs", "is not the name"),
        ("tests.laws..graphs:X", "is not the name"),
        (":X", "is not the name"),
        ("tests:", "is not the name"),
        (" tests:X", "is not the name"),
        ("tests:X\n", "is not the name"),
        (None, "is not the name"),
        (["tests:X"], "is not the name"),
    ],
)
def test_names_that_are_refused(name, words):
    with pytest.raises(GraphError, match=words.replace(".", r"\.")):
        Allowed(["tests"]).find(name)


def test_allow_is_a_list():
    with pytest.raises(TypeError, match=r"allow=\['tests'\]"):
        Allowed("tests")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose modules tell when they are imported."""
    home = tmp_path / "told_package"
    home.mkdir()
    note = f"import json, pathlib; p = pathlib.Path({str(tmp_path / 'told')!r})\n"
    note += "p.write_text(json.dumps([*(json.loads(p.read_text()) if p.exists() else []), __name__]))\n"
    models = """
        from brainstate_graph import Node
        class Net(Node): pass
        def __getattr__(name): raise AssertionError(name)
    """
    (home / "__init__.py").write_text(note)
    (home / "models.py").write_text(note + textwrap.dedent(models))
    (home / "_private.py").write_text(note + "def f(): pass\n")
    (home / "public.py").write_text(note + "from ._private import f\n")
    (home / "broken.py").write_text(note + "1 / 0\n")
    (home / "__main__.py").write_text(note)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield lambda: json.loads((tmp_path / "told").read_text()) if (tmp_path / "told").exists() else []
    for name in [name for name in sys.modules if name.startswith("told_package")]:
        del sys.modules[name]


def test_only_what_is_allowed_is_imported(package):
    for allow in ([], ["told_package.other"], ["told"], [graphs]):
        with pytest.raises(GraphError, match="not allowed"):
            Allowed(allow).find("told_package.models:Net")
    assert package() == []
    net = Allowed(["told_package"]).find("told_package.models:Net")
    assert issubclass(net, Node)
    assert package() == ["told_package", "told_package.models"]
    with pytest.raises(GraphError, match=r"no Other in told_package.models"):  # its __getattr__ is not asked
        Allowed(["told_package"]).find("told_package.models:Other")


def test_a_module_that_fails_and_a_program(package):
    with pytest.raises(GraphError, match=r"cannot import told_package.broken .* ZeroDivisionError"):
        Allowed(["told_package"]).find("told_package.broken:X")
    with pytest.raises(GraphError, match="is not run"):
        Allowed(["told_package"]).find("told_package.__main__:X")
    assert "told_package.__main__" not in package()


def test_a_public_module_may_pass_on_what_its_package_keeps_in_a_private_one(package):
    f = Allowed(["told_package"]).find("told_package._private:f")
    assert name_of(f) == "told_package._private:f"  # the package itself does not pass it on
    with pytest.raises(GraphError, match=r"is told_package._private:f"):
        Allowed(["told_package"]).find("told_package.public:f")
