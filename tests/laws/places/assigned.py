"""Places beside which the function assigns something of the same name."""

from __future__ import annotations

from tests.laws.places.place import Place, table

__all__ = ["ASSIGNED"]

NET = """
class Net(nn.Module):
    def __init__(self): self.w, self.scale = nn.ParamState(jnp.float32(1.0)), 1.0
    def __call__(self, x): return self.w.value * x
net = Net()
"""

# The function assigns something of the same name elsewhere: what it reads is watched all the same.
ASSIGNED: list[Place] = table(
    r"""
= global, beside an attribute of a module that is set from it
NET
scale = V
def f(x):
    ran()
    net.scale = scale
    return scale * net(x)
set: scale = V

= variable around, beside an attribute of a module that is set from it
NET
def around():
    rate = V
    def f(x):
        ran()
        net.rate = rate
        return rate * net(x)
    def put(value):
        nonlocal rate
        rate = value
    return f, put
f, put = around()
set: put(V)

= attribute value, beside a state that is written
NET
class Hyper:
    def __init__(self, value): self.value = value
lr = Hyper(V)
def f(x):
    ran()
    net.w.value = net.w.value * 1.0
    return lr.value * net(x)
set: lr.value = V

= global value, beside a state that is written
NET
value = V
def f(x):
    ran()
    net.w.value = net.w.value * 1.0
    return value * net(x)
set: value = V

= attribute that the constructor of a module has too
NET
class Outer(nn.Module):
    def __init__(self, rate): self.rate = rate
    def __call__(self, x): return net(x)
cfg, outer = types.SimpleNamespace(rate=V), Outer(1.0)
def f(x):
    ran()
    return outer(x) * cfg.rate
set: cfg.rate = V

= attribute of a trainer, beside one of a module
NET
class Trainer:
    def __init__(self): self.lr = V
    def step(self, x):
        ran()
        net.lr = self.lr
        return self.lr * net(x)
trainer = Trainer()
f = trainer.step
set: trainer.lr = V

= attribute, beside a count in the same object
cfg = types.SimpleNamespace(k=V, calls=0)
def f(x):
    ran()
    cfg.calls += 1
    return cfg.k * x
set: cfg.k = V

= item, beside a count in the same dict
cfg = {'k': V, 'calls': 0}
def f(x):
    ran()
    cfg['calls'] += 1
    return cfg['k'] * x
set: cfg['k'] = V

= attribute, beside one of another object of the class
class Config:
    def __init__(self, k): self.k = k
cfg, other = Config(V), Config(0.0)
def f(x):
    ran()
    other.k = 5.0
    return cfg.k * x
set: cfg.k = V

= attribute that is set for a while
cfg = types.SimpleNamespace(k=V)
def f(x):
    ran()
    kept = cfg.k
    cfg.k = 5.0
    y = kept * x
    cfg.k = kept
    return y
set: cfg.k = V

= global, beside a variable of the same name in a helper
k = V
def helper():
    k = 5.0
    def inner():
        nonlocal k
        k = 6.0
    inner()
    return 1.0
def f(x):
    ran()
    return helper() * k * x
set: k = V

= global, beside an attribute of a class that a method assigns
k = V
class T:
    def __init__(self): self.k = 5.0
    def move(self): self.k += 1.0
t = T()
def f(x):
    ran()
    t.move()
    return k * x
set: k = V
""".replace("NET\n", NET.lstrip())
)
