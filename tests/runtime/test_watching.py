"""`segmill run --watch`: one reload when all is watched, and one after each change."""

import asyncio
from pathlib import Path

from engine import watching
from engine.runtime.tasks import Tasks
from tests.runtime.parts import until


class Notices:
    """In place of the system's: what a test says has changed, by folder."""

    def __init__(self) -> None:
        self.queues: dict[Path, asyncio.Queue[set[tuple[int, str]]]] = {}
        self.asked: list[Path] = []

    async def __call__(self, folder: Path, **_: object):
        queue = self.queues.setdefault(folder, asyncio.Queue())
        while True:
            self.asked.append(folder)
            yield await queue.get()


async def test_it_reloads_once_at_its_start_and_once_after_each_change(tmp_path, monkeypatch):
    notices = Notices()
    monkeypatch.setattr(watching, "awatch", notices)
    calls: list[int] = []
    tasks = Tasks(lambda name, error: calls.append(-1))
    watching.watch(tmp_path, lambda: calls.append(1), tasks)
    channels = tmp_path / "channels"
    try:
        await until(lambda: set(notices.asked) == {tmp_path, channels})
        notices.queues[channels].put_nowait(set())
        await until(lambda: notices.asked.count(channels) == 2)
        assert calls == [], "segmill.yaml is not watched yet"
        notices.queues[tmp_path].put_nowait(set())
        await until(lambda: notices.asked.count(tmp_path) == 2)
        assert calls == [1]
        for number, folder in enumerate((channels, tmp_path), 2):
            notices.queues[folder].put_nowait({(1, "a file")})
            await until(lambda count=number: len(calls) == count)
        notices.queues[channels].put_nowait(set())
        await until(lambda: notices.asked.count(channels) == 4)
        assert calls == [1, 1, 1]
    finally:
        await tasks.cancel_all()
