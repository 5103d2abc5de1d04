"""What a worker process can no longer do, once this has run in it: start others, or outlive the engine.

Linux: a seccomp filter refuses fork, vfork and clone without CLONE_THREAD, to root as to anybody, for which
RLIMIT_NPROC is no bound; threads are bounded by the memory limit, as each needs a stack. The kernel ends the process
with its parent. Elsewhere RLIMIT_NPROC is what there is, and it does not bind root.
"""

import ctypes
import errno
import platform
import resource
import signal
import struct
import sys
from typing import Final

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_CLONE_THREAD = 0x10000
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16

_CALLS: Final = {
    # machine: architecture of the audit system, clone, clone3, (fork, vfork)
    "x86_64": (0xC000003E, 56, 435, (57, 58)),
    "aarch64": (0xC00000B7, 220, 435, ()),
}
_SOCKET_CALLS: Final = {"x86_64": (41, 53), "aarch64": (198, 199)}
"""socket and socketpair. io_uring has a way of its own to make one."""
_RING_CALLS: Final = (425, 426, 427)
"""io_uring_setup, io_uring_enter, io_uring_register; the same numbers everywhere."""
"""Linux, include/uapi/asm-generic/unistd.h and arch/x86/entry/syscalls/syscall_64.tbl."""


def confine(*, sockets: bool = True) -> bool:
    """No children from here on, and with `sockets` off no network; whether the kernel holds that for root, too."""
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    calls = _CALLS.get(platform.machine())
    if calls is None or struct.calcsize("P") != 8:
        return False
    architecture, clone, clone3, refused = calls
    if not sockets:
        refused = (*refused, *_SOCKET_CALLS[platform.machine()], *_RING_CALLS)
    program = _program(architecture, clone, clone3, refused)
    code = ctypes.create_string_buffer(b"".join(program), 8 * len(program))
    described = struct.pack("@HxxxxxxP", len(program), ctypes.addressof(code))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0) == 0)


def _program(architecture: int, clone: int, clone3: int, refused: tuple[int, ...]) -> list[bytes]:
    """The filter. Its jumps count the instructions to leave out: first where the test holds, then where not."""
    refuse = _instruction(_RETURN, _REFUSE | errno.EPERM)
    program = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_IF_EQUAL, architecture, 1, 0),
        refuse,  # a call by another architecture's numbers
        _instruction(_LOAD, _NUMBER_AT),
        _instruction(_IF_AT_LEAST, 0x40000000, 0, 1),
        refuse,  # x32's numbers
        # Its flags are behind a pointer that no filter can follow: the C library then goes by clone.
        _instruction(_IF_EQUAL, clone3, 0, 1),
        _instruction(_RETURN, _REFUSE | errno.ENOSYS),
    ]
    for number in refused:
        program += [_instruction(_IF_EQUAL, number, 0, 1), refuse]
    return [
        *program,
        _instruction(_IF_EQUAL, clone, 0, 3),
        _instruction(_LOAD, _FIRST_ARGUMENT_AT),
        _instruction(_IF_BITS, _CLONE_THREAD, 1, 0),
        refuse,
        _instruction(_RETURN, _ALLOW),
    ]


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("@HBBI", code, if_true, if_false, value)
