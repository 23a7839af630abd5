"""Ways to read a place: the functions around the expression."""

from __future__ import annotations

from tests.laws.places.place import blocks

__all__ = ["WAYS"]

# By name, a function `f` around the expression.  Where `compiled` is defined too, that is called in place of `jit(f)`.
WAYS: dict[str, str] = blocks(
    """
= function
def f(x):
    ran()
    return READ * x

= lambda
f = lambda x: (ran(), READ * x)[1]

= function of a variable
def f(x):
    ran()
    found = READ
    return found * x

= function inside
def f(x):
    def inner():
        ran()
        return READ
    return inner() * x

= lambda inside
def f(x): return (lambda: (ran(), READ)[1])() * x

= comprehension
def f(x):
    ran()
    return [READ * y for y in [x]][0]

= generator
def f(x):
    ran()
    return sum(READ * y for y in [x])

= class inside
def f(x):
    ran()
    class Inner:
        def look(self): return READ
    return Inner().look() * x

= try
def f(x):
    ran()
    try:
        raise ValueError
    except ValueError:
        return READ * x

= branch
def f(x):
    ran()
    if x.ndim:
        return x
    return READ * x

= helper
def reading(): return READ
def f(x):
    ran()
    return reading() * x

= helper of a helper
def last(): return READ
def reading(): return last()
def f(x):
    ran()
    return reading() * x

= helper that calls itself
def reading(n): return READ if n == 0 else reading(n - 1)
def f(x):
    ran()
    return reading(3) * x

= helpers that call each other
def even(n): return READ if n == 0 else odd(n - 1)
def odd(n): return even(n - 1)
def f(x):
    ran()
    return even(2) * x

= helper by an argument
def reading(): return READ
def call(g): return g()
def f(x):
    ran()
    return call(reading) * x

= helper for map
def reading(x): return READ * x
def f(x):
    ran()
    return list(map(reading, [x]))[0]

= helper for a tree
def reading(x): return READ * x
def f(x):
    ran()
    return jax.tree.map(reading, {'a': x})['a']

= helper for a sort
def reading(x): return READ
def f(x):
    ran()
    return max([READ, 1.0], key=lambda found: reading(found)) * x

= decorated function
def around(fun):
    @functools.wraps(fun)
    def call(*args): return fun(*args)
    return call
@around
def f(x):
    ran()
    return READ * x

= partial
def scale(a, x):
    ran()
    return READ * x
f = functools.partial(scale, 1.0)

= method
class Reader:
    def step(self, x):
        ran()
        return READ * x
f = Reader().step

= method of a method
class Reader:
    def reading(self): return READ
    def step(self, x):
        ran()
        return self.reading() * x
f = Reader().step

= method of a class above
class Base:
    def reading(self): return READ
class Reader(Base):
    def reading(self): return super().reading()
    def step(self, x):
        ran()
        return self.reading() * x
f = Reader().step

= method of an object
class Reader:
    def reading(self): return READ
reader = Reader()
def f(x):
    ran()
    return reader.reading() * x

= method of an object that is made
class Reader:
    def reading(self): return READ
def f(x):
    ran()
    return Reader().reading() * x

= constructor
class Reader:
    def __init__(self):
        self.found = READ
def f(x):
    ran()
    return Reader().found * x

= static method
class Reader:
    @staticmethod
    def reading(): return READ
def f(x):
    ran()
    return Reader.reading() * x

= class method
class Reader:
    @classmethod
    def reading(cls): return READ
def f(x):
    ran()
    return Reader.reading() * x

= property
class Reader:
    @property
    def reading(self): return READ
reader = Reader()
def f(x):
    ran()
    return reader.reading * x

= operator
class Reader:
    def __mul__(self, x): return READ * x
reader = Reader()
def f(x):
    ran()
    return reader * x

= item of an object
class Reader:
    def __getitem__(self, name): return READ
reader = Reader()
def f(x):
    ran()
    return reader['a'] * x

= object that is called
class Reader:
    def __call__(self, x):
        ran()
        return READ * x
f = Reader()

= module
class Net(nn.Module):
    def __call__(self, x):
        ran()
        return READ * x
f = Net()

= module in a function
class Net(nn.Module):
    def __call__(self, x): return READ * x
net = Net()
def f(x):
    ran()
    return net(x)

= update of a module
class Net(nn.Module):
    def update(self, x):
        ran()
        return READ * x
f = Net()

= method that a module calls
class Net(nn.Module):
    def reading(self): return READ
    def __call__(self, x):
        ran()
        return self.reading() * x
f = Net()

= property of a module
class Net(nn.Module):
    @property
    def reading(self): return READ
    def __call__(self, x):
        ran()
        return self.reading * x
f = Net()

= static method of a module
class Net(nn.Module):
    @staticmethod
    def reading(): return READ
    def __call__(self, x):
        ran()
        return self.reading() * x
f = Net()

= class method of a module
class Net(nn.Module):
    @classmethod
    def reading(cls): return READ
    def __call__(self, x):
        ran()
        return self.reading() * x
f = Net()

= part of a module
class Part(nn.Module):
    def __call__(self, x): return READ * x
class Net(nn.Module):
    def __init__(self):
        self.parts = [nn.Sequential(Part())]
    def __call__(self, x):
        ran()
        return self.parts[0](x)
f = Net()

= function in a module
f = nn.Sequential(lambda x: (ran(), READ * x)[1])

= module as an argument
class Net(nn.Module):
    def __call__(self, x):
        ran()
        return READ * x
f = Net()
call = jit(lambda net, x: net(x))
compiled = lambda x: call(f, x)

= two modules as arguments
class Net(nn.Module):
    def __call__(self, x):
        ran()
        return READ * x
f = Net()
call = jit(lambda a, nets, x: nets['b'](a(x)))
compiled = lambda x: call(nn.Identity(), {'b': f}, x)

= compiled method
class Reader:
    def plain(self, x):
        ran()
        return READ * x
    step = jit(plain)
reader = Reader()
f, compiled = reader.plain, reader.step

= compiled method of an object with slots
class Reader:
    __slots__ = ()
    def plain(self, x):
        ran()
        return READ * x
    step = jit(plain)
reader = Reader()
f, compiled = reader.plain, reader.step

= compiled method of a module
class Net(nn.Module):
    def plain(self, x):
        ran()
        return READ * x
    step = jit(plain)
net = Net()
f, compiled = net.plain, net.step

= compiled function of a compiled one
@jit
def reading(x): return READ * x
def f(x):
    ran()
    return reading(x)

= derivative
def reading(x): return READ * x ** 2 / 2.0
def f(x):
    ran()
    return bt.grad(reading, argnums=0)(x)

= lanes
def reading(x): return READ * x
def f(x):
    ran()
    return bt.vmap(reading)(x[None])[0]

= loop inside
def reading(x): return READ * x
def f(x):
    ran()
    return bt.for_loop(reading, x[None])[0]

= branches inside
def reading(x): return READ * x
def f(x):
    ran()
    return bt.cond(x == x, reading, lambda x: x, x)

= checkpoint inside
def reading(x): return READ * x
def f(x):
    ran()
    return bt.checkpoint(reading)(x)

= derivative of JAX
def f(x):
    ran()
    return jax.grad(lambda x: READ * x ** 2 / 2.0)(x)

= lanes of JAX
def f(x):
    ran()
    return jax.vmap(lambda x: READ * x)(x[None])[0]

= loop of JAX
def f(x):
    ran()
    return jax.lax.map(lambda x: READ * x, x[None])[0]
"""
)
