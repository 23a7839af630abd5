"""Places that hold functions: helpers that are defined again, methods that are replaced, what wraps another."""

from __future__ import annotations

import re

from tests.laws.places.place import Place, table

__all__ = ["FUNCTIONS"]

TWO_AND_THREE = """
def two(): return 2.0
def three(): return 3.0
"""


def _replaced(row: Place) -> Place:
    """Write out what puts a function, `F`, in the place of another one."""
    changes = {
        name: (re.sub(r"\bF\b", "three", there), re.sub(r"\bF\b", "two", back))
        for name, (there, back) in row.changes.items()
    }
    return row._replace(made=TWO_AND_THREE + row.made, changes=changes)


# What holds a function, how it is called, and how another takes its place: `F` is `three`, and then `two` again.
_HELD = table(
    """
= function in a global
helper = two
read: helper()
replaced: helper = F

= function in a name of a name
first = two; helper = lambda: first()
read: helper()
replaced: first = F

= function in an attribute
box = types.SimpleNamespace(helper=two)
read: box.helper()
replaced: box.helper = F

= function in an attribute in slots
class Box: __slots__ = ('helper',)
box = Box(); box.helper = two
read: box.helper()
replaced: box.helper = F

= function in an item of a dict
table = {'a': two}
read: table['a']()
replaced: table['a'] = F

= function in an item of a list
table = [two]
read: table[0]()
replaced: table[0] = F

= function in an item of a tuple
table = (two,)
read: table[0]()
replaced: table = (F,)

= function in a queue
table = collections.deque([two])
read: table[0]()
replaced: table[0] = F

= function in an item of a dict in an object
box = types.SimpleNamespace(table={'a': two})
read: box.table['a']()
replaced: box.table['a'] = F

= function in a default
def helper(g=two): return g()
read: helper()
replaced: helper.__defaults__ = (F,)

= function in a partial
helper = functools.partial(lambda g: g(), two)
read: helper()
replaced: helper = functools.partial(helper.func, F)

= function in a keyword of a partial
helper = functools.partial(lambda g: g(), g=two)
read: helper()
replaced: helper.keywords['g'] = F

= function that another one wraps
helper = functools.wraps(two)(lambda: helper.__wrapped__())
read: helper()
replaced: helper.__wrapped__ = F

= function as a static method
class T: helper = staticmethod(two)
read: T.helper()
replaced: T.helper = staticmethod(F)

= function as a static method of an object
class T: helper = staticmethod(two)
t = T()
read: t.helper()
replaced: T.helper = staticmethod(F)

= function as a class method
class T: helper = classmethod(lambda cls: 2.0)
two, three = T.__dict__['helper'], classmethod(lambda cls: 3.0)
read: T.helper()
replaced: T.helper = F

= function as a method
class T: helper = lambda self: 2.0
two, three = T.helper, lambda self: 3.0
t = T()
read: t.helper()
replaced: T.helper = F

= function as a method of a class above
class Base: helper = lambda self: 2.0
class T(Base): pass
two, three = Base.helper, lambda self: 3.0
t = T()
read: t.helper()
replaced: Base.helper = F

= function as a method of an object with slots
class T:
    __slots__ = ()
    helper = lambda self: 2.0
two, three = T.helper, lambda self: 3.0
t = T()
read: t.helper()
replaced: T.helper = F

= function as the call of an object
class T: __call__ = lambda self: 2.0
two, three = T.__call__, lambda self: 3.0
t = T()
read: t()
replaced: T.__call__ = F

= function as an operator of an object
class T: __mul__ = lambda self, other: 2.0 * other
two, three = T.__mul__, lambda self, o: 3.0 * o
t = T()
read: (t * 1.0)
replaced: T.__mul__ = F

= function as the context of an object
class T:
    __enter__ = lambda self: 2.0
    def __exit__(self, *_): pass
two, three, t = T.__enter__, lambda self: 3.0, T()
def look():
    with t as k:
        return k
read: look()
replaced: T.__enter__ = F

= class in a global
class A: k = 2.0
class B: k = 3.0
make, two, three = A, A, B
read: make().k
replaced: make = F
"""
)

FUNCTIONS: list[Place] = [_replaced(row) for row in _HELD] + table(
    """
= function that is defined again
def helper(): return V
read: helper()

= function made by a function
def make(k):
    def helper(): return k
    return helper
helper = make(V)
read: helper()
again: no
made_by_the_same: helper = make(V)

= method that is put on an object
class T:
    def helper(self): return 2.0
t = T()
three = lambda: 3.0
read: t.helper()
put: t.helper = three <> del t.helper

= method that hides one of a class above
class Base:
    def helper(self): return 2.0
class T(Base): pass
t = T()
three = lambda self: 3.0
read: t.helper()
put: T.helper = three <> del T.helper

= method that another class above gets
class Base:
    def helper(self): return 2.0
class Between(Base): pass
class T(Between): pass
t = T()
three = lambda self: 3.0
read: t.helper()
put: Between.helper = three <> del Between.helper

= bound method of another object
class T:
    def __init__(self, k): self.k = k
    def look(self): return self.k
a, b = T(2.0), T(3.0)
helper = a.look
read: helper()
replaced: helper = b.look <> helper = a.look
changed: a.k = 3.0 <> a.k = 2.0

= function under a wrapper
k = V
def around(fun):
    @functools.wraps(fun)
    def call(*args):
        return fun(*args)
    return call
@around
def helper(): return k
read: helper()
again: no
set: k = V

= function that keeps its results, emptied
k = V
@functools.lru_cache
def helper(): return k
read: helper()
again: no
set_and_emptied: k = V; helper.cache_clear()

= method that keeps its results, emptied
class T:
    def __init__(self): self.k = V
    @functools.cache
    def look(self): return self.k
t = T()
read: t.look()
again: no
set_and_emptied: t.k = V; T.look.cache_clear()

= function that chooses by type
k = V
@functools.singledispatch
def helper(item): return 0.0
@helper.register
def _(item: str): return k
read: helper('a')
again: no
set: k = V

= function of a context
k = V
@contextlib.contextmanager
def helper():
    yield k
def look():
    with helper() as found:
        return found
read: look()
again: no
set: k = V
"""
)
