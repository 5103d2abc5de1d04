"""`segmill run --watch`: a reload after each change of the site's files, for whoever writes them.

The folder of the store is not looked at: it changes with every message. Cases are no part of what runs.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from watchfiles import Change, awatch

from engine.runtime.tasks import Tasks, describe

log = logging.getLogger("segmill")

SETTLE_MS = 300
"""An editor writes several files, and some write one in several goes: so long without a change is the end of it."""

LOOK_MS = 1000


def watch(site: Path, changed: Callable[[], None], tasks: Tasks) -> None:
    """Call `changed` after each change, for as long as `tasks` last."""
    logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it counts changes; what came of them is ours to say
    root = site / "channels"
    settings = site / "segmill.yaml"
    once = _WhenAllWatch(2, changed)
    of_channels = _watch(root, lambda path: is_of_a_channel(path.relative_to(root)), changed, once.one_more)
    of_site = _watch(site, lambda path: path == settings, changed, once.one_more, recursive=False)
    tasks.spawn(of_channels, "watch channels")
    tasks.spawn(of_site, "watch segmill.yaml")
    log.info("watching %s: a change is taken up when it is whole", root)


def is_of_a_channel(path: Path) -> bool:
    """Whether a path below channels/ may matter: no hidden or temporary file, no case, nothing compiled."""
    name = path.name
    if name.endswith(("~", ".swp", ".tmp", ".part")) or any(part.startswith((".", "_", "#")) for part in path.parts):
        return False
    return "cases" not in path.parts[1:-1]


class _WhenAllWatch:
    """Calls `then` once, when all of them have begun to watch: between the start and that a file may have changed."""

    def __init__(self, count: int, then: Callable[[], None]) -> None:
        self._missing = count
        self._then = then

    def one_more(self) -> None:
        self._missing -= 1
        if not self._missing:
            self._then()


async def _watch(
    folder: Path,
    matters: Callable[[Path], bool],
    changed: Callable[[], None],
    begun: Callable[[], None],
    *,
    recursive: bool = True,
) -> None:
    """`begun` is called once, when what happens from then on is seen, or never will be."""

    def wanted(_: Change, path: str) -> bool:
        return matters(Path(path))

    is_first = True
    try:
        async for found in awatch(
            folder,
            watch_filter=wanted,
            debounce=10 * SETTLE_MS,
            step=SETTLE_MS,
            recursive=recursive,
            rust_timeout=LOOK_MS,
            yield_on_timeout=True,
        ):
            if is_first:
                is_first = False
                begun()
            elif found:
                changed()
    except asyncio.CancelledError:
        raise
    except Exception as error:  # noqa: BLE001 - the system's own notice of changes: the engine does without
        log.error("%s cannot be watched any more (%s); say 'segmill reload' after a change", folder, describe(error))
        if is_first:
            begun()
