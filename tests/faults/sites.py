"""A defect that shows only where a fault falls at the right moment: a rig that saw nothing gets more sites."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

SITES = 3
Seen = TypeVar("Seen")


async def until_caught(
    look: Callable[[int], Awaitable[Seen]], caught: Callable[[Seen], Any], sites: int = SITES
) -> list[Seen]:
    """What `look(0)`, `look(1)`, … saw, up to the first that `caught` says yes to; each has a site, or a seed, of its
    own. Fails where none did."""
    seen: list[Seen] = []
    for site in range(sites):
        seen.append(await look(site))
        if caught(seen[-1]):
            return seen
    raise AssertionError(f"none of {sites} sites caught it: " + "; ".join(map(str, seen)))


async def until_it_fails(
    look: Callable[[int], Awaitable[object]],
    says: str,
    kinds: type[BaseException] | tuple[type[BaseException], ...] = AssertionError,
    sites: int = SITES,
) -> None:
    """`look` fails by itself, with words that match `says`, on one of the sites. Other words fail at once."""
    for site in range(sites):
        try:
            await look(site)
        except kinds as failure:
            assert re.search(says, str(failure)), f"it failed otherwise: {failure!r}"
            return
    raise AssertionError(f"none of {sites} sites failed with {says!r}")
