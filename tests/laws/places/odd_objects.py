"""Objects and functions that are hard to look at: a look falls over none of them, and runs none of their code."""

from __future__ import annotations

from tests.laws.places.place import Place, table

__all__ = ["ODD_OBJECTS"]

NET = """
class Net(nn.Module):
    def __init__(self): self.w, self.scale = nn.ParamState(jnp.float32(1.0)), 1.0
    def __call__(self, x): return self.w.value * x
net = Net()
"""

# What a look at a function may not fall over: it runs as in plain Python, before and after `changed`.
ODD_OBJECTS: list[Place] = table(
    r"""
= function around itself
def around():
    def power(x, n): return 1.0 if n == 0 else x * power(x, n - 1)
    return lambda x: power(x, 3)
f = around()

= functions around each other
def around():
    def even(x, n): return x if n == 0 else odd(x, n - 1)
    def odd(x, n): return even(x, n - 1)
    return lambda x: even(x, 4)
f = around()

= object that holds itself
class T: pass
t = T()
t.t, t.k = t, 2.0
f = lambda x: t.t.t.k * x

= list that holds itself
rates = [2.0]
rates.append(rates)
f = lambda x: rates[1][0] * x

= dict that holds itself
cfg = {'k': 2.0}
cfg['cfg'] = cfg
f = lambda x: cfg['cfg']['k'] * x

= partial that holds itself
call = functools.partial(lambda x, table: 2.0 * x, table={})
call.keywords['table']['call'] = call
f = lambda x: call(x)

= property that holds its object
class T:
    @property
    def me(self): return self
    k = 2.0
t = T()
f = lambda x: t.me.me.k * x

= class that holds itself
class T: k = 2.0
T.T = T
f = lambda x: T.T.T.k * x

= very many steps
class T: pass
top = t = T()
for _ in range(3000):
    t.t = T()
    t = t.t
t.k = 2.0
def last():
    found = top
    while hasattr(found, 't'):
        found = found.t
    return found
f = lambda x: last().k * x

= array that comes into a dict
NET
run = {'net': net, 'best': None}
f = lambda x: run['net'](x)
changed: run['best'] = np.zeros(2)

= array of JAX that comes into a dict
NET
run = {'net': net, 'best': None}
f = lambda x: run['net'](x)
changed: run['best'] = jnp.zeros(2)

= array that comes into a list of a module
NET
class Outer(nn.Module):
    def __init__(self): self.parts = [net, Net()]
    def __call__(self, x): return self.parts[0](x)
outer = Outer()
f = lambda x: outer(x)
changed: outer.parts[1] = np.zeros(2)

= array that comes into a list
rates = [net, None] if False else [None, 2.0]
f = lambda x: rates[1] * x
changed: rates[0] = np.zeros(2)

= array in place of a number
k = 2.0
f = lambda x: jnp.sum(k * x)
changed: k = np.ones(3)

= array in the table of an object
cfg = types.SimpleNamespace(k=2.0)
f = lambda x: jnp.sum(cfg.k * x)
changed: cfg.k = np.ones(3)

= object that answers everything
class Any:
    def __getattr__(self, name): return Any()
t = Any()
def f(x):
    t.log(x.shape)
    return 2.0 * x
Any.__call__ = lambda self, *args: Any()

= object that answers everything, with a new class each time
class Any:
    def __getattr__(self, name): return type('Any', (Any,), {})()
t = Any()
f = lambda x: 2.0 * x if t.wrapped else x

= object that answers everything with itself
class Any:
    def __getattr__(self, name): return self
    def __call__(self, *args): return self
t = Any()
def f(x):
    t.log(x.shape)
    return 2.0 * x

= object of a test that answers everything
from unittest import mock
t = mock.MagicMock()
def f(x):
    t.log(x.shape)
    return 2.0 * x

= object that answers nothing
class T:
    def __getattr__(self, name): raise RuntimeError(name)
t = T()
t.k = 2.0
f = lambda x: t.k * x

= object that answers nothing, not even what it has
class T:
    k = 2.0
    def __getattribute__(self, name):
        if name not in ('k', '__class__'): raise RuntimeError(name)
        return object.__getattribute__(self, name)
t = T()
f = lambda x: t.k * x

= object that says it is wrapped
class T:
    k = 2.0
    @property
    def __wrapped__(self): raise RuntimeError('wrapped')
t = T()
f = lambda x: t.k * x

= object whose table raises
class T:
    k = 2.0
    @property
    def __dict__(self): raise RuntimeError('dict')
t = T()
f = lambda x: t.k * x

= object whose table is no table
class T:
    k = 2.0
    __dict__ = 5
t = T()
f = lambda x: t.k * x

= object that says it is a dict
class T:
    k = 2.0
    @property
    def __class__(self): return dict
t = T()
f = lambda x: t.k * x

= object that says it is a module
class T:
    k = 2.0
    @property
    def __class__(self): return nn.Module
t = T()
f = lambda x: t.k * x

= object that says it is a state
class T:
    k = 2.0
    @property
    def __class__(self): return State
t = T()
f = lambda x: t.k * x

= object that cannot be compared
class T:
    k = 2.0
    def __eq__(self, other): raise RuntimeError('eq')
    __hash__ = object.__hash__
t = T()
f = lambda x: t.k * x
changed: t = T()

= object that cannot be compared in a dict
class T:
    k = 2.0
    def __eq__(self, other): raise RuntimeError('eq')
    __hash__ = object.__hash__
cfg = {'t': T(), 'k': 2.0}
f = lambda x: cfg['t'].k * cfg['k'] * x
changed: cfg['t'] = T()

= value that cannot be compared
class T(float):
    def __eq__(self, other): raise RuntimeError('eq')
    __hash__ = float.__hash__
k = T(2.0)
f = lambda x: float(k) * x
changed: k = T(3.0)

= object that cannot be hashed
class T:
    k = 2.0
    def __hash__(self): raise RuntimeError('hash')
t = T()
f = lambda x: t.k * x
changed: t = T()

= object that cannot be shown
class T:
    k = 2.0
    def __repr__(self): raise RuntimeError('repr')
t = T()
f = lambda x: t.k * x
changed: t = T(); t.k = 3.0

= object that has no truth
class T:
    k = 2.0
    def __bool__(self): raise RuntimeError('bool')
    def __len__(self): raise RuntimeError('len')
t = T()
f = lambda x: t.k * x
changed: t.k = 3.0

= property that raises
class T:
    k = 2.0
    @property
    def other(self): raise RuntimeError('property')
t = T()
f = lambda x: t.k * x

= property that raises where it is read
class T:
    @property
    def k(self): raise RuntimeError('property')
t = T()
def f(x):
    try:
        return t.k * x
    except RuntimeError:
        return 2.0 * x

= property that counts
count = [0]
class T:
    @property
    def k(self):
        count[0] += 1
        return 2.0
t = T()
f = lambda x: t.k * x

= class whose attribute raises
class Field:
    def __get__(self, owner, cls): raise RuntimeError('get')
class T:
    k = 2.0
    other = Field()
f = lambda x: T.k * x

= class of classes that answers everything
class Meta(type):
    def __getattr__(cls, name): return 2.0
class T(metaclass=Meta): pass
f = lambda x: T.k * x

= code without names
f = eval('lambda x: x')

= function without globals
f = types.FunctionType((lambda x: x).__code__, {})

= module that is gone
pkg = module('a', 'k = 2.0')
f = lambda x: pkg.k * x
changed: del sys.modules['places_a']

= name that is there nowhere
def f(x):
    if x.ndim:
        return not_there * x
    return 2.0 * x

= module that is imported nowhere
def f(x):
    if x.ndim:
        import places_nowhere.at_all
    return 2.0 * x

= generator that is held
numbers = iter([2.0, 3.0, 4.0])
f = lambda x: (numbers, 2.0 * x)[1]

= lock, thread and file that are held
lock, thread, file = threading.Lock(), threading.current_thread(), sys.stdout
def f(x):
    with lock:
        return (thread, file, 2.0 * x)[2]

= array of objects
rates = np.array([2.0, None], dtype=object)
f = lambda x: rates[0] * x

= view of a dict that changes
cfg = {'k': 2.0}
keys = cfg.keys()
f = lambda x: len(keys) * x
""".replace("NET\n", NET.lstrip())
)
