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
    k = READ
    return k * x

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
def helper(): return READ
def f(x):
    ran()
    return helper() * x

= helper of a helper
def last(): return READ
def helper(): return last()
def f(x):
    ran()
    return helper() * x

= helper that calls itself
def helper(n): return READ if n == 0 else helper(n - 1)
def f(x):
    ran()
    return helper(3) * x

= helpers that call each other
def even(n): return READ if n == 0 else odd(n - 1)
def odd(n): return even(n - 1)
def f(x):
    ran()
    return even(2) * x

= helper by an argument
def helper(): return READ
def call(g): return g()
def f(x):
    ran()
    return call(helper) * x

= helper for map
def helper(x): return READ * x
def f(x):
    ran()
    return list(map(helper, [x]))[0]

= helper for a tree
def helper(x): return READ * x
def f(x):
    ran()
    return jax.tree.map(helper, {'a': x})['a']

= helper for a sort
def helper(x): return READ
def f(x):
    ran()
    return max([READ, 1.0], key=lambda k: helper(k)) * x

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
class T:
    def step(self, x):
        ran()
        return READ * x
f = T().step

= method of a method
class T:
    def helper(self): return READ
    def step(self, x):
        ran()
        return self.helper() * x
f = T().step

= method of a class above
class Base:
    def helper(self): return READ
class T(Base):
    def helper(self): return super().helper()
    def step(self, x):
        ran()
        return self.helper() * x
f = T().step

= method of an object
class T:
    def helper(self): return READ
t = T()
def f(x):
    ran()
    return t.helper() * x

= method of an object that is made
class T:
    def helper(self): return READ
def f(x):
    ran()
    return T().helper() * x

= constructor
class T:
    def __init__(self):
        self.k = READ
def f(x):
    ran()
    return T().k * x

= static method
class T:
    @staticmethod
    def helper(): return READ
def f(x):
    ran()
    return T.helper() * x

= class method
class T:
    @classmethod
    def helper(cls): return READ
def f(x):
    ran()
    return T.helper() * x

= property
class T:
    @property
    def helper(self): return READ
t = T()
def f(x):
    ran()
    return t.helper * x

= operator
class T:
    def __mul__(self, x): return READ * x
t = T()
def f(x):
    ran()
    return t * x

= item of an object
class T:
    def __getitem__(self, name): return READ
t = T()
def f(x):
    ran()
    return t['a'] * x

= object that is called
class T:
    def __call__(self, x):
        ran()
        return READ * x
f = T()

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
    def helper(self): return READ
    def __call__(self, x):
        ran()
        return self.helper() * x
f = Net()

= property of a module
class Net(nn.Module):
    @property
    def helper(self): return READ
    def __call__(self, x):
        ran()
        return self.helper * x
f = Net()

= static method of a module
class Net(nn.Module):
    @staticmethod
    def helper(): return READ
    def __call__(self, x):
        ran()
        return self.helper() * x
f = Net()

= class method of a module
class Net(nn.Module):
    @classmethod
    def helper(cls): return READ
    def __call__(self, x):
        ran()
        return self.helper() * x
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
class T:
    def plain(self, x):
        ran()
        return READ * x
    step = jit(plain)
t = T()
f, compiled = t.plain, t.step

= compiled method of an object with slots
class T:
    __slots__ = ()
    def plain(self, x):
        ran()
        return READ * x
    step = jit(plain)
t = T()
f, compiled = t.plain, t.step

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
def helper(x): return READ * x
def f(x):
    ran()
    return helper(x)

= derivative
def helper(x): return READ * x ** 2 / 2.0
def f(x):
    ran()
    return bt.grad(helper, argnums=0)(x)

= lanes
def helper(x): return READ * x
def f(x):
    ran()
    return bt.vmap(helper)(x[None])[0]

= loop inside
def helper(x): return READ * x
def f(x):
    ran()
    return bt.for_loop(helper, x[None])[0]

= branches inside
def helper(x): return READ * x
def f(x):
    ran()
    return bt.cond(x == x, helper, lambda x: x, x)

= checkpoint inside
def helper(x): return READ * x
def f(x):
    ran()
    return bt.checkpoint(helper)(x)

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
