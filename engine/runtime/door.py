"""The door of a port: connections are judged as they are accepted, and who has no place is turned away there.

asyncio's own server accepts hundreds in one turn of the loop before anybody is asked, and does not count those whose
TLS handshake is not done: a storm of connections takes the last file descriptor from the store and the sinks before a
limit has a say (reliability.md C8). Here

- at most `ACCEPTS_A_TURN` are accepted before the loop goes on, so only so many are open beyond the limit;
- each is judged before a byte of it is read, and has its place from then on, its handshake included;
- where the system has no descriptor left all the same, that is told, and tried again a second later.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable, Coroutine, Sequence

from engine.runtime.tasks import Tasks, describe

log = logging.getLogger("segmill.listener")

ACCEPTS_A_TURN = 8
BACKLOG = 512
REST_S = 1.0
NONE_LEFT = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

Enter = Coroutine[object, object, None]


class Door:
    """Accepts on `sockets`, which are bound, and become its own. `close` is for good.

    `judge(peer)`: what is to be done with a connection from that address, given its socket; None to turn it away.
    `none_left`: the system has no descriptor left.
    """

    def __init__(
        self,
        name: str,
        sockets: Sequence[socket.socket],
        judge: Callable[[str], Callable[[socket.socket], Enter] | None],
        none_left: Callable[[], None],
    ) -> None:
        self._name = name
        self._sockets = list(sockets)
        self._judge = judge
        self._none_left = none_left
        self._tasks = Tasks(self._failed)
        self._accepting: list[asyncio.Task[None]] = []
        self._coming: dict[asyncio.Task[None], None] = {}
        self._not_begun: dict[socket.socket, None] = {}

    def open(self) -> None:
        """Listen."""
        for plain in self._sockets:
            plain.setblocking(False)
            plain.listen(BACKLOG)
            self._accepting.append(self._tasks.spawn(self._accept(plain), f"accept {self._name}"))

    def hand_over(self) -> list[socket.socket]:
        """The sockets once more, for another door: what comes while this one closes waits there."""
        return [plain.dup() for plain in self._sockets]

    def close(self) -> None:
        """Accept no more; what is in its handshake is let go."""
        for task in (*self._accepting, *self._coming):
            task.cancel()
        for plain in self._sockets:
            # The accept that is cancelled does so on the loop's next turn, and another may have the descriptor by then:
            # a destination's new connection would fail, or never be read.
            asyncio.get_running_loop().remove_reader(plain.fileno())
        for plain in (*self._sockets, *self._not_begun):
            plain.close()
        self._sockets.clear()
        self._not_begun.clear()

    async def _accept(self, door: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        this_turn = 0
        while door.fileno() >= 0:
            try:
                plain, address = await loop.sock_accept(door)
            except OSError as error:
                if error.errno in NONE_LEFT:
                    self._none_left()
                    await asyncio.sleep(REST_S)
                else:
                    await asyncio.sleep(0)  # it had gone again before it was accepted
                continue
            enter = self._judge(str(address[0]) if address else "")
            if enter is None:
                plain.close()
            else:
                self._not_begun[plain] = None
                task = self._tasks.spawn(self._enter(plain, enter), f"enter {self._name}")
                self._coming[task] = None
                task.add_done_callback(self._came)
            this_turn += 1
            if this_turn % ACCEPTS_A_TURN == 0:
                await asyncio.sleep(0)

    def _came(self, task: "asyncio.Task[None]") -> None:
        self._coming.pop(task, None)

    async def _enter(self, plain: socket.socket, enter: Callable[[socket.socket], Enter]) -> None:
        self._not_begun.pop(plain, None)
        await enter(plain)

    def _failed(self, task: str, error: BaseException) -> None:
        log.error("port %s: %s failed: %s", self._name, task, describe(error))
