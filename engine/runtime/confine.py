"""What a worker process can no longer do, once this has run in it, to root as to anybody (reliability.md 4.3, SEC9).

Linux: a seccomp filter refuses what a step has no business with, with EPERM:

- other processes: fork, vfork, clone without CLONE_THREAD, exec, tracing, and signals, limits, processors and turns of
  any process but itself;
- the network, and the engine's control socket: socket and socketpair;
- changes of files: open for writing, and every call that makes, moves, deletes or changes one by its name;
- what outlives it: keys, queues and shared memory of the kernel; the machine's clock, name and swap; typing into a
  terminal;
- the ways around a filter: io_uring, another architecture's numbers, handles, namespaces, mounts, modules.

Pipes that are open stay usable, threads can be started, within the memory limit and MOST_TASKS, and files can be read:
Python loads its modules so. The kernel ends the process with its parent. Where there is no filter, RLIMIT_NPROC is what
there is: it refuses threads as well, and does not bind root.
"""

import ctypes
import errno
import os
import platform
import resource
import signal
import struct
import sys
from dataclasses import dataclass
from typing import Final

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_CLONE_THREAD = 0x10000
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_LOAD, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
"""They type into a terminal: a descriptor for reading is enough for them."""
MOST_TASKS: Final = 4096
"""Of the engine's user in all, root apart: what a step's threads leave to the engine, and to systemd's TasksMax."""
_FOR_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(slots=True, frozen=True)
class _Machine:
    """The numbers of a kind of processor. `refused`: EPERM whatever the arguments; `unknown`: as if it were not there.

    `opens`: (number, which argument has the flags); `signals`: those whose first argument is a process, which must be
    our own; `orders`: the same, or 0 for our own; `control`: ioctl.
    """

    architecture: int
    clone: int
    refused: tuple[int, ...]
    opens: tuple[tuple[int, int], ...]
    signals: tuple[int, ...]
    orders: tuple[int, ...]
    control: int
    unknown: tuple[int, ...]


# From io_uring_setup on, numbers are the same on all machines: include/uapi/asm-generic/unistd.h.
_PIDFD_SIGNAL, _IO_URING, _OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSMOUNT = 424, 425, 428, 429, 430, 432
_CLONE3, _OPENAT2, _PIDFD_GETFD, _MOUNT_SETATTR, _FCHMODAT2 = 435, 437, 438, 442, 452
_PROCESS_MADVISE, _QUOTACTL_FD, _PROCESS_MRELEASE = 440, 443, 448
_COMMON: Final = (
    *(_PIDFD_SIGNAL, _IO_URING, _OPEN_TREE, _MOVE_MOUNT, _FSOPEN, _FSMOUNT, _PIDFD_GETFD, _MOUNT_SETATTR),
    *(_PROCESS_MADVISE, _QUOTACTL_FD, _PROCESS_MRELEASE),
)
_MACHINES: Final = {
    # arch/x86/entry/syscalls/syscall_64.tbl
    "x86_64": _Machine(
        architecture=0xC000003E,
        clone=56,
        refused=(
            *(41, 53, 57, 58, 59, 322),  # socket, socketpair, fork, vfork, execve, execveat
            *(101, 310, 311, 200, 129, 297),  # ptrace, process_vm_readv and writev, tkill, (tg)sigqueueinfo
            *(76, 82, 264, 316, 83, 258, 84, 85, 86, 265),  # truncate, rename.., mkdir.., rmdir, creat, link..
            *(87, 263, 88, 266, 133, 259),  # unlink.., symlink.., mknod..
            *(90, 91, 268, 92, 93, 94, 260),  # chmod.., chown..
            *(132, 235, 261, 280, 188, 189, 190, 197, 198, 199),  # utime.., xattr
            *(165, 166, 155, 161, 272, 308, 304),  # mount, umount2, pivot_root, chroot, unshare, setns, open_by_handle
            *(175, 313, 176, 246, 320, 169, 321, 298),  # modules, kexec, reboot, bpf, perf_event_open
            *(141, 251, 256, 279),  # setpriority, ioprio_set, migrate_pages, move_pages
            *(164, 227, 159, 305, 170, 171, 167, 168),  # settimeofday, clock_settime, adjtime.., names, swap
            *(103, 163, 179, 172, 173, 153, 323),  # syslog, acct, quotactl, iopl, ioperm, vhangup, userfaultfd
            *(248, 249, 250, 240, 241, 29, 64, 68),  # keys, mq_open, mq_unlink, shmget, semget, msgget
            *_COMMON,
        ),
        opens=((2, 1), (257, 2)),
        signals=(62, 234),
        orders=(302, 203, 142, 144, 314, 109),  # prlimit64, sched_setaffinity, setparam, setscheduler, setattr, setpgid
        control=16,
        unknown=(_CLONE3, _OPENAT2, _FCHMODAT2),
    ),
    "aarch64": _Machine(
        architecture=0xC00000B7,
        clone=220,
        refused=(
            *(198, 199, 221, 281),  # socket, socketpair, execve, execveat
            *(117, 270, 271, 130, 138, 240),  # ptrace, process_vm_readv and writev, tkill, (tg)sigqueueinfo
            *(45, 38, 276, 34, 37, 35, 36, 33),  # truncate, renameat.., mkdirat, linkat, unlinkat, symlinkat, mknodat
            *(52, 53, 54, 55, 88, 5, 6, 7, 14, 15, 16),  # fchmod.., fchown.., utimensat, xattr
            *(40, 39, 41, 51, 97, 268, 265),  # mount, umount2, pivot_root, chroot, unshare, setns, open_by_handle
            *(105, 273, 106, 104, 294, 142, 280, 241),  # modules, kexec, reboot, bpf, perf_event_open
            *(140, 30, 238, 239),  # setpriority, ioprio_set, migrate_pages, move_pages
            *(170, 112, 171, 266, 161, 162, 224, 225),  # settimeofday, clock_settime, adjtime.., names, swap
            *(116, 89, 60, 58, 282),  # syslog, acct, quotactl, vhangup, userfaultfd
            *(217, 218, 219, 180, 181, 194, 190, 186),  # keys, mq_open, mq_unlink, shmget, semget, msgget
            *_COMMON,
        ),
        opens=((56, 2),),
        signals=(129, 131),
        orders=(261, 122, 118, 119, 274, 154),  # prlimit64, sched_setaffinity, setparam, setscheduler, setattr, setpgid
        control=29,
        unknown=(_CLONE3, _OPENAT2, _FCHMODAT2),
    ),
}


def confine() -> bool:
    """From here on, as above; whether the kernel holds that for root, too."""
    is_held = _filter()
    # Where nothing else refuses other processes, a thread is refused with them.
    hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
    most = (MOST_TASKS if hard == resource.RLIM_INFINITY else min(MOST_TASKS, hard)) if is_held else 0
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    return is_held


def _filter() -> bool:
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    machine = _MACHINES.get(platform.machine())
    if machine is None or struct.calcsize("P") != 8:
        return False
    program = _program(machine, os.getpid())
    code = ctypes.create_string_buffer(b"".join(program), 8 * len(program))
    described = struct.pack("@HxxxxxxP", len(program), ctypes.addressof(code))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0) == 0)


def _program(machine: _Machine, own: int) -> list[bytes]:
    """The filter; `own`: this process. Jumps count the instructions to leave out: where the test holds, where not."""
    refuse, allow = _instruction(_RETURN, _REFUSE | errno.EPERM), _instruction(_RETURN, _ALLOW)
    program = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_IF_EQUAL, machine.architecture, 1, 0),
        refuse,  # a call by another architecture's numbers
        _instruction(_LOAD, _NUMBER_AT),
        _instruction(_IF_AT_LEAST, 0x40000000, 0, 1),
        refuse,  # x32's numbers
    ]
    for number in machine.unknown:
        # What counts is behind a pointer that no filter can follow: the C library then goes by the older call.
        program += [_instruction(_IF_EQUAL, number, 0, 1), _instruction(_RETURN, _REFUSE | errno.ENOSYS)]
    for number in machine.refused:
        program += [_instruction(_IF_EQUAL, number, 0, 1), refuse]
    for number, argument in machine.opens:
        program += [
            _instruction(_IF_EQUAL, number, 0, 4),
            _instruction(_LOAD, _ARGUMENTS_AT + 8 * argument),
            _instruction(_IF_BITS, _FOR_WRITING, 0, 1),
            refuse,
            allow,
        ]
    for number in machine.signals:
        program += [
            _instruction(_IF_EQUAL, number, 0, 4),
            _instruction(_LOAD, _ARGUMENTS_AT),
            _instruction(_IF_EQUAL, own, 1, 0),
            refuse,
            allow,
        ]
    for number in machine.orders:
        program += [
            _instruction(_IF_EQUAL, number, 0, 5),
            _instruction(_LOAD, _ARGUMENTS_AT),
            _instruction(_IF_EQUAL, own, 2, 0),
            _instruction(_IF_EQUAL, 0, 1, 0),
            refuse,
            allow,
        ]
    program += [
        _instruction(_IF_EQUAL, machine.control, 0, 5),
        _instruction(_LOAD, _ARGUMENTS_AT + 8),
        _instruction(_IF_EQUAL, _TIOCSTI, 1, 0),
        _instruction(_IF_EQUAL, _TIOCLINUX, 0, 1),
        refuse,
        allow,
    ]
    return [
        *program,
        _instruction(_IF_EQUAL, machine.clone, 0, 3),
        _instruction(_LOAD, _ARGUMENTS_AT),
        _instruction(_IF_BITS, _CLONE_THREAD, 1, 0),
        refuse,
        allow,
    ]


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("@HBBI", code, if_true, if_false, value)
