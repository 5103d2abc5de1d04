"""What the service manager hears (sd_notify(3))."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.adapters.supervisor import Supervisor


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(str(tmp_path / "notify"))
        link.settimeout(30)
        yield link


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), **more}


def test_without_a_manager_nothing_is_sent_and_nothing_is_wrong(caplog):
    supervisor = Supervisor({})
    supervisor.started("up")
    supervisor.stopping()
    assert not supervisor.is_there and supervisor.watchdog_s is None
    assert not caplog.text


def test_start_and_stop_are_told_each_status_in_one_line(manager):
    supervisor = Supervisor(environment(manager))
    supervisor.started("adt on 0.0.0.0:2575,\nREADY=0")
    supervisor.stopping()
    assert manager.recv(999) == b"READY=1\nSTATUS=adt on 0.0.0.0:2575, READY=0"
    assert manager.recv(999).startswith(b"STOPPING=1\n")


@pytest.mark.skipif(
    not hasattr(socket, "AF_UNIX") or os.uname().sysname != "Linux", reason="abstract names are Linux's"
)
def test_a_manager_may_have_an_abstract_name():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(f"\0segmill-test-{os.getpid()}")
        link.settimeout(30)
        Supervisor({"NOTIFY_SOCKET": f"@segmill-test-{os.getpid()}"}).started("up")
        assert link.recv(999) == b"READY=1\nSTATUS=up"


async def test_the_watchdog_hears_from_the_loop_at_a_third_of_its_time_until_the_task_ends(manager):
    supervisor = Supervisor(environment(manager, WATCHDOG_USEC="3000", WATCHDOG_PID=str(os.getpid())))
    assert supervisor.watchdog_s == 0.003
    task = asyncio.get_running_loop().create_task(supervisor.keep_alive())
    heard = [await asyncio.to_thread(manager.recv, 999) for _ in range(3)]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert heard == [b"WATCHDOG=1"] * 3


@pytest.mark.parametrize(
    "asked",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "3000", "WATCHDOG_PID": "1"}],
    ids=["not asked", "zero", "no number", "for another process"],
)
async def test_who_asks_for_no_watchdog_gets_none(manager, asked):
    supervisor = Supervisor(environment(manager, **asked))
    assert supervisor.watchdog_s is None
    await supervisor.keep_alive()
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.recv(999)


def test_a_manager_that_is_gone_is_told_of_once_and_stops_nothing(tmp_path, caplog):
    supervisor = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    supervisor.started("up")
    supervisor.stopping()
    assert caplog.text.count("the service manager cannot be told") == 1
