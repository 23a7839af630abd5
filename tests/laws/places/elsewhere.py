"""Places that other modules and JAX have: names in modules, imported ones, settings."""

from __future__ import annotations

from tests.laws.places.place import table

__all__ = ["ELSEWHERE"]

ELSEWHERE = table(r"""
= global of a module
pkg = module('a', 'k = V')
read: pkg.k
set: pkg.k = V
deleted_and_added: del pkg.k; pkg.k = V

= global of a module in a module
pkg = module('a', '')
module('a.sub', 'k = V')
read: pkg.sub.k
set: pkg.sub.k = V
replaced: pkg.sub = module('b', 'k = V')

= global of a module three deep
pkg = module('a', '')
module('a.b', '')
module('a.b.c', 'k = V')
read: pkg.b.c.k
set: pkg.b.c.k = V
replaced_last: pkg.b.c = module('d', 'k = V')
replaced_middle: pkg.b = module('d', ''); module('d.c', 'k = V')

= object of a module
pkg = module('a', 'import types; cfg = types.SimpleNamespace(k=V)')
read: pkg.cfg.k
set: pkg.cfg.k = V
replaced: pkg.cfg = types.SimpleNamespace(k=V)

= table of a module
pkg = module('a', 'cfg = {"k": V}')
read: pkg.cfg['k']
set: pkg.cfg['k'] = V
replaced: pkg.cfg = {'k': V}

= class of a module
pkg = module('a', 'class Config: k = V')
read: pkg.Config.k
set: pkg.Config.k = V

= global of a function of a module
pkg = module('a', 'k = V\ndef look(): return k')
read: pkg.look()
set: pkg.k = V

= global of a function of a module in a module
pkg = module('a', '')
module('a.sub', 'k = V\ndef look(): return k')
read: pkg.sub.look()
set: pkg.sub.k = V

= function of a module
pkg = module('a', 'def two(): return 2.0\ndef three(): return 3.0\nlook = two')
read: pkg.look()
redefined: pkg.look = pkg.three <> pkg.look = pkg.two

= function imported from a module
pkg = module('a', 'k = V\ndef look(): return k')
from places_a import look
read: look()
set: pkg.k = V

= module imported inside
pkg = module('a', 'k = V')
def look():
    import places_a
    return places_a.k
read: look()
set: pkg.k = V

= module imported inside by another name
pkg = module('a', '')
module('a.sub', 'k = V')
def look():
    import places_a.sub as s
    return s.k
read: look()
again: no
set: pkg.sub.k = V

= name imported inside
pkg = module('a', 'k = V')
def look():
    from places_a import k
    return k
read: look()
set: pkg.k = V

= name imported inside the function itself
pkg = module('a', 'k = V')
def f(x):
    from places_a import k
    ran()
    return k * x
set: pkg.k = V

= function imported inside
pkg = module('a', 'k = V\ndef look(): return k')
def look():
    from places_a import look as theirs
    return theirs()
read: look()
set: pkg.k = V

= module of Python
import colorsys
colorsys.places_k = V
read: colorsys.places_k

= precision of numbers
read: 2.0 if jnp.zeros((), float).dtype == jnp.float32 else 3.0
set: jax.config.update('jax_enable_x64', True) <> jax.config.update('jax_enable_x64', False)

= precision of products
put = functools.partial(jax.config.update, 'jax_default_matmul_precision')
read: 2.0 if jax.config.jax_default_matmul_precision is None else 3.0
set: put('float32') <> put(None)

= promotion of dtypes
put = functools.partial(jax.config.update, 'jax_numpy_dtype_promotion')
read: 2.0 if jax.config.jax_numpy_dtype_promotion == 'standard' else 3.0
set: put('strict') <> put('standard')
""")
