"""Places that are names: variables, defaults, arguments of partials."""

from __future__ import annotations

from tests.laws.places.place import table

__all__ = ["NAMES"]

NAMES = table(r"""
= global
k = V
read: k
set: k = V
set_by_its_table: globals().update(k=V)
deleted_and_added: del k; k = V

= global that is not there at first
def look():
    try:
        return k
    except NameError:
        return 2.0
read: look()
added: k = V <> del k

= global that hides a builtin
three = lambda _: 3.0
read: abs(-2.0)
added: abs = three <> del abs

= global bound to what another one holds
k = V
alias = k
read: alias
again: no
set: k = V; alias = k

= global that a function sets
k = V
def put(value):
    global k
    k = value
read: k
again: no
set: put(V)

= global of a helper
k = V
def look():
    return k
read: look()
again: no
set: k = V

= global that the function declares
k = V
def f(x):
    global k
    ran()
    return k * x
set: k = V

= global in the default of an inner function
k = V
read: (lambda k=k: k)()

= global in the body of a class inside
k = V
def look():
    class Inner:
        value = k
    return Inner.value
read: look()
again: no
set: k = V

= global in a text
k = V
read: float(f'{k}')

= global in a condition
k = V
read: 2.0 if k == 2.0 else 3.0

= global that two helpers use
k = V
def a():
    return k
def b():
    return k
read: a() + b()
again: no
set: k = V

= one of two globals of one value
a = 2.0
k = V
read: a * k
again: no
set: k = V

= variable around
def around():
    k = V
    def f(x):
        ran()
        return k * x
    def put(value):
        nonlocal k
        k = value
    return f, put
f, put = around()
set: put(V)
set_in_its_cell: f.__closure__[0].cell_contents = V

= variable around a helper
def around():
    k = V
    def helper():
        return k
    def f(x):
        ran()
        return helper() * x
    def put(value):
        nonlocal k
        k = value
    return f, put
f, put = around()
set: put(V)

= object around
def around():
    cfg = types.SimpleNamespace(k=V)
    def f(x):
        ran()
        return cfg.k * x
    def put(value):
        nonlocal cfg
        cfg = types.SimpleNamespace(k=value)
    return f, put, lambda: cfg
f, put, get = around()
set: get().k = V
replaced: put(V)

= variable around that has no value at first
def around():
    def f(x):
        ran()
        try:
            return k * x
        except NameError:
            return 2.0 * x
    def put(value):
        nonlocal k
        k = value
    def drop():
        nonlocal k
        del k
    if False:
        k = 0.0
    return f, put, drop
f, put, drop = around()
added: put(V) <> drop()

= function around
def around():
    def helper():
        return 2.0
    two = helper
    def three():
        return 3.0
    def f(x):
        ran()
        return helper() * x
    def put(value):
        nonlocal helper
        helper = {2.0: two, 3.0: three}[value]
    return f, put
f, put = around()
redefined: put(V)

= default
def f(x, k=V):
    ran()
    return k * x
set: f.__defaults__ = (V,)

= default by keyword
def f(x, *, k=V):
    ran()
    return k * x
set: f.__kwdefaults__['k'] = V
replaced: f.__kwdefaults__ = {'k': V}

= default of a helper
def look(k=V):
    return k
read: look()
set: look.__defaults__ = (V,)

= default by keyword of a helper
def look(*, k=V):
    return k
read: look()
set: look.__kwdefaults__['k'] = V
replaced: look.__kwdefaults__ = {'k': V}

= default of a method
class T:
    def look(self, k=V):
        return k
t = T()
read: t.look()
set: T.look.__defaults__ = (V,)

= attribute of a default
cfg = types.SimpleNamespace(k=V)
def f(x, cfg=cfg):
    ran()
    return cfg.k * x
set: cfg.k = V

= item of a default
def f(x, rates=[V]):
    ran()
    return rates[0] * x
set: f.__defaults__[0][0] = V

= code of the function, as a reload of its file replaces it
two = lambda x: (ran(), 2.0 * x)[1]
three = lambda x: (ran(), 3.0 * x)[1]
f = lambda x: (ran(), 2.0 * x)[1]
replaced: f.__code__ = three.__code__ <> f.__code__ = two.__code__

= code of a helper
def two(): return 2.0
def three(): return 3.0
def look(): return 2.0
read: look()
replaced: look.__code__ = three.__code__ <> look.__code__ = two.__code__

= attribute of the function
def f(x):
    ran()
    return f.k * x
f.k = V
set: f.k = V

= attribute of a helper
def look():
    return look.k
look.k = V
read: look()
again: no
set: look.k = V

= argument of a partial
call = functools.partial(lambda k: k, V)
read: call()

= keyword of a partial
call = functools.partial(lambda k: k, k=V)
read: call()
set: call.keywords['k'] = V

= function of a partial
two, three = (lambda: 2.0), (lambda: 3.0)
call = functools.partial(two)
read: call()
rebound: call = functools.partial(three) <> call = functools.partial(two)

= partial of a partial
inner = functools.partial(lambda a, k: k, 1.0)
call = functools.partial(inner, k=V)
read: call()
set: call.keywords['k'] = V

= attribute of an argument of a partial
cfg = types.SimpleNamespace(k=V)
call = functools.partial(lambda c: c.k, cfg)
read: call()
set: cfg.k = V

= keyword of the partial itself
def scale(x, k):
    ran()
    return k * x
f = functools.partial(scale, k=V)
set: f.keywords['k'] = V

= global of the partial itself
k = V
def scale(a, x):
    ran()
    return k * x
f = functools.partial(scale, 1.0)
set: k = V

= argument of a partial method
class T:
    def scale(self, k):
        return k
    look = functools.partialmethod(scale, V)
t = T()
read: t.look()
set: T.look = functools.partialmethod(T.scale, V)
""")
