"""What a function changes itself while it is traced: that is no part of its program, and traces nothing again."""

from __future__ import annotations

from tests.laws.places.place import Place, table

__all__ = ["COUNTED"]

# Each counts, or keeps something at its first run; `between` runs between calls, here nothing.
COUNTED: list[Place] = table(r"""
= count of a global
count = 0
def f(x):
    global count
    count += 1
    ran()
    return 2.0 * x

= count of a variable around
def around():
    count = 0
    def f(x):
        nonlocal count
        count += 1
        ran()
        return 2.0 * x
    return f
f = around()

= count in a list
count = [0]
def f(x):
    count[0] += 1
    ran()
    return 2.0 * x

= count by a list that grows
traces = []
def f(x):
    traces.append(1)
    ran()
    return 2.0 * x

= count in a dict
count = collections.Counter()
def f(x):
    count['f'] += 1
    ran()
    return 2.0 * x

= count in an object
log = types.SimpleNamespace(count=0)
def f(x):
    log.count += 1
    ran()
    return 2.0 * x

= count in self
class Trainer:
    def __init__(self): self.count = 0
    def step(self, x):
        self.count += 1
        ran()
        return 2.0 * x
f = Trainer().step

= count in a class
class Trainer:
    count = 0
    def step(self, x):
        Trainer.count += 1
        ran()
        return 2.0 * x
f = Trainer().step

= count in the class of a module
class Net(nn.Module):
    count = 0
    def __call__(self, x):
        Net.count += 1
        ran()
        return 2.0 * x
f = Net()

= count in a function
def f(x):
    f.count += 1
    ran()
    return 2.0 * x
f.count = 0

= count in a module of Python
pkg = module('a', 'count = 0')
def f(x):
    pkg.count += 1
    ran()
    return 2.0 * x

= count by a helper
count = 0
def note():
    global count
    count += 1
def f(x):
    note()
    ran()
    return 2.0 * x

= count by a method of an object
class Log:
    def __init__(self): self.count = 0
    def note(self): self.count += 1
log = Log()
def f(x):
    log.note()
    ran()
    return 2.0 * x

= names that a function gives out
names = {}
def f(x):
    names.setdefault('f', len(names))
    ran()
    return 2.0 * x

= result that a function keeps
cache = {}
def table():
    if 'k' not in cache:
        cache['k'] = 2.0
    return cache['k']
def f(x):
    ran()
    return table() * x

= result that Python keeps for a function
@functools.lru_cache
def table(): return 2.0
def f(x):
    ran()
    return table() * x

= result that an object keeps
class T:
    @functools.cached_property
    def k(self): return 2.0
t = T()
def f(x):
    ran()
    return t.k * x

= attribute that is made at the first use
class T:
    k = None
    def get(self):
        if self.k is None:
            self.k = 2.0
        return self.k
t = T()
def f(x):
    ran()
    return t.get() * x

= global that is made at the first use
k = None
def get():
    global k
    if k is None:
        k = 2.0
    return k
def f(x):
    ran()
    return get() * x

= attribute that is set before it is read
cfg = types.SimpleNamespace(k=1.0)
def f(x):
    ran()
    cfg.k = 2.0
    return cfg.k * x
""")
