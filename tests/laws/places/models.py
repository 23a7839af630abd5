"""Places that hold a model: its mode, layers and attributes are seen wherever it is, and so is another model."""

from __future__ import annotations

from tests.laws.places.modules import NET
from tests.laws.places.place import Place, table

__all__ = ["MODELS"]


def _with_model(row: Place) -> Place:
    """Put a model into what holds it; `held` says how."""
    held = row.changes["held"][0] if row.changes else ""
    changes = {
        "set": "net.k = V",
        "mode": ("net.eval()", "net.train()"),
        "layer": ("net.more.append(Twice())", "net.more.pop()"),
        "rebound": f"net = Net(V)\n{held}",
    }
    both = {name: code if isinstance(code, tuple) else (code, code) for name, code in changes.items()}
    return row._replace(made=f"{NET}{row.made}\nnet = Net(V)\n{held}", changes=both)


# What holds a model, how it gets there, and how it is called.
_HOLDERS = table(
    """
= model in a global
read: net(x)

= model in a slot
class Box: __slots__ = ('net',)
box = Box()
held: box.net = net
read: box.net(x)

= model in a class
class Box: pass
held: Box.net = net
read: Box.net(x)

= model in a class of self
class Box:
    def look(self, x): return self.net(x)
box = Box()
held: Box.net = net
read: box.look(x)

= model in a namespace
box = types.SimpleNamespace(inner=types.SimpleNamespace())
held: box.inner.net = net
read: box.inner.net(x)

= model in a dict
box = {}
held: box['net'] = net
read: box['net'](x)

= model in a dict that is asked
box = {}
held: box['net'] = net
read: box.get('net')(x)

= model in a dict that is gone through
box = {}
held: box['net'] = net
read: [m(x) for m in box.values()][0]

= model in a user's dict
box = collections.UserDict()
held: box['net'] = net
read: box['net'](x)

= model in a list
box = [None]
held: box[0] = net
read: box[0](x)

= model in a tuple
held: box = (net,)
read: box[0](x)

= model in a queue
box = collections.deque([None])
held: box[0] = net
read: box[0](x)

= model in a set
box = set()
held: box.clear(); box.add(net)
read: [m(x) for m in box][0]

= model in a named tuple
Box = collections.namedtuple('Box', 'net')
held: box = Box(net)
read: box.net(x)

= model in a frozen dataclass
@dataclasses.dataclass(frozen=True)
class Box: net: object
held: box = Box(net)
read: box.net(x)

= model by a property
class Box:
    @property
    def net(self): return self._net
box = Box()
held: box._net = net
read: box.net(x)

= model by a static method
class Box:
    @staticmethod
    def get(): return net
read: Box.get()(x)

= model by a class method
class Box:
    @classmethod
    def get(cls): return cls.net
held: Box.net = net
read: Box.get()(x)

= model by a function
def get(): return net
read: get()(x)

= model by a helper object
class Loss:
    def compute(self, x): return net(x)
loss = Loss()
read: loss.compute(x)

= model in a default
def look(x, net=None): return net(x)
held: look.__defaults__ = (net,)
read: look(x)

= model in a partial
look = functools.partial(lambda x, m: m(x), m=None)
held: look.keywords['m'] = net
read: look(x)

= model in an attribute of a function
def look(x): return look.net(x)
held: look.net = net
read: look(x)

= model by a bound method
held: look = net.__call__
read: look(x)

= model in a variable of a context
var = contextvars.ContextVar('net')
held: var.set(net)
read: var.get()(x)

= model in an attribute of a thread
box = threading.local()
held: box.net = net
read: box.net(x)

= model in a module of a user
pkg = module('a', '')
held: pkg.net = net
read: pkg.net(x)

= model by a function that keeps its results
@functools.lru_cache
def get(): return net
held: get.cache_clear()
read: get()(x)

= model by a method of a module
class Outer(nn.Module):
    def __call__(self, x): return net(x)
outer = Outer()
read: outer(x)

= model by a method of a plain class above a module
class Mixin:
    def target(self, x): return net(x)
class Outer(nn.Module, Mixin):
    def __call__(self, x): return self.target(x)
outer = Outer()
read: outer(x)

= model by a property of a module
class Outer(nn.Module):
    @property
    def target(self): return net
    def __call__(self, x): return self.target(x)
outer = Outer()
read: outer(x)

= model by a class method of a module
class Outer(nn.Module):
    @classmethod
    def target(cls): return net
    def __call__(self, x): return self.target()(x)
outer = Outer()
read: outer(x)

= model by a static method of a module
class Outer(nn.Module):
    @staticmethod
    def target(): return net
    def __call__(self, x): return self.target()(x)
outer = Outer()
read: outer(x)

= model by a function in a module
outer = nn.Sequential(lambda x: net(x))
read: outer(x)

= model in a module
outer = nn.Sequential(nn.Identity())
held: outer.layers[0] = net
read: outer(x)

= model in a hidden attribute of a module
class Outer(nn.Module):
    graph_invisible_attrs = ('net',)
    def __call__(self, x): return self.net(x)
outer = Outer()
held: outer.net = net
read: outer(x)

= model in a class of a module
class Outer(nn.Module):
    def __call__(self, x): return self.net(x)
outer = Outer()
held: Outer.net = net
read: outer(x)

= model by a compiled function
look = jit(lambda x: net(x))
read: look(x)

= model by a checkpointed function
look = bt.checkpoint(lambda x: net(x))
read: look(x)

= model by a differentiated function
look = bt.grad(lambda x: net(x) * x / 2.0)
read: look(x)
"""
)
MODELS: list[Place] = list(map(_with_model, _HOLDERS))
