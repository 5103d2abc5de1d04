"""A Python interpreter at the price of a fork: one process has imported the engine, and others are children of that.

    with Forked() as forked:
        subprocess.run([*forked.python, "-m", "engine", "check", "."])

What a caller starts is a small program that hands its words, folder, environment and descriptors to the one that has
the imports, passes signals on to the child, and ends as the child ends. The child is a process of its own that begins
where `python -m engine` begins. Three things differ: nothing is imported in the order in which that command would, the
child is in the session of the first process, and what it holds in memory is more. Tests of how a command starts, of
memory and of what is loaded do not use this. Nor is what was imported taken apart at the end (`Ending`): to touch all
of it would be ten times the price of the fork.

SIGKILL is not passed on, and the child of a client that was killed ends a moment later: `kill` kills the child.
"""

import array
import atexit
import contextlib
import gc
import io
import marshal
import os
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import TracebackType
from typing import Any

REPOSITORY = Path(__file__).parents[1]

CLIENT = f"""\
import _socket, array, marshal, os, signal, sys
own = sorted({{signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
              signal.SIGWINCH, signal.SIGCONT}})
signal.pthread_sigmask(signal.SIG_BLOCK, own)
server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
server.connect(sys.argv[1])
order = marshal.dumps((sys.argv[2:], os.getcwdb(), dict(os.environb)))
rights = (_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
server.sendmsg([len(order).to_bytes(4, "big")], [rights])
server.sendall(order)
pid = int.from_bytes(server.recv(4), "big")
assert pid, "{__name__} has ended"
def pass_on(number, _):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it has ended in this moment: that is what comes next
for number in own:
    signal.signal(number, pass_on)
signal.pthread_sigmask(signal.SIG_UNBLOCK, own)
# Not to be closed before the child has ended: that is how it learns of a death of ours.
end = server.recv(4)
code = int.from_bytes(end, "big", signed=True) if end else -signal.SIGKILL
if code < 0:
    signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), -code)
os._exit(code)
"""


class Forked:
    """A process that has imported the engine and its commands. `python`: what to type in place of `python`."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="segmill-forked-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def python(self) -> list[str]:
        """It knows `-m MODULE [WORD...]` and `-c CODE [WORD...]`."""
        return [sys.executable, "-I", "-S", str(self._folder / "client.py"), str(self._folder / "socket")]

    def pid_of(self, client: int) -> int:
        """The process behind what was started, which has written something by now."""
        return int((self._folder / str(client)).read_text())

    def kill(self, process: "subprocess.Popen[Any]") -> None:
        """SIGKILL for what is behind it, which has written something by now; its own end follows."""
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid_of(process.pid), signal.SIGKILL)

    def __enter__(self) -> "Forked":
        (self._folder / "client.py").write_text(CLIENT, encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self._folder / "socket")],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"ready\n":
            self.__exit__(None, None, None)
            raise RuntimeError("the process with the imports does not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self._process is not None
        self._process.communicate()
        shutil.rmtree(self._folder, ignore_errors=True)


class Server:
    """Forks a child for each order, and tells its end. Ends with its standard input, and the children with it."""

    def __init__(self, path: str) -> None:
        self._selector = selectors.DefaultSelector()
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(path)
        self._folder = Path(path).parent
        self._listening.listen(64)
        self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
        self._selector.register(0, selectors.EVENT_READ, None)
        self._children: dict[int, tuple[socket.socket, int]] = {}

    def next_order(self) -> tuple[list[str], bytes, dict[bytes, bytes]] | None:
        """In a child: what it is to run. In the first process: nothing, when all is over."""
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    for pid in list(self._children):
                        self._end_of(pid, kill=True)
                    return None
                if order := key.data():
                    return order

    def _accept(self) -> tuple[list[str], bytes, dict[bytes, bytes]] | None:
        client, _ = self._listening.accept()
        size, rights, _, _ = client.recvmsg(4, socket.CMSG_SPACE(12))
        given = array.array("i")
        for _, _, data in rights:
            given.frombytes(data)
        order = bytearray()
        while len(order) < int.from_bytes(size, "big"):
            order += client.recv(65536)
        asks = int.from_bytes(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 4), sys.byteorder)
        pid = os.fork()
        if pid == 0:
            # Before anything of it can be seen: who sees something asks for its pid.
            (self._folder / str(asks)).write_text(str(os.getpid()))
            self._selector.close()
            self._listening.close()
            client.close()
            for other, watched in self._children.values():
                other.close()
                os.close(watched)
            for number, descriptor in enumerate(given):
                os.dup2(descriptor, number)
                os.close(descriptor)
            return marshal.loads(bytes(order))  # of our own client
        for descriptor in given:
            os.close(descriptor)
        watched = os.pidfd_open(pid)
        self._children[pid] = (client, watched)
        self._selector.register(watched, selectors.EVENT_READ, lambda: self._end_of(pid))
        self._selector.register(client, selectors.EVENT_READ, lambda: self._end_of(pid, kill=True))
        self._tell(client, pid)
        return None

    def _end_of(self, pid: int, *, kill: bool = False) -> None:
        """`kill`: who asked for it is no more, and so it goes as well."""
        if pid not in self._children:
            return
        client, watched = self._children.pop(pid)
        if kill:
            signal.pidfd_send_signal(watched, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(watched)
        self._selector.unregister(client)
        os.close(watched)
        self._tell(client, os.waitstatus_to_exitcode(status))
        client.close()

    def _tell(self, client: socket.socket, number: int) -> None:
        try:
            client.sendall(number.to_bytes(4, "big", signed=True))
        except OSError:
            pass  # killed meanwhile: the selector says so as well


class Ending:
    """The end of a child, once it has waited for its threads and done all that it had registered for its exit.

    What it made itself is collected still, and so complains as in an interpreter that ends. The imports are left to
    the system: a page of theirs is copied when a count of references in it changes.
    """

    def __init__(self) -> None:
        self._code: int | None = None
        # Before everything is imported: what is registered first is called last.
        atexit.register(self._at_exit)

    def run(self, words: list[str]) -> None:
        """`python WORDS`, with the code in mind that it will end with."""
        try:
            run(words)
            self._code = 0
        except SystemExit as end:
            self._code = (end.code or 0) if isinstance(end.code, int | None) else 1
            raise
        except KeyboardInterrupt:
            raise  # the interpreter ends itself by the signal
        except BaseException:
            self._code = 1
            raise

    def _at_exit(self) -> None:
        if self._code is None:
            return
        gc.collect()
        try:
            for stream in (sys.stdout, sys.stderr):
                if stream is not None:
                    stream.flush()
        except (OSError, ValueError):
            return  # the interpreter meets that as well, and says it in its own words
        os._exit(self._code & 0xFF)


def begin(folder: bytes, environment: Mapping[bytes, bytes]) -> None:
    """Make this child what a new interpreter would be."""
    # Also where the run of the tests was put into the background by a shell, which has Ctrl-C ignored there.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    os.environb.update(environment)
    time.tzset()
    sys.path[0] = os.getcwd()
    for name, number, mode, errors in (("stdin", 0, "rb", ""), ("stdout", 1, "wb", ""), ("stderr", 2, "wb", "bs")):
        stream: Any = open(number, mode, buffering=0 if number else -1, closefd=False)  # noqa: SIM115 - until its end
        text = io.TextIOWrapper(
            stream,
            encoding="utf-8",
            errors="backslashreplace" if errors else "strict",
            line_buffering=bool(number),
            write_through=bool(number),
        )
        setattr(sys, name, text)
        setattr(sys, f"__{name}__", text)


def run(words: list[str]) -> None:
    """`python WORDS`."""
    how, what, *rest = words
    if how == "-m":
        sys.argv = [what, *rest]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    elif how == "-c":
        sys.argv = ["-c", *rest]
        main = types.ModuleType("__main__")
        sys.modules["__main__"] = main
        exec(compile(what, "<string>", "exec"), main.__dict__)
    else:
        sys.exit(f"only -m and -c are known, not {how}")


def imports() -> None:
    """What an engine, a command or a rig will want."""
    import engine.cli
    from engine.pipeline.registry import load_kinds, load_steps

    load_kinds()
    load_steps()
    for module in walk_packages(engine.cli.__path__, "engine.cli."):
        import_module(module.name)
    for name in ("engine.app", "tests.faults.mutants", "tests.faults.transitions"):
        import_module(name)


def main() -> None:
    ending = Ending()
    imports()
    place = sys.argv[1]
    server = Server(place)
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    if order := server.next_order():
        words, folder, environment = order
        begin(folder, environment)
        ending.run(words)
    else:
        # Here as well: whoever began this may have been killed.
        shutil.rmtree(Path(place).parent, ignore_errors=True)


@cache
def shared() -> Forked:
    """The one of this test process, from its first use to the end of the tests, or of the process."""
    forked = Forked()
    forked.__enter__()
    atexit.register(end_shared)
    return forked


def end_shared() -> None:
    """Where there is one."""
    if shared.cache_info().currsize:
        shared().__exit__(None, None, None)
        shared.cache_clear()
        atexit.unregister(end_shared)


if __name__ == "__main__":
    main()
