from __future__ import annotations

import jax.numpy as jnp
import pytest

import brainstate_nn as nn
from brainstate_graph import Not, graphdef
from brainstate_transform import BatchAxisError, for_loop, grad, jit, vmap
from tests.tables import each


class Cell(nn.Module):
    """Adds up its inputs, from a random start on."""

    def __init__(self, size=2, rng=None):
        self.size = size
        self.scale = nn.ParamState(jnp.array(1.0))
        self.rng = rng or nn.RandomState(0)

    def init_state(self, batch_size=None, **kwargs):
        shape = (self.size,) if batch_size is None else (batch_size, self.size)
        self.h = nn.HiddenState(self.rng.normal(shape))

    def __call__(self, x):
        self.h.value += self.scale.value * x
        return self.h.value


class Resetting(Cell):
    """One that writes, where `Cell` makes anew."""

    def reset_state(self, batch_size=None, **kwargs):
        self.h.value = jnp.zeros_like(self.h.value)


class Net(nn.Module):
    def __init__(self):
        self.order = []
        self.cells = [Cell(2), Resetting(3)]
        self.again = self.cells[0]
        self.top = self

    def init_state(self, *args, mode=None, **kwargs):
        self.order.append([hasattr(cell, "h") for cell in self.cells])
        self.total = nn.ShortTermState(jnp.zeros(()))


def test_every_module_once_with_all_arguments_and_what_it_holds_first():
    net = Net()
    before = int(net.cells[0].rng.value[1])
    assert nn.init_all_states(net, 4, mode="test") is net
    assert net.order == [[True, True]]
    assert int(net.cells[0].rng.value[1]) == before + 1  # the shared cell was asked once
    assert [cell.h.value.shape for cell in net.cells] == [(4, 2), (4, 3)]


def test_a_container_of_modules():
    cells = {"a": Cell(), "b": [Cell()]}
    assert nn.init_all_states(cells, batch_size=3) is cells
    assert cells["b"][0].h.value.shape == (3, 2)


def test_again_for_another_batch():
    net = nn.init_all_states(Net(), 4)
    shape = graphdef(net)
    net.order.clear()
    nn.init_all_states(net, 5)
    assert net.cells[0].h.value.shape == (5, 2)
    assert graphdef(net) is shape


def test_reset_by_itself_or_by_what_makes_the_state():
    net = nn.init_all_states(Net(), 4)
    made, written = (cell.h for cell in net.cells)
    assert nn.reset_all_states(net, 4) is net
    assert net.cells[0].h is not made
    assert net.cells[1].h is written
    assert not written.value.any()


def test_a_module_without_states_is_left_alone():
    net = nn.Sequential(nn.Linear(2, 2))
    shape = graphdef(net)
    assert graphdef(nn.reset_all_states(nn.init_all_states(net, 3), 3)) is shape


@pytest.mark.parametrize("call", [nn.init_all_states, nn.reset_all_states])
def test_arguments_that_a_module_does_not_take(call):
    class Strict(nn.Module):
        def init_state(self, size):
            pass

        def reset_state(self, size):
            pass

    net = nn.Sequential(Cell(), Strict())
    shape = graphdef(net)
    with pytest.raises(
        TypeError,
        match=r"_state of Strict at Sequential\.layers\.1 cannot be called .*: missing a required argument: 'size'. .*"
        r"`def \w+_state\(self, batch_size=None, \*\*kwargs\)`",
    ):
        call(net, batch_size=3)
    assert graphdef(net) is shape


class Failing(nn.Module):
    def init_state(self, *args, **kwargs):
        raise ZeroDivisionError

    reset_state = init_state


@each("lanes", [None, 3])
@each("name", ["init", "reset"])
def test_an_error_leaves_the_model_as_it_was(name, lanes):
    class Lists(nn.Module):
        def init_state(self, *args, **kwargs):
            self.made = [*getattr(self, "made", []), nn.HiddenState(jnp.zeros(2))]
            self.held["more"] = nn.HiddenState(jnp.zeros(2))

    net = Net()
    net.lists = Lists()
    net.lists.held = {}
    nn.init_all_states(net)
    net.zzz = Failing()  # asked last
    shape, states, values = graphdef(net), net.states(), [s.value for s in net.states().values()]
    call = getattr(nn, f"{name}_all_states" if lanes is None else f"vmap_{name}_all_states")
    with pytest.raises(ZeroDivisionError):
        call(net, *([] if lanes is None else [lanes]))
    assert graphdef(net) is shape
    assert [*net.states().values()] == [*states.values()]
    assert all(a is b for a, b in zip(values, [s.value for s in net.states().values()], strict=True))


def test_inside_a_compiled_training_step():
    """The sum over three steps of ones, on states that start at zero: 1 + 2 + 3 for each of 4 times 2 numbers."""
    cell = nn.init_all_states(Resetting(), 4)

    def loss():
        nn.reset_all_states(cell, 4)
        return for_loop(cell, jnp.ones((3, 4, 2))).sum()

    step = jit(grad(loss, wrt=cell.scale, return_value=True))
    for _ in range(2):  # the second call starts where the first one did
        gradient, value = step()
        assert float(gradient) == float(value) == 6 * 4 * 2
    assert cell.h.value.tolist() == [[3.0, 3.0]] * 4


# -- lanes -------------------------------------------------------------------------------------------------------------


def test_each_lane_has_states_and_draws_of_its_own():
    net = nn.Sequential(Cell(), Cell())
    count = int(net.layers[0].rng.value[1])
    assert nn.vmap_init_all_states(net, 5, 4, tag="lanes") is net
    for cell in net.layers:
        assert cell.h.value.shape == (5, 4, 2)
        assert len({float(x) for x in cell.h.value.ravel()}) == 40
        assert cell.h.tag == {"lanes"}
        assert cell.scale.value.shape == ()
        assert int(cell.rng.value[1]) == count + 1  # the common stream moves on by one draw


def test_lanes_start_as_models_of_their_own_would():
    """The draws of lane i are those of `vmap`, whatever the number of lanes."""
    three, five = (nn.vmap_init_all_states(Cell(), n).h.value for n in (3, 5))
    assert jnp.array_equal(three, five[:3])
    by_hand = vmap(lambda cell, _: nn.init_all_states(cell).h.value, in_axes=(None, 0), new_states=0)
    assert jnp.array_equal(by_hand(Cell(), jnp.arange(3)), three)


def test_what_is_written_gets_the_axis_too():
    class Early(nn.Module):
        def __init__(self):
            self.h = nn.HiddenState(jnp.zeros(2))
            self.other = nn.HiddenState(jnp.zeros(2))

        def init_state(self):
            self.h.value = jnp.ones(2)

    early = nn.vmap_init_all_states(Early(), 3)
    assert early.h.value.shape == (3, 2)
    assert early.other.value.shape == (2,)


def test_reset_lanes_then_run_them():
    net = nn.vmap_init_all_states(nn.Sequential(Cell(), Resetting()), 3)
    run = vmap(net, in_states=nn.HiddenState)
    run(jnp.ones((3, 2)))
    assert nn.vmap_reset_all_states(net, 3) is net
    first, second = net.layers
    assert first.h.value.shape == second.h.value.shape == (3, 2)
    assert len({float(x) for x in first.h.value.ravel()}) == 6
    assert not second.h.value.any()
    assert run(jnp.ones((3, 2))).shape == (3, 2)


def test_reset_of_another_number_of_lanes_is_refused():
    net = nn.vmap_init_all_states(Resetting(), 3)
    with pytest.raises(ValueError, match=r"Resetting\.h"):
        nn.vmap_reset_all_states(net, 4)
    assert net.h.value.shape == (3, 2)


def test_what_is_excluded_is_one_for_all_lanes():
    class Two(nn.Module):
        def init_state(self, start=0.0):
            self.h = nn.HiddenState(jnp.zeros(2))
            self.steps = nn.ShortTermState(jnp.asarray(start))

    two = nn.vmap_init_all_states(Two(), 3, exclude=Not(nn.HiddenState))
    assert two.h.value.shape == (3, 2)
    assert two.steps.value.shape == ()
    with pytest.raises(BatchAxisError, match="with a value that differs per lane"):
        nn.vmap_init_all_states(Cell(), 3, exclude=nn.HiddenState)


# -- names that are of use to nobody -----------------------------------------------------------------------------------


class Sized(nn.Module):
    def init_state(self, batch_size=None, *, depth=1, **kwargs):
        self.h = nn.HiddenState(jnp.zeros((depth, batch_size or 1)))


class Forwarding(nn.Module):
    """One that hands on what it does not name: nobody knows what is of use there."""

    def init_state(self, *args, **kwargs):
        self.seen = sorted(kwargs)


class Closing(nn.Module):
    def init_state(self, **kwargs):
        self.later = lambda: kwargs


def test_a_name_is_refused_that_no_module_has_a_use_for():
    verbs = {
        "init_all_states": nn.init_all_states,
        "reset_all_states": nn.reset_all_states,
        "vmap_init_all_states": lambda net, **kwargs: nn.vmap_init_all_states(net, 3, **kwargs),
        "vmap_reset_all_states": lambda net, **kwargs: nn.vmap_reset_all_states(net, 3, **kwargs),
    }
    for verb in verbs.values():
        net = nn.Sequential(nn.Linear(2, 2), Sized(), {"a": Sized()} and Sized())
        before = graphdef(net)
        with pytest.raises(
            TypeError,
            match=r"`\w+_all_states` got 'batchsize', which no module of \w+ takes: they take 'batch_size', 'depth'",
        ):
            verb(net, batchsize=3)
        assert graphdef(net) is before
        verb(net, batch_size=3, depth=2)
    with pytest.raises(
        TypeError, match=r"got 'batch_size', 'x', which no module of Linear takes: they take no arguments"
    ):
        nn.init_all_states(nn.Linear(2, 2), batch_size=3, x=1)


def test_what_is_of_use_to_one_is_given_to_all():
    for other in (Forwarding(), Closing()):
        net = nn.init_all_states(nn.Sequential(other, Sized()), anything=1)
        assert net.layers[1].h.value.shape == (1, 1)
    net = nn.Sequential(nn.Stack(2, lambda: nn.GRUCell(2, 2)), Sized())
    nn.init_all_states(net, batch_size=3, depth=2)  # the layers of the Stack have no use for the depth
    assert net.layers[1].h.value.shape == (2, 3)
    with pytest.raises(TypeError, match="got 'bach', which no module of Sequential takes"):
        nn.init_all_states(nn.Sequential(nn.Stack(2, lambda: nn.GRUCell(2, 2))), bach=3)
    nn.reset_all_states(nn.init_all_states(Sized(), depth=2), depth=2)


def test_a_decorated_method():
    import functools

    def logged(method):
        @functools.wraps(method)
        def call(*args, **kwargs):
            return method(*args, **kwargs)

        return call

    class Logged(Sized):
        init_state = logged(Sized.init_state)

    assert nn.init_all_states(Logged(), batch_size=3).h.value.shape == (1, 3)
    with pytest.raises(TypeError, match="got 'bach', which no module of Logged takes"):
        nn.init_all_states(Logged(), bach=3)
