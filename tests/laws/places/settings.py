"""Settings that are read by name from `brainstate_nn.compat.environ`: for a process, for a block, and by whom."""

from __future__ import annotations

from tests.laws.places.place import Place, table

__all__ = ["SETTINGS"]

ENVIRON = "from brainstate_nn.compat import environ\nblock = contextlib.ExitStack()\nenviron.set(k=V)\n"
_ROWS = table(r"""
= setting
read: environ.get('k')
set: environ.set(k=V)
taken_away_and_set: environ.pop('k'); environ.set(k=V)
in_a_block: block.enter_context(environ.context(k=V)) <> block.close()
in_two_blocks: [block.enter_context(environ.context(k=k)) for k in (5.0, V)] <> block.close()
beside_in_a_block: environ.set(k=V); block.enter_context(environ.context(j=V)) <> environ.set(k=V); block.close()
as_an_array: environ.set(k=jnp.float32(V)) <> environ.set(k=V)

= setting that is an array
environ.set(k=jnp.float32(V))
read: environ.get('k')
set: environ.set(k=jnp.float32(V))
in_a_block: block.enter_context(environ.context(k=jnp.float32(V))) <> block.close()

= setting that is not there
read: environ.get('other', 2.0)
set: environ.set(other=V) <> environ.pop('other')
in_a_block: block.enter_context(environ.context(other=V)) <> block.close()

= setting of its own kind
environ.set(kind=None)
read: {True: 3.0, 'a': 2.0, (1, 'b'): 3.0, None: 2.0}[environ.get('kind', None)]
truth: environ.set(kind=True) <> environ.set(kind=None)
tuple: environ.set(kind=(1, 'b')) <> environ.set(kind=None)
block: block.enter_context(environ.context(kind=True)) <> block.close()

= setting that is a function
environ.set(make=lambda: V)
read: environ.get('make')()
set: environ.set(make=lambda: V)

= setting that is an object
environ.set(config=types.SimpleNamespace(k=V))
read: environ.get('config').k
set: environ.get('config').k = V
replaced: environ.set(config=types.SimpleNamespace(k=V))

= time step
environ.set(dt=V)
read: environ.get_dt()
set: environ.set(dt=V)
by_position: environ.set(None, None, None, V)
in_a_block: block.enter_context(environ.context(dt=V)) <> block.close()

= training
environ.set(fit=False)
read: 3.0 if environ.get('fit', False) else 2.0
set: environ.set(fit=True) <> environ.set(fit=False)
in_a_block: block.enter_context(environ.context(fit=True)) <> block.close()

= precision that is set
read: 2.0 if environ.dftype() is np.float32 else 3.0
set: environ.set(precision=16) <> environ.set(precision=32)
by_name: environ.set_precision('bf16') <> environ.set_precision(32)
in_a_block: block.enter_context(environ.context(precision=16)) <> block.close()

= precision of draws
from brainstate_nn.compat import random
read: 2.0 if random.rand(3).dtype == jnp.float32 else 3.0
set: environ.set(precision=16) <> environ.set(precision=32)

= setting among all
read: environ.all()['k']
set: environ.set(k=V)

= settings of their own
mine = environ.EnvironmentState()
environ.set(k=V, env=mine)
read: environ.get('k', env=mine)
set: environ.set(k=V, env=mine)
in_a_block: block.enter_context(environ.context(k=V, env=mine)) <> block.close()

= setting by a name of the function
from brainstate_nn.compat.environ import get as look
read: look('k')
set: environ.set(k=V)

= setting by the package
import brainstate_nn.compat as old
read: old.environ.get('k')
set: environ.set(k=V)

= setting by a name that is imported inside
def look():
    from brainstate_nn.compat import environ
    return environ.get('k')
read: look()
set: environ.set(k=V)
again: no

= setting in a method of a module
class Net(nn.Module):
    def update(self, x): return environ.get('k') * x
net = Net()
read: net(1.0)
set: environ.set(k=V)
in_a_block: block.enter_context(environ.context(k=V)) <> block.close()

= setting in a method of an older module
names = {'__name__': 'brainstate_nn.compat.made_here', 'nn': nn, 'environ': environ}
exec("class Old(nn.Module):\n    def __call__(self, x): return environ.get('k') * x", names)
net = nn.Sequential(names['Old']())
read: net(1.0)
set: environ.set(k=V)
in_a_block: block.enter_context(environ.context(k=V)) <> block.close()

= setting in an older module that is made
names = {'__name__': 'brainstate_nn.compat.made_here', 'nn': nn, 'environ': environ}
exec("class Old(nn.Module):\n    def __call__(self, x): return environ.get('k') * x", names)
Old = names['Old']
read: Old()(1.0)
set: environ.set(k=V)
in_a_block: block.enter_context(environ.context(k=V)) <> block.close()

= setting in a subclass of an older module
names = {'__name__': 'brainstate_nn.compat.made_here', 'nn': nn, 'environ': environ}
exec("class Old(nn.Module):\n    def look(self): return environ.get('k')", names)
class Net(names['Old']):
    def update(self, x): return self.look() * x
net = Net()
read: net(1.0)
set: environ.set(k=V)

= setting that a block inside takes over
def look():
    with environ.context(j=environ.get('k') + 1.0, k=7.0):
        return environ.get('j') - 1.0
read: look()
set: environ.set(k=V)
in_a_block: block.enter_context(environ.context(k=V)) <> block.close()

= step
environ.set(i=V)
read: environ.get('i') * 1.0
set: environ.set(i=V)
in_a_block: block.enter_context(environ.context(i=V)) <> block.close()
""")
SETTINGS: list[Place] = [
    row._replace(made=ENVIRON + row.made, changes={n: c for n, c in row.changes.items() if n != "made_again"})
    for row in _ROWS
]
