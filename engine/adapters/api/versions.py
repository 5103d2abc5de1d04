"""Recorded versions of channels, compiled for the pages that run a stored message through one again.

A version never changes, so a few are kept: of a channel with large tables it takes a third of a second to make one.
"""

import threading
from collections import OrderedDict
from typing import Final

from engine.config.site import load_version
from engine.model.ids import ChannelName, VersionId
from engine.pipeline.compile import ChannelError, CompiledChannel, compile_channel
from engine.pipeline.registry import load_kinds, load_steps
from engine.ports.store import StoreQueries

MOST_KEPT: Final = 8


class Versions:
    """Used from any thread. Those that were not used for longest make room."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[ChannelName, VersionId], CompiledChannel] = OrderedDict()

    def get(self, queries: StoreQueries, channel: ChannelName, version: VersionId) -> CompiledChannel | str:
        """The version, ready to be traced, or why it cannot be had. Of the site's Python nothing is executed."""
        with self._lock:
            found = self._kept.get((channel, version))
            if found is not None:
                self._kept.move_to_end((channel, version))
                return found
        made = _made(queries, channel, version)
        if isinstance(made, CompiledChannel):
            with self._lock:
                self._kept[channel, version] = made
                while len(self._kept) > MOST_KEPT:
                    self._kept.popitem(last=False)
        return made


def _made(queries: StoreQueries, channel: ChannelName, version: VersionId) -> CompiledChannel | str:
    files = queries.version_files(version)
    if not files:
        return f"version {version} of the channel is not recorded"
    loaded, findings = load_version(channel, files, load_kinds())
    if loaded is None:
        codes = ", ".join(sorted({f.code for f in findings if f.is_error}))
        return f"version {version} of the channel cannot be read by this engine ({codes})"
    try:
        return compile_channel(loaded, load_steps())
    except ChannelError as error:
        return f"version {version} of the channel cannot run with this engine ({error.finding.code})"
