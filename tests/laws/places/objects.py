"""Places in objects: attributes and items, at any depth."""

from __future__ import annotations

from tests.laws.places.place import Place, table

__all__ = ["OBJECTS"]

# How a class is written whose objects hold `k`, and whether they can be changed in place.
CLASSES = {
    "plain object": ("class Config:\n    def __init__(self, k): self.k = k", True),
    "object with slots": ("class Config:\n    __slots__ = ('k',)\n    def __init__(self, k): self.k = k", True),
    "object with slots and a table": (
        "class Base:\n    __slots__ = ('k',)\nclass Config(Base):\n    def __init__(self, k): self.k = k", True),
    "object with inherited slots": (
        "class Base:\n    __slots__ = ('k',)\n    def __init__(self, k): self.k = k\n"
        "class Config(Base): __slots__ = ()", True),
    "object that is called": (
        "class Config:\n    def __init__(self, k): self.k = k\n    def __call__(self): return 0", True),
    "object that has a length": (
        "class Config:\n    def __init__(self, k): self.k = k\n    def __len__(self): return 0", True),
    "object that is compared by value": (
        "class Config:\n    __hash__ = None\n    def __init__(self, k): self.k = k\n"
        "    def __eq__(self, other): return self.k == other.k", True),
    "object that says it is another": (
        "class Config:\n    def __init__(self, k): self.k = k\n    def __eq__(self, other): return True\n"
        "    def __hash__(self): return 0", True),
    "dataclass": ("@dataclasses.dataclass\nclass Config: k: float", True),
    "dataclass with slots": ("@dataclasses.dataclass(slots=True)\nclass Config: k: float", True),
    "frozen dataclass": ("@dataclasses.dataclass(frozen=True)\nclass Config: k: float", False),
    "frozen dataclass with slots": ("@dataclasses.dataclass(frozen=True, slots=True)\nclass Config: k: float", False),
    "namespace": ("Config = types.SimpleNamespace", True),
    "namespace of options": ("Config = argparse.Namespace", True),
    "named tuple": ("class Config(typing.NamedTuple): k: float", False),
    "named tuple without types": ("Config = collections.namedtuple('Config', 'k')", False),
    "dict with attributes": ("class Config(dict):\n    def __init__(self, k): self.k = k", True),
    "list with attributes": ("class Config(list):\n    def __init__(self, k): self.k = k", True),
    "exception": ("class Config(Exception):\n    def __init__(self, k): self.k = k", True),
    "module of equinox": ("import equinox\nclass Config(equinox.Module): k: float", False),
    "node": ("class Config(Node):\n    def __init__(self, k): self.k = k", True),
    "object of each thread": (
        "class Config(threading.local):\n    def __init__(self, k): self.k = k", True),
    "object with a table that says no more": (
        "class Config:\n    def __init__(self, k): self.k = k\n    def __dir__(self): return []", True),
    "object that reads through a function": (
        "class Config:\n    def __init__(self, k): self.k = k\n"
        "    def __getattribute__(self, name): return object.__getattribute__(self, name)", True),
}  # fmt: skip


def _held_by(kind: str, written: str, changes: bool) -> str:
    """Write the row of a class; `replaced` leaves the class as it is."""
    set_it = "\nset: cfg.k = V" if changes else ""
    made = f"{written}\ncfg = Config(k=V)"
    article = "an" if kind[0] in "aeiou" else "a"
    return f"= attribute of {article} {kind}\n{made}\nread: cfg.k\nagain: no\nreplaced: cfg = Config(k=V){set_it}\n"


_ATTRIBUTES: list[Place] = table("\n".join([_held_by(kind, *row) for kind, row in CLASSES.items()]))

OBJECTS: list[Place] = _ATTRIBUTES + table(r"""
= attribute that is added
cfg = types.SimpleNamespace()
read: cfg.k if hasattr(cfg, 'k') else 2.0
added: cfg.k = V <> del cfg.k

= attribute that is deleted
cfg = types.SimpleNamespace(k=3.0)
read: 2.0 if hasattr(cfg, 'k') else 3.0
deleted: del cfg.k <> cfg.k = 3.0

= slot that is filled
class Box: __slots__ = ('k',)
box = Box()
read: box.k if hasattr(box, 'k') else 2.0
added: box.k = V <> del box.k

= attribute by a pattern
class Config:
    def __init__(self, k): self.k = k
cfg = Config(V)
def look():
    match cfg:
        case Config(k=found):
            return found
read: look()
again: no
set: cfg.k = V
replaced: cfg = Config(V)

= attribute of a private name
class T:
    def __init__(self): self.__k = V
    def look(self): return self.__k
    def put(self, value): self.__k = value
t = T()
read: t.look()
set: t.put(V)

= whether an object is there
cfg, some = None, types.SimpleNamespace()
read: 2.0 if cfg is None else 3.0
rebound: cfg = some <> cfg = None

= whether two names are one object
a = b = types.SimpleNamespace()
other = types.SimpleNamespace()
read: 2.0 if a is b else 3.0
rebound: b = other <> b = a

= what an object is an instance of
two, three = types.SimpleNamespace(), argparse.Namespace()
cfg = two
read: 2.0 if isinstance(cfg, types.SimpleNamespace) else 3.0
rebound: cfg = three <> cfg = two

= attribute by a name in the code
cfg = types.SimpleNamespace(k=V)
read: getattr(cfg, 'k')
set: cfg.k = V

= attribute set by its table
class Config: pass
cfg = Config()
cfg.k = V
read: cfg.k
again: no
set_in_table: vars(cfg)['k'] = V
updated: cfg.__dict__.update(k=V)
set_past_it: object.__setattr__(cfg, 'k', V)

= frozen dataclass, changed past its guard
@dataclasses.dataclass(frozen=True)
class Config: k: float
cfg = Config(V)
read: cfg.k
again: no
set_past_it: object.__setattr__(cfg, 'k', V)
replaced: cfg = dataclasses.replace(cfg, k=V)

= two steps
top = types.SimpleNamespace(cfg=types.SimpleNamespace(k=V))
read: top.cfg.k
set: top.cfg.k = V
replaced_below: top.cfg = types.SimpleNamespace(k=V)

= three steps
a = types.SimpleNamespace(b=types.SimpleNamespace(c=types.SimpleNamespace(k=V)))
read: a.b.c.k
set: a.b.c.k = V
replaced_last: a.b.c = types.SimpleNamespace(k=V)
replaced_middle: a.b = types.SimpleNamespace(c=types.SimpleNamespace(k=V))

= three steps of frozen dataclasses
@dataclasses.dataclass(frozen=True)
class C: k: float
@dataclasses.dataclass(frozen=True)
class B: c: C
a = types.SimpleNamespace(b=B(C(V)))
read: a.b.c.k
again: no
replaced: a.b = B(C(V))
replaced_one_by_one: a.b = dataclasses.replace(a.b, c=dataclasses.replace(a.b.c, k=V))

= steps through slots
class Box:
    __slots__ = ('inner',)
box = Box()
box.inner = Box()
box.inner.inner = V
read: box.inner.inner
again: no
set: box.inner.inner = V
replaced: new = Box(); new.inner = V; box.inner = new

= step that was bound to a name
cfg = types.SimpleNamespace(opt=types.SimpleNamespace(k=V))
def look():
    opt = cfg.opt
    return opt.k
read: look()
again: no
set: cfg.opt.k = V
replaced: cfg.opt = types.SimpleNamespace(k=V)

= step into what a helper returns
cfg = types.SimpleNamespace(k=V)
def get():
    return cfg
read: get().k
set: cfg.k = V
replaced: cfg = types.SimpleNamespace(k=V)

= step into an argument of a helper
cfg = types.SimpleNamespace(k=V)
def look(c):
    return c.k
read: look(cfg)
again: no
set: cfg.k = V
replaced: cfg = types.SimpleNamespace(k=V)

= two names of one object
cfg = types.SimpleNamespace(k=V)
alias = cfg
read: cfg.k
again: no
set_by_the_other: alias.k = V

= objects that hold each other
a = types.SimpleNamespace(k=V)
b = types.SimpleNamespace(a=a)
a.b = b
read: a.b.a.b.a.k
set: a.k = V

= item of a dict
cfg = {'k': V}
read: cfg['k']
set: cfg['k'] = V
updated: cfg.update(k=V)
deleted_and_added: del cfg['k']; cfg['k'] = V

= item of a dict of other kinds
cfg = collections.OrderedDict(k=V)
read: cfg['k']
set: cfg['k'] = V

= item of a dict with a default
cfg = collections.defaultdict(float, k=V)
read: cfg['k']
set: cfg['k'] = V

= item of a user's dict
class Config(dict): pass
cfg = Config(k=V)
read: cfg['k']
set: cfg['k'] = V

= item of a dict that is no dict
cfg = collections.UserDict(k=V)
read: cfg['k']
set: cfg['k'] = V

= item of a view of a dict
table = {'k': V}
cfg = types.MappingProxyType(table)
read: cfg['k']
again: no
set: table['k'] = V
rebound: cfg = types.MappingProxyType({'k': V})

= item of a chain of dicts
cfg = collections.ChainMap({'k': V})
read: cfg['k']
set: cfg['k'] = V
other_dicts: cfg.maps = [{'k': V}]
in_front: cfg.maps.insert(0, {'k': V}) <> cfg.maps.pop(0)

= item under an integer
cfg = {0: V}
read: cfg[0]
set: cfg[0] = V

= item under a tuple
cfg = {('a', 1): V}
read: cfg['a', 1]
set: cfg['a', 1] = V

= item of a nested dict
cfg = {'opt': {'k': V}}
read: cfg['opt']['k']
set: cfg['opt']['k'] = V
replaced: cfg['opt'] = {'k': V}

= item that is asked for
cfg = {'k': V}
read: cfg.get('k', 3.0)
set: cfg['k'] = V
deleted: del cfg['k'] <> cfg['k'] = 2.0

= key that is there or not
cfg = {}
read: 3.0 if 'k' in cfg else 2.0
added: cfg['k'] = 1.0 <> del cfg['k']

= item of a list
rates = [V]
read: rates[0]
set: rates[0] = V
extended: rates[:] = [V]
popped: rates.pop(); rates.append(V)

= last item of a list
rates = [1.0, V]
read: rates[-1]
set: rates[-1] = V
appended: rates.append(V) <> rates.pop()

= item of a tuple
rates = (1.0, V)
read: rates[1]

= item of a tuple in a tuple
rates = (1.0, (2.0, V))
read: rates[1][1]

= item of a list in a dict in a list
cfg = [{'rates': [V]}]
read: cfg[0]['rates'][0]
set: cfg[0]['rates'][0] = V
replaced: cfg[0] = {'rates': [V]}

= item of a queue
rates = collections.deque([V])
read: rates[0]
set: rates[0] = V
rotated: rates.appendleft(V)

= item of an attribute
cfg = types.SimpleNamespace(rates=[V])
read: cfg.rates[0]
set: cfg.rates[0] = V
replaced: cfg.rates = [V]

= attribute of an item
cfg = {'opt': types.SimpleNamespace(k=V)}
read: cfg['opt'].k
set: cfg['opt'].k = V
replaced: cfg['opt'] = types.SimpleNamespace(k=V)

= part of a list
rates = [1.0, V]
read: rates[1:][0]
set: rates[1] = V

= parts by names
rates = (1.0, V)
def look():
    _, k = rates
    return k
read: look()
again: no
rebound: rates = (1.0, V)

= length of a short list
rates = [1.0, 1.0]
read: float(len(rates))
appended: rates.append(1.0) <> rates.pop()

= whether a list is empty
rates = []
read: 3.0 if rates else 2.0
filled: rates.append(1.0) <> rates.pop()

= whether two lists are equal
rates, other = [1.0], [1.0]
read: 2.0 if rates == other else 3.0
set: other[0] = 2.0 <> other[0] = 1.0

= short list that is gone through
rates = [V]
read: [k for k in rates][0]
set: rates[0] = V

= tuples that are gone through together
names, rates = ('a', 'k'), (1.0, V)
read: dict(zip(names, rates))['k']
again: no
rebound: rates = (1.0, V)

= all of a short list
rates = [1.0, V]
read: sum(rates)
set: rates[1] = V

= all of a short dict
cfg = {'a': 1.0, 'k': V}
read: sum(cfg.values())
set: cfg['k'] = V

= all of a short set
rates = {1.0, V}
read: sum(rates)
changed: rates.add(5.0) <> rates.discard(5.0)
exchanged: rates.remove(1.0); rates.add(4.0) <> rates.remove(4.0); rates.add(1.0)

= arguments out of a list
rates = [1.0, V]
read: max(*rates)
set: rates[1] = V

= arguments out of a dict
cfg = {'a': 1.0, 'k': V}
read: (lambda a, k: k)(**cfg)
set: cfg['k'] = V
""")
