"""How TCP is asked to notice that a peer is gone which never said goodbye (reliability.md S11, R11).

A machine that lost its power, or a firewall that forgot the connection, sends no FIN and no RST: without this the
other end waits for ever. Two cases::

    nothing is on its way    keepalive probes: 3 s of silence, then one every 3 s, three of them: 12 s
    something is             the kernel sends it again for a quarter of an hour; a sender bounds that (`bound_unheard`),
                             a listener asks now and then (`is_unheard`)

A listener does not use the kernel's bound, TCP_USER_TIMEOUT: it also ends connections of peers that are there and
read slowly, and those have a minute (reliability.md C3).

And one question about a peer that is there: whether it has all that was written (`untaken_bytes`, S6).
"""

import socket
import struct
import sys
from array import array
from typing import Final

KEEPALIVE_S: Final = 3
KEEPALIVE_PROBES: Final = 3

_TCP_INFO: Final = getattr(socket, "TCP_INFO", None)
_RETRANSMITS_AT: Final = 2
_UNACKED_AT: Final = 24
_LAST_ACK_AT: Final = 56
_INFO_BYTES: Final = 60
"""struct tcp_info of Linux, include/uapi/linux/tcp.h: eight bytes, then 32-bit numbers."""


def is_tcp(plain: socket.socket) -> bool:
    """Whether it is a socket that these options are for."""
    return plain.family in (socket.AF_INET, socket.AF_INET6)


def keep_alive(plain: socket.socket) -> None:
    """Probe the peer while nothing is on its way."""
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    _set(plain, "TCP_KEEPIDLE", KEEPALIVE_S)
    _set(plain, "TCP_KEEPINTVL", KEEPALIVE_S)
    _set(plain, "TCP_KEEPCNT", KEEPALIVE_PROBES)


def bound_unheard(plain: socket.socket, seconds: float) -> None:
    """End the connection when the peer has taken nothing of what is on its way for so long."""
    _set(plain, "TCP_USER_TIMEOUT", int(seconds * 1000))


def outstanding(plain: socket.socket) -> tuple[bool, float]:
    """Whether something is on its way, and for how many seconds the peer has not answered what was sent again.

    (False, 0.0) where the system does not tell.
    """
    if _TCP_INFO is None:
        return False, 0.0
    info = plain.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _INFO_BYTES)
    if len(info) < _INFO_BYTES:
        return False, 0.0
    (unacked,) = struct.unpack_from("=I", info, _UNACKED_AT)
    (last_ack_ms,) = struct.unpack_from("=I", info, _LAST_ACK_AT)
    return unacked > 0, last_ack_ms / 1000 if unacked and info[_RETRANSMITS_AT] else 0.0


if sys.platform == "linux":
    import fcntl
    import termios

    def untaken_bytes(plain: socket.socket) -> int:
        """Of all that was written, how much the peer's machine has not said that it has.

        An answer carries that word with it: what its peer had read when it wrote the answer is no longer counted when
        the answer is here.
        """
        file = plain.fileno()
        if file < 0:
            return 0
        found = array("i", [0])
        try:
            fcntl.ioctl(file, termios.TIOCOUTQ, found)
        except OSError:
            return 0  # a kernel that plays Linux, and not all of it
        return found[0]

else:

    def untaken_bytes(plain: socket.socket) -> int:
        """No other system tells."""
        return 0


def _set(plain: socket.socket, name: str, value: int) -> None:
    option = getattr(socket, name, None)  # not every system has all of them
    if option is not None:
        plain.setsockopt(socket.IPPROTO_TCP, option, value)
