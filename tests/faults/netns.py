"""A network namespace of its own: a machine's network that can be taken away without touching anybody else's.

Sockets belong to the namespace they were made in, whoever uses them, so a test makes its own inside and goes on.
"""

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.faults.ledger import needs

_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True)
class Namespace:
    """`under`: the words that run a command inside."""

    name: str

    @property
    def under(self) -> tuple[str, ...]:
        return ("ip", "netns", "exec", self.name)

    def run(self, *command: str) -> str:
        done = subprocess.run([*self.under, *command], capture_output=True, text=True, check=True)
        return done.stdout

    @contextmanager
    def inside(self) -> Iterator[None]:
        """This thread, for as long as it makes sockets and does not wait for anything."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            _enter(there)
            try:
                yield
            finally:
                _enter(home)
        finally:
            os.close(there)
            os.close(home)

    def listen(self) -> socket.socket:
        with self.inside():
            return socket.create_server(("127.0.0.1", 0))

    def connect(self, port: int) -> socket.socket:
        with self.inside():
            plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        plain.setblocking(False)
        return plain

    def cut(self, *ports: int) -> None:
        """From now on nothing that goes to or from these ports arrives, and nobody is told."""
        for port in ports:
            for side in ("--dport", "--sport"):
                self.run("iptables", "-A", "INPUT", "-i", "lo", "-p", "tcp", side, str(port), "-j", "DROP")

    def dropped(self) -> int:
        """How many packets have been lost that way."""
        rows = self.run("iptables", "-L", "INPUT", "-v", "-n", "-x").splitlines()
        return sum(int(row.split()[0]) for row in rows if " DROP " in row)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@contextmanager
def namespace(rig: str) -> Iterator[Namespace]:
    """One that is gone afterwards; skips `rig` by name where there cannot be one."""
    needs(rig, hasattr(os, "geteuid") and os.geteuid() == 0, "only root can make a network namespace")
    for tool in ("ip", "iptables"):
        needs(rig, shutil.which(tool) is not None, f"{tool} is not installed")
    here = Namespace(f"net-rigs-{os.getpid()}")
    made = subprocess.run(["ip", "netns", "add", here.name], capture_output=True, text=True)
    needs(rig, made.returncode == 0, f"no network namespace can be made here: {made.stderr.strip()}")
    try:
        here.run("ip", "link", "set", "lo", "up")
        tried = subprocess.run([*here.under, "iptables", "-L", "-n"], capture_output=True, text=True)
        needs(rig, tried.returncode == 0, f"iptables does not work here: {tried.stderr.strip()}")
        yield here
    finally:
        subprocess.run(["ip", "netns", "delete", here.name], check=True)
        with contextlib.suppress(FileNotFoundError):
            Path(f"/run/netns/{here.name}").unlink()
