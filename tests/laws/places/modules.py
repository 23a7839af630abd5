"""Places in modules: their attributes, their classes, and functions that they hold."""

from __future__ import annotations

from tests.laws.places.place import Place, table

__all__ = ["MODULES", "NET"]

NET = """
class Net(nn.Module):
    def __init__(self, k=1.0):
        self.k, self.w, self.more = k, nn.ParamState(jnp.float32(1.0)), []
    def __call__(self, x):
        x = self.k * self.w.value * x
        for layer in self.more:
            x = layer(x)
        return x if self.training else -x
class Twice(nn.Module):
    def __call__(self, x):
        return 2.0 * x
"""

MODULES: list[Place] = table(
    r"""
= attribute of a module
NET
net = Net(V)
read: net(x)
again: no
set: net.k = V
replaced: net = Net(V)
mode: net.eval() <> net.train()
layer: net.more.append(Twice()) <> net.more.pop()

= attribute of a module, read outside of it
NET
net = Net(V)
read: net.k
again: no
set: net.k = V

= module itself
NET
net = f = Net(V)
set: net.k = V
mode: net.eval() <> net.train()

= method of a module itself
class Net(nn.Module):
    def __init__(self, k): self.k = k
    def step(self, x):
        ran()
        return self.k * x
net = Net(V)
f = net.step
set: net.k = V

= attribute that a module gets
class Net(nn.Module):
    def __call__(self, x): return getattr(self, 'k', 2.0) * x
net = Net()
read: net(x)
added: net.k = V <> del net.k

= attribute that a module does not show
class Net(nn.Module):
    graph_invisible_attrs = ('k',)
    def __init__(self, k): self.k = k
    def __call__(self, x): return self.k * x
net = Net(V)
read: net(x)
again: no
set: net.k = V

= item of a dict of a module
class Net(nn.Module):
    def __init__(self, k): self.cfg = {'k': k}
    def __call__(self, x): return self.cfg['k'] * x
net = Net(V)
read: net(x)
again: no
set: net.cfg['k'] = V
replaced: net.cfg = {'k': V}

= attribute of a dataclass of a module
@dataclasses.dataclass
class Config: k: float
class Net(nn.Module):
    def __init__(self, cfg): self.cfg = cfg
    def __call__(self, x): return self.cfg.k * x
net = Net(Config(V))
read: net(x)
again: no
set: net.cfg.k = V
replaced: net.cfg = Config(V)

= attribute of a plain object of a module
class Config:
    def __init__(self, k): self.k = k
class Net(nn.Module):
    def __init__(self, cfg): self.cfg = cfg
    def __call__(self, x): return self.cfg.k * x
two, three = Config(2.0), Config(3.0)
net = Net(two)
read: net(x)
again: no
set: net.cfg.k = V
replaced: net.cfg = three <> net.cfg = two

= attribute of a namespace of a module
class Net(nn.Module):
    def __init__(self, cfg): self.cfg = cfg
    def __call__(self, x): return self.cfg.opt.k * x
net = Net(types.SimpleNamespace(opt=types.SimpleNamespace(k=V)))
read: net(x)
again: no
set: net.cfg.opt.k = V
replaced: net.cfg.opt = types.SimpleNamespace(k=V)

= part of a module
NET
net = nn.Sequential(Net(V))
read: net(x)
again: no
set: net.layers[0].k = V
replaced: net.layers[0] = Net(V)
appended: net.append(Twice()) <> del net[-1]

= state as a name
w = State(jnp.float32(2.0))
a, b = w, State(jnp.float32(3.0))
read: w.value
rebound: w = b <> w = a
written: w.value = 3.0 * jnp.ones(()) <> w.value = 2.0 * jnp.ones(())

= attribute of the class of a module
class Net(nn.Module):
    k = V
    def __call__(self, x): return self.k * x
net = Net()
read: net(x)
again: no
set: Net.k = V
set_on_the_module: net.k = 3.0 <> del net.k

= attribute of a class above a module
class Base(nn.Module):
    k = V
    def __call__(self, x): return self.k * x
class Net(Base): pass
net = Net()
read: net(x)
again: no
set: Base.k = V
hidden_below: Net.k = 3.0 <> del Net.k

= attribute of a plain class above a module
class Mixin: k = V
class Net(nn.Module, Mixin):
    def __call__(self, x): return self.k * x
net = Net()
read: net(x)
again: no
set: Mixin.k = V

= attribute of the class of a module, named
class Net(nn.Module):
    k = V
    def __call__(self, x): return Net.k * x
net = Net()
read: net(x)
again: no
set: Net.k = V

= table of the class of a module
class Net(nn.Module):
    cfg = {'k': V}
    def __call__(self, x): return self.cfg['k'] * x
net = Net()
read: net(x)
again: no
set: Net.cfg['k'] = V

= attribute of the class of a part
class Part(nn.Module):
    k = V
    def __call__(self, x): return self.k * x
net = nn.Sequential(Part())
read: net(x)
again: no
set: Part.k = V

= mode by the class of a module
class Net(nn.Module):
    def __call__(self, x): return x if self.training else -x
net = Net()
read: net(x)
mode: Net.training = False <> del Net.training

= property of a module
class Net(nn.Module):
    def __init__(self, k): self._k = k
    @property
    def k(self): return self._k
    def __call__(self, x): return self.k * x
net = Net(V)
read: net(x)
again: no
set: net._k = V

= method of the class of a module
class Net(nn.Module):
    def helper(self): return 2.0
    def __call__(self, x): return self.helper() * x
net, two, three = Net(), Net.helper, lambda self: 3.0
put_on_it = lambda: 3.0
read: net(x)
replaced: Net.helper = three <> Net.helper = two
put_on_the_module: net.helper = put_on_it <> del net.helper

= call of a module
class Net(nn.Module):
    def __call__(self, x): return 2.0 * x
net, two, three = Net(), Net.__call__, lambda self, x: 3.0 * x
read: net(x)
replaced: Net.__call__ = three <> Net.__call__ = two

= update of a module
class Net(nn.Module):
    def update(self, x): return 2.0 * x
net, two, three = Net(), Net.update, lambda self, x: 3.0 * x
read: net(x)
replaced: Net.update = three <> Net.update = two

= method of a plain class above a module
class Mixin:
    def helper(self): return 2.0
class Net(nn.Module, Mixin):
    def __call__(self, x): return self.helper() * x
net, two, three = Net(), Mixin.helper, lambda self: 3.0
read: net(x)
replaced: Mixin.helper = three <> Mixin.helper = two

= method of the class of a layer of this library
net, two, three = nn.Identity(), nn.Identity.__call__, lambda self, x: 3.0 * x
read: 2.0 * net(x)
replaced: nn.Identity.__call__ = three <> nn.Identity.__call__ = two

= class of a module
class A(nn.Module):
    def __call__(self, x): return 2.0 * x
class B(nn.Module):
    def __call__(self, x): return 3.0 * x
net = A()
read: net(x)
replaced: net.__class__ = B <> net.__class__ = A

= global of a method
k = V
class Net(nn.Module):
    def __call__(self, x): return k * x
net = Net()
read: net(x)
again: no
set: k = V

= global of a method that a method calls
k = V
class Net(nn.Module):
    def helper(self): return k
    def __call__(self, x): return self.helper() * x
net = nn.Sequential(Net())
read: net(x)
again: no
set: k = V

= global of a method of a class above
k = V
class Base(nn.Module):
    def __call__(self, x): return k * x
class Net(Base):
    def __call__(self, x): return super().__call__(x)
net = Net()
read: net(x)
again: no
set: k = V

= global of a method of a plain class above
k = V
class Mixin:
    def helper(self): return k
class Net(nn.Module, Mixin):
    def __call__(self, x): return self.helper() * x
net = Net()
read: net(x)
again: no
set: k = V
""".replace("NET\n", NET.lstrip())
)
