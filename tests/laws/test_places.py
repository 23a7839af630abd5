"""What a program depends on, as a table: kind of place, way to reach it, kind of value and change, transform.

The law of a cell: after each change the compiled function gives what the same function gives without compilation, it is
not traced where nothing changed, and what was changed back is found again.
"""

from __future__ import annotations

import contextlib
import decimal
import os
import re

import jax
import pytest

import brainstate_transform as bt
from brainstate_nn.compat import environ
from brainstate_transform import StaleProgramError
from tests.laws.places.assigned import ASSIGNED
from tests.laws.places.classes import CLASSES
from tests.laws.places.counted import COUNTED
from tests.laws.places.elsewhere import ELSEWHERE
from tests.laws.places.functions import FUNCTIONS
from tests.laws.places.held_functions import HELD_FUNCTIONS
from tests.laws.places.models import MODELS
from tests.laws.places.modules import MODULES
from tests.laws.places.names import NAMES
from tests.laws.places.not_watched import NOT_WATCHED
from tests.laws.places.objects import OBJECTS
from tests.laws.places.odd_objects import ODD_OBJECTS
from tests.laws.places.place import ONE, Place, Scene, at_most, forget_modules, same, seen, wrong_with
from tests.laws.places.settings import SETTINGS
from tests.laws.places.transforms import GIVEN, MADE, fresh
from tests.laws.places.unread import UNREAD
from tests.laws.places.values import VALUES
from tests.laws.places.ways import WAYS
from tests.tables import each

# A place that is changed at each call is told; that it is, is no matter of these laws.
pytestmark = pytest.mark.filterwarnings("ignore:.* was traced three times")
PLACES = (*NAMES, *ELSEWHERE, *OBJECTS, *CLASSES, *FUNCTIONS, *MODULES, *HELD_FUNCTIONS, *SETTINGS)
BY_NAME = {place.name: place for place in (*PLACES, *MODELS)}
# One of each sort, each with one change: these are read in all ways, and run by all transforms.
TYPICAL = {
    "global": "set",
    "attribute of a frozen dataclass": "replaced",
    "item of a dict": "set",
    "attribute of self": "set",
    "attribute of a class": "set",
    "function in a global": "replaced",
    "setting": "in_a_block",
}


TYPICAL_OF_BODIES = {
    **TYPICAL,
    "global of a method": "set",
    "global of a function in a sequence": "set",
    "global of a module in a module": "set",
    "precision of numbers": "set",
    "time step": "set",
    "precision that is set": "in_a_block",
    "model in a class": "mode",
    "model by a helper object": "mode",
}


# Without the cache each call looks anew, and finds an attribute where there was a property.
MARKS = {"property that is kept": pytest.mark.graph_cache}


def rows(places):
    """One case for each row."""
    return pytest.mark.parametrize("place", [pytest.param(p, id=p.name, marks=MARKS.get(p.name, ())) for p in places])


def jitted(scene):
    """Return what the scene compiles itself, or its compiled function."""
    return scene.names.get("compiled") or bt.jit(scene.f)


@contextlib.contextmanager
def as_it_was():
    """Put back what a row changes beyond its own module."""
    names = ("jax_enable_x64", "jax_default_matmul_precision", "jax_numpy_dtype_promotion")
    settings = {name: getattr(jax.config, name) for name in names}
    try:
        yield
    finally:
        environ.reset()
        for name, value in settings.items():
            jax.config.update(name, value)
        decimal.getcontext().prec = 28
        os.environ.pop("PLACES_K", None)
        forget_modules()


@pytest.fixture(autouse=True)
def _as_it_was():
    with as_it_was():
        yield


@pytest.mark.counts_traces
@rows(PLACES)
def test_a_place_is_watched(place):
    wrong = wrong_with({change: lambda change=change: seen(place, change, jitted) for change in place.changes})
    assert not wrong, wrong


@rows(ASSIGNED)
def test_a_place_is_watched_beside_what_the_function_assigns(place):
    # How often is another law's matter: what a function assigns to a module is part of the module at the next call.
    wrong = wrong_with(
        {change: lambda change=change: seen(place, change, jitted, counts=False) for change in place.changes}
    )
    assert not wrong, wrong


@pytest.mark.counts_traces
@each("place", MODELS, ids=lambda place: place.name)
@as_it_was()
def test_a_model_is_watched_wherever_it_is_held(place):
    wrong = wrong_with({change: lambda change=change: seen(place, change, jitted) for change in place.changes})
    assert not wrong, wrong


@pytest.mark.counts_traces
@each("place", VALUES, ids=lambda place: place.name)
@as_it_was()
def test_values_of_each_kind_are_told_apart(place):
    wrong = wrong_with({change: lambda change=change: seen(place, change, jitted) for change in place.changes})
    assert not wrong, wrong


def wrong_at(places, *args, **options):
    """Say what is wrong with these places, each with one change."""
    return wrong_with({name: lambda name=name: seen(BY_NAME[name], places[name], *args, **options) for name in places})


@pytest.mark.counts_traces
@each("way", WAYS)
@as_it_was()
def test_a_place_is_watched_however_it_is_read(way):
    wrong = wrong_at(TYPICAL, jitted, WAYS[way])
    assert not wrong, wrong


@pytest.mark.counts_traces
@each("name", MADE)
@as_it_was()
def test_a_place_is_watched_by_what_is_made_once(name):
    made = MADE[name]
    wrong = wrong_at(TYPICAL_OF_BODIES, made.make, made.way, counts=made.counts)
    assert not wrong, wrong


@pytest.mark.counts_traces
@pytest.mark.parametrize("anew", [False, pytest.param(True, marks=pytest.mark.exhaustive)], ids=["named", "fresh"])
@pytest.mark.parametrize("name", GIVEN)
def test_a_place_is_watched_by_what_is_given_a_function(name, anew):
    given = GIVEN[name]

    def make(scene):
        body = scene.names["body"]
        return lambda x: given.call(fresh(body) if anew else body, x)

    wrong = wrong_at(TYPICAL_OF_BODIES, make, given.way(), counts=given.counts)
    assert not wrong, wrong


def traced_again(place):
    """Call the function of a place four times, and say where it was traced again, or gave something else."""
    scene, plain = Scene(place), Scene(place)
    between = place.changes.get("between", ("", ""))[0]
    compiled = jitted(scene)
    wrong = []
    for call in range(4):
        got, want = compiled(ONE), plain.f(ONE)
        if not same(got, want):
            wrong.append(f"call {call}: {got}, where Python gives {want}")
        if (traces := scene.traces()) != (call == 0):
            wrong.append(f"call {call}: traced {traces} times")
        scene.run(between)
        plain.run(between)
    return "\n".join(wrong)


@pytest.mark.counts_traces
@each("place", UNREAD, ids=lambda place: place.name)
@as_it_was()
def test_what_is_not_read_traces_nothing(place):
    wrong = traced_again(place)
    assert not wrong, wrong


@pytest.mark.graph_cache  # without it each call looks anew, and does not know what the trace has changed
@pytest.mark.counts_traces
@rows(COUNTED)
def test_what_a_function_changes_itself_traces_nothing(place):
    wrong = traced_again(place)
    assert not wrong, wrong


@each("place", ODD_OBJECTS, ids=lambda place: place.name)
@as_it_was()
def test_a_look_falls_over_nothing(place):
    def runs_as_in_python(run):
        scene = Scene(place)
        compiled = run(scene)
        for code in ("", place.changes.get("changed", ("", ""))[0]):
            scene.run(code)
            with at_most(5):
                got, again = compiled(ONE), compiled(ONE)
            assert same(got, scene.f(ONE))
            assert same(again, got)
        return ""

    def loop(scene):
        return lambda x: bt.for_loop(scene.f, x[None])[0]

    wrong = wrong_with({run.__name__: lambda run=run: runs_as_in_python(run) for run in (jitted, loop)})
    assert not wrong, wrong


def test_a_look_runs_no_code_of_the_user():
    code = """
calls = []
class Looked:
    k = 2.0
    @property
    def other(self): calls.append('property')
    def __getattr__(self, name):
        calls.append(name)
        raise AttributeError(name)
    def __eq__(self, other): calls.append('eq'); return self is other
    def __hash__(self): calls.append('hash'); return 0
    def __bool__(self): calls.append('bool'); return True
    def __len__(self): calls.append('len'); return 1
    def __iter__(self): calls.append('iter'); return iter(())
    def __getitem__(self, key): calls.append('item'); return 0
    def __repr__(self): calls.append('repr'); return ''
looked = Looked()
cfg = {'looked': looked, 'all': [looked]}
def f(x): return looked.k * cfg['all'][0].k * x
"""
    scene = Scene(Place("looked at", code, None, {}))
    compiled = bt.jit(scene.f)
    compiled(ONE)
    compiled(ONE)
    bt.for_loop(scene.f, ONE[None])
    assert scene.names["calls"] == []


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder that rows may write to."""
    monkeypatch.setenv("PLACES_FOLDER", str(tmp_path))


def change_of(place):
    return next(iter(place.changes.values()))[0]


@pytest.mark.usefixtures("folder")
@each("place", NOT_WATCHED, ids=lambda place: place.name)
@as_it_was()
def test_what_is_not_watched_is_told_and_found_by_the_audit(place):
    scene = Scene(place)
    compiled, audited = bt.jit(scene.f), bt.jit(scene.f, audit=True)
    before = compiled(ONE)
    assert same(audited(ONE), before)
    scene.run(change_of(place), 3.0)
    want = scene.f(ONE)
    if same(compiled(ONE), want):  # seen all the same
        assert same(audited(ONE), want)
        return
    assert place.named in str(compiled.explain())
    with pytest.raises(StaleProgramError, match=re.escape(place.named) or None):
        audited(ONE)


@pytest.mark.usefixtures("folder")
@each("place", NOT_WATCHED, ids=lambda place: place.name)
@as_it_was()
def test_what_is_not_watched_is_seen_by_a_loop_that_is_given_a_new_function(place):
    """As by raw JAX, which traces each new function; but where no look at the code can know of the place."""
    scene = Scene(place)
    before = bt.for_loop(fresh(scene.f), ONE[None])[0]
    scene.run(change_of(place), 3.0)
    want = scene.f(ONE)
    assert not same(want, before), "the change changes nothing"
    assert not place.named or same(bt.for_loop(fresh(scene.f), ONE[None])[0], want)
