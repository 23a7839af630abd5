"""How the objects of a class look is said by a function that is registered for it."""

from __future__ import annotations

from typing import Any

import treescope

from brainstate_graph import Node, State, to_dot
from brainstate_graph.extend import Appearance, Member, appearance_of


class Dial:
    def __init__(self, angle: Any) -> None:
        self.angle = angle


class FineDial(Dial):
    pass


class Quiet(Node):
    def __init__(self, **parts: Any) -> None:
        for name, part in parts.items():
            setattr(self, name, part)


@appearance_of.register(Dial)
def _(dial: Dial) -> Appearance:
    line = Member("", ("angle",), ".angle", dial.angle)
    return Appearance(type(dial), lambda: [line], (dial.angle,), "Dial at ", " degrees")


@appearance_of.register(Quiet)
def _(node: Quiet) -> Appearance:
    return Appearance(Quiet, tuple[Member], (), "Quiet(...", ")")


class Panel(Node):
    def __init__(self, **parts: Any) -> None:
        for name, part in parts.items():
            setattr(self, name, part)


def test_a_class_of_users_and_those_that_derive_from_it():
    assert repr(Panel(a=Dial(90), b=[FineDial(State(1.0))])) == (
        "Panel(a=Dial at 90 degrees, b=[Dial at State(1.0) degrees])  # State 1"
    )


def test_a_node_in_a_page_too():
    assert repr(Quiet(w=State(1.0))) == "Quiet(...)"
    assert repr(Panel(a=Quiet(w=State(1.0)))) == "Panel(a=Quiet(...))"
    assert "Quiet(...)" in treescope.render_to_text(Panel(a=Quiet(w=State(1.0))), ignore_exceptions=False)


def test_a_drawing_shows_the_structure_all_the_same():
    assert "Quiet" in to_dot(Panel(a=Quiet(w=State(1.0))))


def test_a_class_that_prints_itself_prints_so_where_it_derives_from_one_that_is_registered():
    class Loud(Quiet):
        def __repr__(self) -> str:
            return "LOUD"

    assert repr(Panel(a=Loud())) == "Panel(a=LOUD)"


def test_a_function_that_fails_is_no_harm():
    class Odd:
        pass

    @appearance_of.register(Odd)
    def _(odd: Odd) -> Appearance:
        raise RuntimeError("odd")

    assert repr(Panel(a=Odd(), b=1)) == "Panel(b=1, a=<Odd>)"
