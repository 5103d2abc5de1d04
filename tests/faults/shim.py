"""The preloaded library that makes system calls fail: built here, and steered from inside the engine under test.

strace does the same from outside (test_store_faults.py uses it); this one costs nothing, tells the store's files from
all others, and can say at any moment whether a sync has failed.
"""

import asyncio
import ctypes
import errno
import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.faults.ledger import cannot, needs

SOURCE = Path(__file__).with_name("faulty_calls.c")
KINDS = {"fail": 0, "short": 1, "kill": 2, "count": 3}


def build(rig: str, folder: Path) -> Path:
    """The library; skips `rig` by name where it cannot be made."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    needs(rig, compiler is not None, "there is no C compiler for the library that makes system calls fail")
    assert compiler is not None
    library = folder / "faulty_calls.so"
    words = [compiler, "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        cannot(rig, f"the library that makes system calls fail cannot be built: {done.stderr.strip()[-300:]}")
    return library


def order(call: str, error: str, first: int, report: Path, *, path: str, count: int = 1) -> dict[str, Any]:
    """What an engine under test is told. `call`: one, or several between commas; `error`: EIO and the like, or
    `short`, `kill`, `count`."""
    return {"call": call, "error": error, "first": first, "count": count, "report": str(report), "path": path}


def arm(asked: dict[str, Any]) -> None:
    """In the engine's process: from here on. A positive answer after a failed sync is put into the report."""
    library = ctypes.CDLL(None)
    kind = KINDS.get(asked["error"], 0)
    number = getattr(errno, asked["error"], 0)
    words = (f",{asked['call']},".encode(), asked["path"].encode(), asked["first"], asked["count"], number, kind)
    library.fault_arm.argtypes = [
        ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long, ctypes.c_long, ctypes.c_int, ctypes.c_int, ctypes.c_char_p
    ]  # fmt: skip
    library.fault_arm(*words, asked["report"].encode())
    library.fault_report.argtypes = [ctypes.c_char_p]
    library.fault_seen.restype = library.fault_syncs_failed.restype = ctypes.c_long
    transport = asyncio.selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    write = transport.write

    @functools.wraps(write)
    def watched(self: Any, data: bytes) -> None:
        if library.fault_syncs_failed() and b"MSA|AA" in data:
            library.fault_report(b"AA after a failed sync\n")
        write(self, data)

    transport.write = watched
    if kind == KINDS["count"]:
        run = asyncio.run

        def counted(*args: Any, **named: Any) -> Any:
            try:
                return run(*args, **named)
            finally:
                library.fault_report(b"seen %d\n" % library.fault_seen())

        asyncio.run = counted
