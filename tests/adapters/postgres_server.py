"""A PostgreSQL server of a test run's own, where its programs are installed."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port


def missing() -> str:
    """Why there can be none here; '' if there can."""
    for program in ("initdb", "postgres"):
        if _program(program) is None:
            return f"PostgreSQL is not installed here: there is no {program}"
    if os.getuid() == 0 and "nobody" not in {entry.pw_name for entry in pwd.getpwall()}:
        return "PostgreSQL does not run as root, and there is no user nobody"
    return ""


def _program(name: str) -> str | None:
    places = [os.environ.get("PATH", ""), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))]
    return shutil.which(name, path=os.pathsep.join(places))


class PostgresServer:
    """One server on a free port of 127.0.0.1, that can be stopped and started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        # The server refuses to run as root.
        self._as = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if os.getuid() == 0 else {}
        if self._as:
            shutil.chown(folder, "nobody")
        self._run("initdb", "-D", str(folder / "db"), "-U", "segmill", "-A", "trust", "-E", "UTF8", "--no-sync", "-N")

    @property
    def url(self) -> str:
        return f"postgresql://segmill@127.0.0.1:{self.port}/postgres"

    def _run(self, program: str, *words: str) -> None:
        command = [_program(program) or program, *words]
        subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=60, extra_groups=None, **self._as)

    def start(self) -> None:
        import psycopg

        settings = {"listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": "", "fsync": "off"}
        words = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        command = [_program("postgres") or "postgres", "-D", str(self.folder / "db"), *words]
        self._process = subprocess.Popen(
            command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **self._as
        )
        for _ in range(600):
            try:
                psycopg.connect(self.url, connect_timeout=1).close()
            except psycopg.OperationalError:
                if self._process.poll() is not None:
                    raise
                continue
            return
        raise TimeoutError("the server does not answer")

    def stop(self) -> None:
        """At once: SIGQUIT to the server's own process, which ends its others."""
        if self._process is not None:
            self._process.send_signal(3)
            self._process.wait(30)
            self._process = None


@contextmanager
def running() -> Iterator[PostgresServer]:
    folder = Path(tempfile.mkdtemp(prefix="segmill-pg-"))
    server: PostgresServer | None = None
    try:
        server = PostgresServer(folder)
        server.start()
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
