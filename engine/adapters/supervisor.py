"""What the service manager is told: started, reloading, stopping, and still alive.

Source: sd_notify(3), the protocol of `NOTIFY_SOCKET` and `WATCHDOG_USEC`. Without a manager that asks for it,
nothing is sent. A manager that does not listen any more is no reason to stop.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger("segmill")


class Supervisor:
    """Sends to the manager named by `environment`; `is_there` is False where there is none."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        given = os.environ if environment is None else environment
        address = given.get("NOTIFY_SOCKET", "")
        # An address that begins with "@" is in Linux's abstract name space; others are paths.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _watchdog_s(given) if address else None
        """How often at least the manager must hear that we live; None where it does not ask."""
        self._is_deaf = False

    @property
    def is_there(self) -> bool:
        return bool(self._address)

    def started(self, status: str) -> None:
        """All ports are open."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=stopping: what is in hand is being finished")

    async def keep_alive(self) -> None:
        """Until cancelled: tell that the loop runs. A disk that stalls does not stop it (reliability.md D5)."""
        if self.watchdog_s is None:
            return
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_s / 3)

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.setblocking(False)
                link.sendto(text.encode(), self._address)
        except OSError as error:
            if not self._is_deaf:
                log.warning("the service manager cannot be told of the engine's state: %s", error.strerror or error)
            self._is_deaf = True
        else:
            self._is_deaf = False


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """WATCHDOG_USEC in seconds, if it is for this process."""
    asked, pid = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not asked.isdigit() or not int(asked) or (pid and pid != str(os.getpid())):
        return None
    return int(asked) / 1_000_000


def _line(text: str) -> str:
    return " ".join(text.split())
