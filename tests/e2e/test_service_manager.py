"""The command as systemd runs it: told of the start, the watchdog and the stop (sd_notify(3))."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from engine.testing.sites import make_site

CHANNEL = "listen: {mllp: {port: 0}}\naccept: ['*']\nroutes: [{to: out}]\ndestinations: {out: {file: {folder: out}}}\n"


def words(link: socket.socket, before: bytes) -> list[bytes]:
    """What is heard until `before` is, which is the last of them."""
    heard: list[bytes] = []
    while not heard or not heard[-1].startswith(before):
        heard.append(link.recv(4096))
    return heard


@pytest.mark.timeout(120)
def test_the_manager_hears_of_start_life_and_stop(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", {"adt": CHANNEL}, "admin: off\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(str(tmp_path / "notify"))
        link.settimeout(60)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}
        command = [sys.executable, "-m", "engine", "run", str(site)]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as engine:
            assert words(link, b"READY=1") == [b"READY=1\nSTATUS=messages are taken in"]
            assert words(link, b"WATCHDOG=1") == [b"WATCHDOG=1"]
            engine.send_signal(signal.SIGTERM)
            heard = words(link, b"STOPPING=1")
            assert set(heard[:-1]) <= {b"WATCHDOG=1"}
            _, said = engine.communicate(timeout=60)
        assert engine.returncode == 0, said.decode()


@pytest.mark.timeout(120)
def test_a_start_that_fails_is_never_called_ready(tmp_path: Path) -> None:
    site = make_site(tmp_path / "site", {"adt": CHANNEL.replace("routes", "rooutes")}, "admin: off\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(str(tmp_path / "notify"))
        link.setblocking(False)
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        done = subprocess.run([sys.executable, "-m", "engine", "run", str(site)], env=environment, capture_output=True)
        assert done.returncode == 78
        with pytest.raises(BlockingIOError):
            link.recv(4096)
