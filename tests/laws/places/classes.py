"""Places in classes: their attributes and properties, and attributes of self."""

from __future__ import annotations

from tests.laws.places.place import Place, table

__all__ = ["CLASSES"]

CLASSES: list[Place] = table(r"""
= attribute of a class
class Config: k = V
read: Config.k
set: Config.k = V
deleted_and_added: del Config.k; Config.k = V

= attribute of the class of an object
class Config: k = V
cfg = Config()
read: cfg.k
set: Config.k = V
set_on_the_object: cfg.k = 3.0 <> del cfg.k

= attribute of a class above
class Base: k = V
class Config(Base): pass
read: Config.k
again: no
set: Base.k = V
hidden_below: Config.k = 3.0 <> del Config.k

= attribute of a class two above
class Top: k = V
class Base(Top): pass
class Config(Base): pass
cfg = Config()
read: cfg.k
again: no
set: Top.k = V
hidden_between: Base.k = 3.0 <> del Base.k

= attribute of the second of two classes above
class A: pass
class B: k = V
class Config(A, B): pass
read: Config.k
again: no
set: B.k = V
hidden_by_the_first: A.k = 3.0 <> del A.k

= attribute of a class in a class
class Config:
    class Opt: k = V
read: Config.Opt.k
set: Config.Opt.k = V
replaced: Config.Opt = type('Opt', (), {'k': V})

= attribute of a class of classes
class Meta(type): k = V
class Config(metaclass=Meta): pass
read: Config.k
again: no
set: Meta.k = V

= attribute of a class, asked of the object
class Config:
    k = V
    def by_type(self): return type(self).k
cfg = Config()
read: cfg.by_type()
again: no
set: Config.k = V

= attribute of a class, asked of the class of self
class Config:
    k = V
    def by_class(self): return self.__class__.k
cfg = Config()
read: cfg.by_class()
again: no
set: Config.k = V

= attribute of a class, by its method
class Config:
    k = V
    @classmethod
    def look(cls): return cls.k
read: Config.look()
set: Config.k = V

= attribute of a class above, by super
class Base: k = V
class Config(Base):
    def look(self): return super().k
cfg = Config()
read: cfg.look()
again: no
set: Base.k = V

= attribute of a class, changed by its method
class Config:
    k = V
    @classmethod
    def put(cls, value): cls.k = value
read: Config.k
set: Config.put(V)

= object in a class
class Config: opt = types.SimpleNamespace(k=V)
read: Config.opt.k
set: Config.opt.k = V
replaced: Config.opt = types.SimpleNamespace(k=V)

= table in a class
class Config: opt = {'k': V}
read: Config.opt['k']
set: Config.opt['k'] = V
replaced: Config.opt = {'k': V}

= default of a field
@dataclasses.dataclass
class Config: k: float = V
read: Config.k
set: Config.k = V

= variable of a class
@dataclasses.dataclass
class Config: k: typing.ClassVar[float] = V
cfg = Config()
read: cfg.k
set: Config.k = V

= value of a member of an enum
class Mode(enum.Enum):
    a = V
read: Mode.a.value

= base of a class
class A: k = 2.0
class B: k = 3.0
class Base(A): pass
class Config(Base): pass
read: Config.k
replaced: Base.__bases__ = (B,) <> Base.__bases__ = (A,)

= class of an object
class A: k = 2.0
class B: k = 3.0
cfg = A()
read: cfg.k
replaced: cfg.__class__ = B <> cfg.__class__ = A

= class as a name
class A: k = 2.0
class B: k = 3.0
Config = A
read: Config.k
rebound: Config = B <> Config = A

= property
class T:
    def __init__(self): self._k = V
    @property
    def k(self): return self._k
t = T()
read: t.k
set: t._k = V

= property that sets
class T:
    def __init__(self): self._k = V
    @property
    def k(self): return self._k
    @k.setter
    def k(self, value): self._k = value
t = T()
read: t.k
set: t.k = V

= property that is replaced
class T: k = property(lambda self: 2.0)
two, three = T.k, property(lambda self: 3.0)
t = T()
read: t.k
replaced: T.k = three <> T.k = two

= property that is kept
class T:
    def __init__(self): self._k = V
    @functools.cached_property
    def k(self): return self._k
t = T()
read: t.k
computed_anew: t._k = V; t.__dict__.pop('k', None)

= descriptor
class Field:
    def __get__(self, owner, cls): return self if owner is None else owner.__dict__['_k']
    def __set__(self, owner, value): owner.__dict__['_k'] = value
class T: k = Field()
t = T()
t.k = V
read: t.k
again: no
set: t.k = V

= attribute of a descriptor
class Field:
    def __init__(self, k): self.k = k
    def __get__(self, owner, cls): return self.k
class T: k = Field(V)
t = T()
read: t.k
set: T.__dict__['k'].k = V
replaced: T.k = Field(V)

= attribute of self
class T:
    def __init__(self): self.k = V
    def look(self): return self.k
t = T()
read: t.look()
set: t.k = V

= attribute of self, two methods down
class T:
    def __init__(self): self.k = V
    def inner(self): return self.k
    def look(self): return self.inner()
t = T()
read: t.look()
set: t.k = V

= attribute of self, in the method itself
class T:
    def __init__(self): self.k = V
    def step(self, x):
        ran()
        return self.k * x
t = T()
f = t.step
set: t.k = V

= attribute of self, in a helper of the method itself
class T:
    def __init__(self): self.k, self.other = V, 1.0
    def loss(self, x): return self.k * x
    def step(self, x):
        ran()
        return self.loss(x)
t = T()
f = t.step
set: t.k = V

= attribute of self, in a class above
class Base:
    def __init__(self): self.k = V
    def look(self): return self.k
class T(Base):
    def look(self): return super().look()
t = T()
read: t.look()
set: t.k = V

= attribute of self, in slots
class T:
    __slots__ = ('k',)
    def look(self): return self.k
t = T()
t.k = V
read: t.look()
again: no
set: t.k = V

= attribute of an object of self
class T:
    def __init__(self): self.cfg = types.SimpleNamespace(k=V)
    def look(self): return self.cfg.k
t = T()
read: t.look()
set: t.cfg.k = V
replaced: t.cfg = types.SimpleNamespace(k=V)
""")
