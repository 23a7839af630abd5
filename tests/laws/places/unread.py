"""What stands beside a function and is not read by it, or is what it was: a change there traces nothing again."""

from __future__ import annotations

from tests.laws.places.place import Place, table

__all__ = ["UNREAD"]

NET = """
class Net(nn.Module):
    def __init__(self): self.w, self.scale = nn.ParamState(jnp.float32(1.0)), 1.0
    def __call__(self, x): return self.w.value * x
net = Net()
"""

# Nothing that these read is changed, or only by themselves: they are traced once.  `between` runs between calls.
UNREAD: list[Place] = table(
    r"""
= setting
from brainstate_nn.compat import environ
def f(x):
    ran()
    return x * 2.0
between: environ.set(k=environ.get('k', 0) + 1)

= setting that is an array
from brainstate_nn.compat import environ
environ.set(k=jnp.float32(0.0))
def f(x):
    ran()
    return x * environ.get('k')
between: environ.set(k=environ.get('k') + 1)

= step and time
from brainstate_nn.compat import environ
environ.set(i=0, t=0.0)
def f(x):
    ran()
    return x * environ.get('t') + environ.get('i')
between: environ.set(i=environ.get('i') + 1, t=0.5 * environ.get('i'))

= meter with the name of a method that is called
class Meter:
    def __init__(self): self.sum, self.count = 0.0, 0
class Trainer:
    def __init__(self): self.w, self.meter = nn.ParamState(jnp.float32(1.0)), Meter()
    def step(self, x):
        ran()
        return (self.w.value * x).sum()
trainer = Trainer()
f = trainer.step
between: trainer.meter.sum += 1.0; trainer.meter.count += 1

= global with the name of a method that is called
sum = 0.0
def f(x):
    ran()
    return x.sum()
between: sum += 1.0

= attribute of self with the name of a method that is called
class Trainer:
    def __init__(self): self.mean = 0.0
    def step(self, x):
        ran()
        return x.mean()
trainer = Trainer()
f = trainer.step
between: trainer.mean += 1.0

= key with the name of an attribute
log = {'w': nn.ParamState(jnp.float32(1.0)), 'value': 0.0}
def f(x):
    ran()
    return log['w'].value * x
between: log['value'] += 1.0

= count beside a model in a dict
NET
run = {'net': net, 'step': 0}
def f(x):
    ran()
    return run['net'](x)
between: run['step'] += 1

= result beside a model in a dict
NET
run = {'net': net}
def f(x):
    ran()
    return run['net'](x)
between: run['best'] = np.zeros(2); run['log'] = run.get('log', []) + [1.0]

= count beside a model in a list
NET
run = [net, 0]
def f(x):
    ran()
    return run[0](x)
between: run[1] += 1

= count beside a model in a namespace
NET
run = types.SimpleNamespace(net=net, step=0)
def f(x):
    ran()
    return run.net(x)
between: run.step += 1

= count beside a model in self
NET
class Trainer:
    def __init__(self): self.net, self.epoch, self.history = net, 0, []
    def step(self, x):
        ran()
        return self.net(x)
    def report(self): return self.epoch, self.history
trainer = Trainer()
f = trainer.step
between: trainer.epoch += 1; trainer.history.append(trainer.epoch)

= compiled method of a dataclass with slots
NET
@dataclasses.dataclass(slots=True)
class Trainer:
    net: object
    def plain(self, x):
        ran()
        return self.net(x)
    step = jit(plain)
trainer = Trainer(net)
f, compiled = trainer.plain, trainer.step
between: pass

= count beside a model in slots
NET
class Trainer:
    __slots__ = ('net', 'epoch')
    def step(self, x):
        ran()
        return self.net(x)
trainer = Trainer()
trainer.net, trainer.epoch = net, 0
f = trainer.step
between: trainer.epoch += 1

= count in the class of self
NET
class Trainer:
    epoch = 0
    def step(self, x):
        ran()
        return net(x)
f = Trainer().step
between: Trainer.epoch += 1

= default with the name of a global
scale = 2.0
def f(x, scale=2.0):
    ran()
    return scale * x
between: scale += 1.0

= argument with the name of a global
x = 0.0
def f(x):
    ran()
    return 2.0 * x
between: x += 1.0

= variable with the name of a global
scale = 2.0
def f(x):
    ran()
    scale = 3.0
    return scale * x
between: scale += 1.0

= variable of a comprehension with the name of a global
k = 0.0
def f(x):
    ran()
    return sum([k * x for k in (1.0, 2.0)])
between: k += 1.0

= global that nothing reads
unused = 0
def f(x):
    ran()
    return 2.0 * x
between: unused += 1

= global of a module, of which the name is held already
pkg = module('a', 'k = 2.0')
from places_a import k
def f(x):
    ran()
    return k * x
between: pkg.k += 1.0

= object of which the way to it is held already
top = types.SimpleNamespace(cfg=types.SimpleNamespace(k=2.0))
cfg = top.cfg
def f(x):
    ran()
    return cfg.k * x
between: top.cfg = types.SimpleNamespace(k=3.0)

= global of a module that nothing reads
pkg = module('a', 'k = 2.0\nstep = 0')
def f(x):
    ran()
    return pkg.k * x
between: pkg.step += 1

= attribute of an object, of which another one is read
cfg = types.SimpleNamespace(k=2.0, step=0, nested=types.SimpleNamespace(k=5.0))
def f(x):
    ran()
    return cfg.k * x
between: cfg.step += 1; cfg.nested.k += 1.0; cfg.new = cfg.step

= item of a dict, of which another one is read
cfg = {'k': 2.0, 'step': 0}
def f(x):
    ran()
    return cfg['k'] * x
between: cfg['step'] += 1

= attribute of a class, of which another one is read
class Config: k, step = 2.0, 0
def f(x):
    ran()
    return Config.k * x
between: Config.step += 1

= attribute of a class, hidden by one of the object
class Config: k = 0.0
cfg = Config()
cfg.k = 2.0
def f(x):
    ran()
    return cfg.k * x
between: Config.k += 1.0

= object that is made anew, but is equal
cfg = types.SimpleNamespace(k=2.0)
def f(x):
    ran()
    return cfg.k * x
between: cfg = types.SimpleNamespace(k=2.0)

= number that is set to what it was
k = 2.0
def f(x):
    ran()
    return k * x
between: k = float('2.0')

= no number that is set again
k = float('nan')
def f(x):
    ran()
    return jnp.where(jnp.isnan(k * x), x, -x)
between: k = float('nan')

= attribute of a module that is set to what it was
NET
def f(x):
    ran()
    return net.scale * net(x)
between: net.scale = 1.0; net.eval(); net.train()

= attribute of another module
NET
other = nn.Linear(2, 2)
def f(x):
    ran()
    return net(x)
between: other.k = getattr(other, 'k', 0) + 1; other.eval(); other.append = None

= value of a state
NET
def f(x):
    ran()
    return net(x)
between: net.w.value = net.w.value + 1.0

= data set beside the model
NET
data = [0.0] * 100
arrays = np.zeros(100)
def f(x):
    ran()
    return net(x)
between: data.append(1.0); arrays[0] += 1.0

= branch that is not taken
k = 0.0
def unused(): return k
def f(x):
    ran()
    return net(x) if False else 2.0 * x
between: k += 1.0
""".replace("NET\n", NET.lstrip())
)
