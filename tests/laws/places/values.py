"""Values that a place holds: two of each kind, and an expression that tells one from the other."""

from __future__ import annotations

import re

from tests.laws.places.place import Place, table

__all__ = ["VALUES"]

CLASSES = """
class Mode(enum.Enum): a = 2.0; b = 3.0
class Text(str, enum.Enum): a = 'a'; b = 'bc'
class Number(enum.IntEnum): two = 2; three = 3
class Unit(float): pass
class Two: k = 2.0
class Three: k = 3.0
class Point(typing.NamedTuple): k: object
@dataclasses.dataclass(frozen=True)
class Frozen: k: object
class Scale:
    def __init__(self, k): self.k = k
    def __call__(self, x): return self.k * x
"""

# By kind: two values, and what a function gives for `v` and `x`.
KINDS = {
    "bool": ("True", "False", "x if v else -x"),
    "bool, then int": ("True", "1", "jnp.asarray(v)"),
    "int": ("2", "3", "v * x"),
    "int, then float": ("2", "2.0", "v * jnp.int32(1)"),
    "float": ("2.0", "3.0", "v * x"),
    "zero with a sign": ("0.0", "-0.0", "jnp.copysign(x, v)"),
    "no number": ("float('nan')", "1.0", "v * x"),
    "infinity": ("float('inf')", "-float('inf')", "v * x"),
    "large int": ("2**70", "2**71", "(v >> 69) * x"),
    "complex": ("2j", "3j", "(v * x).imag"),
    "complex zero with a sign": ("complex(0.0, 0.0)", "complex(0.0, -0.0)", "math.copysign(1.0, v.imag) * x"),
    "float of a class": ("Unit(2.0)", "2.0", "x if type(v) is float else -x"),
    "str": ("'a'", "'bc'", "len(v) * x"),
    "bytes": ("b'a'", "b'bc'", "len(v) * x"),
    "str, then bytes": ("'a'", "b'a'", "x if v == 'a' else -x"),
    "str, then float": ("'abc'", "2.0", "(len(v) if isinstance(v, str) else v) * x"),
    "None, then float": ("None", "3.0", "x if v is None else v * x"),
    "float, then None": ("3.0", "None", "x if v is None else v * x"),
    "dots, then None": ("...", "None", "x if v is None else -x"),
    "not implemented, then None": ("NotImplemented", "None", "x if v is None else -x"),
    "scalar of numpy": ("np.float32(2)", "np.float32(3)", "v * x"),
    "scalar of numpy, of another dtype": ("np.float32(2)", "np.float16(2)", "v * jnp.ones((), jnp.float16)"),
    "scalar of numpy, then float": ("np.float64(2)", "2.0", "v * jnp.ones((), jnp.bfloat16)"),
    "int of numpy": ("np.int32(2)", "np.int32(3)", "v * x"),
    "bool of numpy": ("np.True_", "np.False_", "x if v else -x"),
    "date of numpy": ("np.datetime64('2020-01-02')", "np.datetime64('2020-01-03')",
                      "(v - np.datetime64('2020-01-01')).astype(int).item() * x"),
    "member of an enum": ("Mode.a", "Mode.b", "v.value * x"),
    "member of an enum of str": ("Text.a", "Text.b", "x if v == 'a' else -x"),
    "member of an enum of str, then str": ("Text.a", "'a'", "x if type(v) is str else -x"),
    "member of an enum of int": ("Number.two", "Number.three", "v * x"),
    "member of an enum of int, then int": ("Number.two", "2", "x if type(v) is int else -x"),
    "dtype of jax": ("jnp.float32", "jnp.bfloat16", "x.astype(v)"),
    "dtype": ("np.dtype('float32')", "np.dtype('float16')", "x.astype(v)"),
    "type": ("int", "float", "v(2.7) * x"),
    "class": ("Two", "Three", "v.k * x"),
    "type of types": ("list[int]", "list[float]", "v.__args__[0](2.7) * x"),
    "tuple": ("(2.0,)", "(3.0,)", "v[0] * x"),
    "tuple of another length": ("(2.0,)", "(2.0, 2.0)", "len(v) * x"),
    "tuple of other types": ("(2,)", "(2.0,)", "v[0] * jnp.int32(1)"),
    "tuple of tuples": ("(1, (2.0,))", "(1, (3.0,))", "v[1][0] * x"),
    "tuple of a list": ("([2.0],)", "([3.0],)", "v[0][0] * x"),
    "named tuple": ("Point(2.0)", "Point(3.0)", "v.k * x"),
    "named tuple, then tuple": ("Point(2.0)", "(2.0,)", "x if type(v) is tuple else -x"),
    "frozen dataclass": ("Frozen(2.0)", "Frozen(3.0)", "v.k * x"),
    "frozen dataclass in itself": ("Frozen(Frozen(2))", "Frozen(Frozen(2.0))", "v.k.k * jnp.int32(1)"),
    "frozen set": ("frozenset({2.0})", "frozenset({3.0})", "sum(v) * x"),
    "list": ("[2.0]", "[3.0]", "v[0] * x"),
    "dict": ("{'k': 2.0}", "{'k': 3.0}", "v['k'] * x"),
    "view of a dict": ("types.MappingProxyType({'k': 2.0})", "types.MappingProxyType({'k': 3.0})", "v['k'] * x"),
    "fraction": ("fractions.Fraction(2)", "fractions.Fraction(3)", "float(v) * x"),
    "decimal": ("decimal.Decimal(2)", "decimal.Decimal(3)", "float(v) * x"),
    "decimal of another precision": ("decimal.Decimal('2.0')", "decimal.Decimal('2.00')", "len(str(v)) * x"),
    "path": ("pathlib.Path('a')", "pathlib.Path('bc')", "len(v.name) * x"),
    "pattern": ("re.compile('a')", "re.compile('bc')", "len(v.pattern) * x"),
    "span of time": ("datetime.timedelta(seconds=2)", "datetime.timedelta(seconds=3)", "v.total_seconds() * x"),
    "range": ("range(2)", "range(3)", "len(v) * x"),
    "empty range": ("range(0)", "range(3, 3)", "(1 + v.start) * x"),
    "slice": ("slice(0, 2)", "slice(0, 3)", "jnp.arange(4.0)[v].sum() * x"),
    "function": ("lambda: 2.0", "lambda: 3.0", "v() * x"),
    "builtin": ("max", "min", "v(2.0, 3.0) * x"),
    "method of a type": ("str.upper", "str.title", "(2.0 if v('ab') == 'AB' else 3.0) * x"),
    "partial": ("functools.partial(operator.mul, 2.0)", "functools.partial(operator.mul, 3.0)", "v(x)"),
    "bound method": ("Scale(2.0).__call__", "Scale(3.0).__call__", "v(x)"),
    "object that is called": ("Scale(2.0)", "Scale(3.0)", "v(x)"),
    "function of jax": ("jnp.sin", "jnp.cos", "v(x)"),
    "wrapped function of jax": ("jax.nn.relu", "jax.nn.silu", "v(-x)"),
    "rule of optax": ("optax.sgd(2.0)", "optax.sgd(3.0)", "v.update(x, v.init(x))[0]"),
    "array of jax": ("jnp.float32(2)", "jnp.float32(3)", "v * x"),
    "array of jax, of another dtype": ("jnp.float16(2)", "jnp.float32(2)", "v * jnp.float16(1)"),
    "array of numpy": ("np.float32([2])", "np.float32([3])", "v[0] * x"),
    "key of jax": ("jax.random.key(0)", "jax.random.key(1)", "jax.random.uniform(v) * x"),
    "shape of jax": ("jax.ShapeDtypeStruct((2,), int)", "jax.ShapeDtypeStruct((3,), int)", "v.shape[0] * x"),
    "spec of jax": ("jax.sharding.PartitionSpec('a')", "jax.sharding.PartitionSpec('a', 'b')", "len(v) * x"),
    "kind of state": ("nn.ParamState", "nn.HiddenState", "len(v.__name__) * x"),
    "filter": ("nn.ParamState", "...", "(1.0 if v is ... else 2.0) * x"),
}  # fmt: skip

# What holds the value, first `a` and then `b`.
HOLDERS = (
    ("v = {}", "v"),
    ("cfg = types.SimpleNamespace(); cfg.v = {}", "cfg.v"),
    ("table = {{}}; table['v'] = {}", "table['v']"),
    ("class Config: pass\nConfig.v = {}", "Config.v"),
    ("def look(v=None): return v\nlook.__defaults__ = ({},)", "look()"),
    ("net = nn.Identity(); net.v = {}", "net.v"),
)


def _row(kind: str, a: str, b: str, used: str, held: str, read: str) -> str:
    made, _, put = held.replace("; ", "\n").rpartition("\n")
    used = re.sub(r"\bv\b", read, used)
    there, back = put.format("b"), put.format("a")
    made = made.replace("{{}}", "{}")
    return (
        f"= {kind} in {read}\n{CLASSES}\na, b = {a}, {b}\n{made}\n{back}\n"
        f"def f(x):\n    ran()\n    return {used}\nset: {there} <> {back}\n"
    )


# Each kind as a global, and in one of the other holders.
VALUES: list[Place] = table(
    "".join(
        [
            _row(kind, *row, *HOLDERS[holder])
            for number, (kind, row) in enumerate(KINDS.items())
            for holder in (0, 1 + number % (len(HOLDERS) - 1))
        ]
    )
)
