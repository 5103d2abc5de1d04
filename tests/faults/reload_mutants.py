"""Reloads and stops with one promise broken on purpose: what R14 and R6 must catch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from engine import exchange, reloading
from engine.app import Engine
from engine.assembly import Assembly
from engine.leaving import Leaving


def no_handover() -> None:
    """A new lane begins while the old one still has an attempt in hand."""
    start_lane = Assembly.start_lane

    def at_once(self: Any, lane: Any, after: Any = None, **more: Any) -> None:
        if after is not None:
            after.drain()
        start_lane(self, lane)

    Assembly.start_lane = at_once  # type: ignore[method-assign]


def leave_at_once() -> None:
    """What waits for a destination that is removed is not waited for."""

    async def nothing_waits(self: Any, lanes: Any) -> bool:
        return False

    Leaving._any_waits = nothing_waits  # type: ignore[method-assign]


def take_what_is_good() -> None:
    """Of files with errors, the channels without any are taken."""
    look = reloading.Reloader._look

    def lenient(self: Any) -> Any:
        site = self._read()
        broken = {finding.file.split("/")[1] for finding in site.findings if finding.is_error}
        if not broken or site.site is None:
            return look(self)
        before = [channel for channel in self._state.site.channels if channel.name in broken]
        channels = sorted([*site.channels, *before], key=lambda channel: channel.name)
        return reloading.read_state(replace(site, channels=channels, findings=[]))

    reloading.Reloader._look = lenient  # type: ignore[method-assign]


def open_every_port_anew() -> None:
    """A reload that closes every port and opens it again, as a redeploy does elsewhere."""
    exchange.listen_change = lambda *_, **__: "settings"  # type: ignore[assignment]


def stop_without_records() -> None:
    """A stop that does not wait for attempts in hand, forgets them, and says that it was a clean one."""
    stop = Engine.stop

    async def hastily(self: Any, **options: Any) -> None:
        self._committer.record = lambda *_, **__: None
        for task in self._assembly.lane_tasks.values():
            task.cancel()
        await stop(self, **options)

    Engine.stop = hastily  # type: ignore[method-assign]


RELOAD_MUTANTS: dict[str, Callable[[], None]] = {
    "no-handover": no_handover,
    "leave-at-once": leave_at_once,
    "take-what-is-good": take_what_is_good,
    "open-every-port-anew": open_every_port_anew,
    "stop-without-records": stop_without_records,
}
