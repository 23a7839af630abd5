from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from rich.console import Console

import brainstate_nn as nn
from brainstate_graph import graphdef, treefy_states
from brainstate_transform import eval_shape, for_loop

IMAGES = jax.ShapeDtypeStruct((4, 8, 8, 1), jnp.float32)
WIDE, NARROW = (Console(width=width) for width in (120, 72))


class Net(nn.Module):
    def __init__(self):
        self.conv = nn.Conv2d(1, 8, 3)
        self.norm = nn.BatchNorm(8)
        self.body = nn.Sequential(nn.relu, nn.Flatten(), nn.Dropout(0.1))
        self.head = nn.Linear(512, 10)
        self.unused = nn.Linear(3, 3)
        self.tied = nn.Linear(512, 10, use_bias=False)
        self.tied.weight = self.head.weight
        self.top = self

    def __call__(self, x, *, scale=None):
        x = self.body(self.norm(self.conv(x)))
        return self.head(x), self.tied(self.body.layers[2](x))


def rows_of(text):
    """The first line of each row, cut into cells, by the name of the module."""
    lines = [line for line in text.splitlines()[2:] if ":" in line or not line.startswith((" ", ">"))]
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    return {first.split(":")[0]: [first, *rest] for first, *rest in cells}


def test_a_table():
    net = Net().eval()
    rows = rows_of(nn.tabulate(net, IMAGES, console=WIDE))
    assert rows["Net"][:4] == ["Net", "f32[4,8,8,1]", "(f32[4,10], f32[4,10])", "Param 5,238"]
    assert rows["conv"][:5] == ["conv: Conv2d", "f32[4,8,8,1]", "f32[4,8,8,8]", "Param 80", "320 B"]
    assert rows["layers.2"][:3] == ["layers.2: Dropout x2", "f32[4,512]", "f32[4,512]"]
    assert rows["unused"] == ["unused: Linear", "-", "-", "Param 12", "48 B", "-"]
    # the shared weight is counted where it is met first
    assert rows["head"][3:] == ["Param 5,130", "20.5 kB", "41.0 k"]
    assert rows["tied"] == ["tied: Linear", "f32[4,512]", "f32[4,10]", "41.0 k"]


def test_totals_by_kind_of_state():
    net = Net()
    text = nn.tabulate(net, IMAGES, console=WIDE)
    root = text.splitlines()[2:5]
    assert "Param 5,238" in root[0]
    assert "Batch 16" in "".join(root[1:])
    assert "Random 2" in "".join(root[1:])
    count = sum(state.value.size for state in net.states(nn.ParamState).values())
    assert count == 5238


@pytest.mark.parametrize("features", [(2, 3), (64, 128)])
def test_flops_of_a_product_are_those_of_the_formula(features):
    taken, given = features
    batch = 16
    row = rows_of(nn.tabulate(nn.Linear(taken, given), jnp.ones((batch, taken)), console=WIDE))["Linear"]
    flops = batch * given * (2 * taken + 1)  # the products and sums, and the bias
    number, *unit = row[-1].split()
    assert float(number) * {(): 1, ("k",): 1e3, ("M",): 1e6}[tuple(unit)] == pytest.approx(flops, rel=0.005)


def test_nothing_is_computed_and_nothing_changes():
    ran = []

    class Watched(Net):
        def __call__(self, x):
            jax.debug.callback(lambda: ran.append(1))
            return super().__call__(x)

    net = Watched()
    shape, values = graphdef(net), treefy_states(net)
    nn.tabulate(net, jnp.ones((4, 8, 8, 1)), console=WIDE)
    jax.effects_barrier()
    assert not ran
    assert graphdef(net) is shape
    assert all(a is b for a, b in zip(jax.tree.leaves(values), jax.tree.leaves(treefy_states(net)), strict=True))


def test_an_abstract_model():
    made = nn.tabulate(Net(), IMAGES, console=WIDE)
    assert nn.tabulate(eval_shape(Net), IMAGES, console=WIDE) == made


def test_depth():
    text = nn.tabulate(Net(), IMAGES, depth=1, console=WIDE)
    assert list(rows_of(text)) == ["Net", "conv", "norm", "body", "head", "unused", "tied"]  # as it defines them
    assert list(rows_of(nn.tabulate(Net(), IMAGES, depth=0, console=WIDE))) == ["Net"]


def test_a_narrow_table_keeps_within_its_width_and_breaks_no_word():
    text = nn.tabulate(Net(), IMAGES, console=NARROW)
    lines = text.splitlines()
    assert max(map(len, lines)) <= 72
    assert next(line for line in lines if line.startswith("  conv")).split()[:2] == ["conv:", "f32[4,8,8,1]"]
    after = lines[[line.startswith("  conv") for line in lines].index(True) + 1]
    assert after.split() == ["Conv2d", "->", "f32[4,8,8,8]"]


def test_a_loop_is_counted_as_one_step_and_says_so():
    class Loop(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(4, 4)

        def __call__(self, xs):
            return for_loop(self.layer, xs)

    text = nn.tabulate(Loop(), jnp.ones((7, 2, 4)), console=WIDE)
    rows = rows_of(text)
    assert rows["Loop"][-1].startswith(">")
    assert rows["layer"] == ["layer: Linear", "f32[2,4]", "f32[2,4]", "Param 20", "80 B", "72"]
    assert text.endswith("\n> a loop is counted as one step")


def test_a_stack_counts_all_its_layers():
    class Outer(nn.Module):
        def __init__(self, blocks):
            self.blocks = blocks

        def __call__(self, x):
            for block in [self.blocks] if isinstance(self.blocks, nn.Stack) else self.blocks:
                x = block(x)
            return x

    def build():
        return nn.Sequential(nn.Linear(4, 4), nn.tanh)

    x = jnp.ones((2, 4))
    stack = Outer(nn.Stack(3, build, unroll=2))
    shape = graphdef(stack)
    ours = rows_of(nn.tabulate(stack, x, console=WIDE))
    plain = rows_of(nn.tabulate(Outer([build() for _ in range(3)]), x, console=WIDE))
    assert ours["Outer"] == plain["Outer"]
    assert ours["layers"] == ["layers: Sequential x3", "f32[2,4]", "f32[2,4]", "Param 60", "240 B", ours["Outer"][-1]]
    assert ours["layers.0"][0] == "layers.0: Linear x3"
    assert graphdef(stack) is shape


def test_arguments_by_name_and_other_inputs():
    class Inner(nn.Module):
        def __call__(self, x, mode, *, y, flag=None):
            return x["a"] + y

    class Odd(nn.Module):
        def __init__(self):
            self.inner = Inner()

        def __call__(self, x, *, y):
            return {"out": self.inner(x, "text", y=y)}

    rows = nn.tabulate(Odd(), {"a": jnp.ones(2)}, y=jnp.ones(2), console=WIDE).splitlines()
    assert rows[2].split("  ")[0] == "Odd"
    assert "{a: f32[2]}" in rows[2]
    assert "{out: f32[2]}" in rows[2]
    assert rows[3].strip() == "y=f32[2]"
    assert "text" not in "".join(rows)
    assert rows[4].split()[:2] == ["inner:", "Inner"]
    assert rows[4].split()[-1] == "2"  # FLOPs


def test_an_error_of_the_model():
    net = Net()
    shape = graphdef(net)
    with pytest.raises(ValueError, match="expects 1 features"):
        nn.tabulate(net, jnp.ones((4, 8, 8, 3)))
    assert graphdef(net) is shape


def test_plain_text_without_a_console(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert nn.tabulate(Net(), IMAGES) == nn.tabulate(Net(), IMAGES, console=Console(width=200))
    coloured = Console(width=120, color_system="truecolor", force_terminal=True)
    assert "\x1b[" in nn.tabulate(nn.Linear(1, 1), jnp.ones((1, 1)), console=coloured)
