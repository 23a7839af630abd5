"""Functions that modules hold: activations, layers of a sequence, schedules, penalties; and what these read."""

from __future__ import annotations

from tests.laws.places.modules import NET
from tests.laws.places.place import Place, table

__all__ = ["HELD_FUNCTIONS"]

HELD_FUNCTIONS: list[Place] = table(
    r"""
= function that a module holds
class Net(nn.Module):
    def __init__(self, act): self.act = act
    def __call__(self, x): return self.act(x)
two, three = (lambda x: 2.0 * x), (lambda x: 3.0 * x)
two_again, three_again = (lambda x: 2.0 * x), (lambda x: 3.0 * x)
net = Net(two)
read: net(x)
replaced: net.act = three <> net.act = two
code: net.act.__code__ = three_again.__code__ <> net.act.__code__ = two_again.__code__

= global of a function that a module holds
k = V
class Net(nn.Module):
    def __init__(self, act): self.act = act
    def __call__(self, x): return self.act(x)
net = Net(lambda x: k * x)
read: net(x)
again: no
set: k = V

= default of a function that a module holds
class Net(nn.Module):
    def __init__(self, act): self.act = act
    def __call__(self, x): return self.act(x)
def act(x, k=V): return k * x
net = Net(act)
read: net(x)
again: no
set: act.__defaults__ = (V,)

= attribute of an object that a module calls
class Scale:
    def __init__(self, k): self.k = k
    def __call__(self, x): return self.k * x
class Net(nn.Module):
    def __init__(self, act): self.act = act
    def __call__(self, x): return self.act(x)
net = Net(Scale(V))
read: net(x)
again: no
set: net.act.k = V

= bound method that a module holds
class Scale:
    def __init__(self, k): self.k = k
    def apply(self, x): return self.k * x
class Net(nn.Module):
    def __init__(self, act): self.act = act
    def __call__(self, x): return self.act(x)
scale = Scale(V)
net = Net(scale.apply)
read: net(x)
again: no
set: scale.k = V

= global of a function in a sequence
k = V
net = nn.Sequential(lambda x: k * x)
read: net(x)
again: no
set: k = V

= function in a sequence
def two(x): return 2.0 * x
def three(x): return 3.0 * x
net = nn.Sequential(two)
read: net(x)
replaced: net.layers[0] = three <> net.layers[0] = two

= global of a partial in a sequence
k = V
net = nn.Sequential(functools.partial(lambda a, x: k * x, 1))
read: net(x)
again: no
set: k = V

= keyword of a partial in a sequence
call = functools.partial(lambda x, k: k * x, k=V)
net = nn.Sequential(call)
read: net(x)
again: no
set: call.keywords['k'] = V

= variable around a function in a sequence
def around():
    k = V
    def scale(x): return k * x
    def put(value):
        nonlocal k
        k = value
    return scale, put
scale, put = around()
net = nn.Sequential(scale)
read: net(x)
again: no
set: put(V)

= model in a function in a sequence
NET
other = Net(V)
net = nn.Sequential(lambda x: other(x))
read: net(x)
again: no
set: other.k = V
mode: other.eval() <> other.train()

= global of a function in a layer
k = V
net = nn.Lambda(lambda x: k * x)
read: net(x)
again: no
set: k = V

= argument of a function in a layer
net = nn.Lambda(lambda x, k: k * x, V)
read: net(x)
again: no
set: net.args = (V,)

= global of an activation
k = V
def act(x): return k * jnp.ones_like(x)
net = nn.MLP(1, 1, width=1, depth=1, activation=act, w_init=nn.initializers.ones)
read: net(x[None])[0]
again: no
set: k = V

= global of a schedule
k = V
class Net(nn.Module):
    def __init__(self): self.w = nn.ParamState(jnp.float32(0.0))
net = Net()
opt = nn.Optimizer(net, optax.sgd(lambda step: k))
def step(x):
    net.w.value = jnp.zeros_like(net.w.value)
    opt.update({('w',): x})
    return net.w.value
read: step(x)
again: no
set: k = V

= rule of an optimizer
class Net(nn.Module):
    def __init__(self): self.w = nn.ParamState(jnp.float32(0.0))
net = Net()
two, three = optax.sgd(2.0), optax.sgd(3.0)
opt = nn.Optimizer(net, two)
def step(x):
    net.w.value = jnp.zeros_like(net.w.value)
    opt.update({('w',): x})
    return net.w.value
read: step(x)
replaced: opt.tx = three <> opt.tx = two

= global of a penalty
k = V
net = nn.penalise(nn.Linear(1, 1, w_init=nn.initializers.ones), 'weight', lambda w: k * jnp.sum(w))
read: nn.reg_loss(net)
again: no
set: k = V
""".replace("NET\n", NET.lstrip())
)
