"""Places that cannot be compared for nothing or nearly nothing, or that no look at the code can know."""

from __future__ import annotations

from tests.laws.places.place import Place, table

__all__ = ["NOT_WATCHED"]

# Such a place is seen all the same, or told by `explain()` and found by the audit; `named` is what these say.  Without
# it, no look at the code can know of the place, and only the audit finds it.
NOT_WATCHED: list[Place] = table(r"""
= contents of a large list
rates = [1.0] * 100_000
named: rates
read: sum(rates) / len(rates)
changed: rates[:] = [2.0] * 100_000 <> rates[:] = [1.0] * 100_000

= contents of an array of numpy
rates = np.full(3, 2.0, np.float32)
named: rates
read: rates[0]
again: no
changed: rates[0] = V

= whole array of numpy
rates = np.full((), 2.0, np.float32)
named: rates
read: rates
again: no
changed: rates[...] = V

= contents of an array of numpy in an object
cfg = types.SimpleNamespace(rates=np.full(3, 2.0, np.float32))
named: cfg.rates
read: cfg.rates[0]
again: no
changed: cfg.rates[0] = V

= environment
os.environ['PLACES_K'] = str(V)
named: os.environ
read: float(os.environ['PLACES_K'])
again: no
set: os.environ['PLACES_K'] = str(V)

= environment that is asked
os.environ['PLACES_K'] = str(V)
read: float(os.getenv('PLACES_K'))
again: no
set: os.environ['PLACES_K'] = str(V)

= dict by its method that is held
cfg = {'k': V}
get = cfg.get
named: get
read: get('k')
again: no
set: cfg['k'] = V

= dict by a method of the type
cfg = {'k': V}
named: cfg
read: dict.get(cfg, 'k')
again: no
set: cfg['k'] = V

= results that are kept
os.environ['PLACES_K'] = str(V)
@functools.lru_cache
def look(): return float(os.environ['PLACES_K'])
named: look
read: look()
again: no
emptied: os.environ['PLACES_K'] = str(V); look.cache_clear()

= attribute by a computed name
cfg = types.SimpleNamespace(k=V)
named: cfg
read: getattr(cfg, 'K'.lower())
again: no
set: cfg.k = V

= attribute by a getter
cfg = types.SimpleNamespace(opt=types.SimpleNamespace(k=V))
get = operator.attrgetter('opt.k')
named: cfg
read: get(cfg)
again: no
set: cfg.opt.k = V

= item by a computed key
cfg = {'k': V}
named: cfg
read: cfg['K'.lower()]
again: no
set: cfg['k'] = V

= item by a computed number
rates = [1.0, V]
named: rates
read: rates[len(rates) - 1]
again: no
set: rates[1] = V

= attribute that is computed
class Config:
    def __init__(self): self.__dict__['hidden'] = {}
    def __getattr__(self, name): return self.__dict__['hidden'][name]
cfg = Config()
cfg.hidden['k'] = V
named: cfg
read: cfg.k
again: no
set: cfg.hidden['k'] = V

= attribute of a module that is computed
pkg = module('a', 'hidden = {}\ndef __getattr__(name): return hidden[name]')
pkg.hidden['k'] = V
named: pkg
read: pkg.k
again: no
set: pkg.hidden['k'] = V

= item that is computed
hidden = {'k': V}
class Config(dict):
    def __missing__(self, name): return hidden[name]
cfg = Config()
named: cfg
read: cfg['k']
again: no
set: hidden['k'] = V

= global by the table of globals
k = V
named: globals
read: globals()['k']
again: no
set: k = V

= attribute by the table of an object
cfg = types.SimpleNamespace(k=V)
named: cfg
read: vars(cfg)['k']
again: no
set: cfg.k = V

= all attributes of an object
cfg = types.SimpleNamespace(a=1.0, k=V)
named: cfg
read: sum(v for v in vars(cfg).values())
again: no
set: cfg.k = V

= object that is given to a library
@dataclasses.dataclass
class Config: k: float
cfg = Config(V)
named: cfg
read: dataclasses.asdict(cfg)['k']
again: no
set: cfg.k = V

= dict that is given to a library
cfg = {'k': V}
named: cfg
read: operator.itemgetter('k')(cfg)
again: no
set: cfg['k'] = V

= object that is copied
cfg = types.SimpleNamespace(k=V)
named: cfg
read: copy.copy(cfg).k
again: no
set: cfg.k = V

= text that is run
k = V
named: eval
read: eval('k')
again: no
set: k = V

= class that makes objects of a C type
order = collections.deque([2.0, 3.0])
named: order
read: next(iter(order))
rotated: order.rotate(1) <> order.rotate(-1)

= list in a queue that is gone through
order = collections.deque([V])
named: order
read: [k for k in order][0]
again: no
set: order[0] = V

= length of a dict by a view of it
cfg = {'k': 1.0}
keys = cfg.keys()
named: keys
read: 1.0 + len(keys)
added: cfg['more'] = 1.0 <> del cfg['more']

= attribute of a module, set past it
class Net(nn.Module):
    def __init__(self, k): self.k = k
    def __call__(self, x): return self.k * x
net = Net(V)
read: net(x)
again: no
set: object.__setattr__(net, 'k', V)

= bytes of an array
rates = bytearray([2])
named: rates
read: float(rates[0])
again: no
set: rates[0] = int(V)

= number that a library keeps
read: 2.0 if decimal.getcontext().prec == 28 else 3.0
set: decimal.getcontext().prec = 27 <> decimal.getcontext().prec = 28

= variable of a context
var = contextvars.ContextVar('k')
var.set(V)
named: var
read: var.get()
again: no
set: var.set(V)

= object behind a weak reference
class Config: pass
cfg = Config()
cfg.k = V
ref = weakref.ref(cfg)
named: ref
read: ref().k
again: no
set: cfg.k = V

= model behind a weak reference
class Net(nn.Module):
    def __call__(self, x): return x if self.training else -x
net = Net()
ref = weakref.ref(net)
named: ref
read: ref()(x)
again: no
mode: net.eval() <> net.train()

= model in a weak dict
class Net(nn.Module):
    def __call__(self, x): return x if self.training else -x
net = Net()
box = weakref.WeakValueDictionary(net=net)
named: box
read: box['net'](x)
again: no
mode: net.eval() <> net.train()

= file
path = pathlib.Path(os.environ['PLACES_FOLDER']) / 'k'
path.write_text(str(V))
read: float(path.read_text())
again: no
written: path.write_text(str(V))
""")
