"""``python -m benchmarks.decode``: a step of a GPT that writes with a cache: 7,600 parameter states.

The cache has three states more. A server makes such a step for each token, so what passes them is paid each time.  Raw
JAX passes flat tuples; a nested dict, as most programs have it, is a row of its own.
"""

from __future__ import annotations

import functools

from ._arena.claim import Claim, Row, Works, of_each
from ._arena.command import options, run
from ._cases import step_peers, steps
from ._cases.decoder import BLOCKS, decoding

__all__ = ["CLAIM", "main"]

SYSTEMS = {"ours": steps.Ours, "raw": steps.Raw, "nested dict": steps.Nested}


@functools.cache
def decode(blocks: int, donate: bool) -> Works:
    """The step in each system; it is kept, as XLA compiles it for some seconds."""
    systems = SYSTEMS if donate else {**SYSTEMS, **step_peers.PEER_SYSTEMS}
    return of_each(systems, "calling", functools.partial(decoding, blocks), donate)


def by_nested_dict(blocks: int) -> Works:
    works = decode(blocks, False)
    return {name: works[name] for name in ("ours", "nested dict")}


ROWS = (
    Row("decode, 7,600 parameter states", decode, (BLOCKS, False), target=1.0, same=True, share=3.0, quick=False),
    Row("decode, 7,600, cache donated", decode, (BLOCKS, True), target=1.0, same=True, share=2.0, quick=False),
    Row(
        "decode, 7,600, by the nested dict",
        by_nested_dict,
        (BLOCKS,),
        target=0.5,
        base="nested dict",
        share=2.0,
        quick=False,
    ),
    Row("decode, 431 parameter states", decode, (4, False), target=1.0, same=True),
)
CLAIM = Claim("decode", "A decode step passes its states like a flat tuple", ROWS, budget_s=4.0)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return 0."""
    return run(CLAIM, options(CLAIM, __doc__).parse_args(argv))


if __name__ == "__main__":
    raise SystemExit(main())
