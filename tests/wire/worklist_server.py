"""A worklist server on items in memory, and DCMTK's findscu to ask it."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from engine.adapters.dicom.scp import ScpSettings, WorklistScp
from engine.worklist.item import Item
from tests.adapters.dicom.shelf import Log, MemoryShelf
from tests.wire.worklist_rules import ITEMS, answered


class Server:
    def __init__(self, items: Sequence[Item] = ITEMS, **settings: object) -> None:
        self.shelf = MemoryShelf(items)
        self.log = Log()
        options = ScpSettings("127.0.0.1", 0, **settings)  # type: ignore[arg-type]
        self.scp = WorklistScp(options, self.shelf, self.log, now_us=lambda: 0)
        self.scp.start()

    def find(self, *keys: str, syntax: Sequence[str] = (), calling: str = "CT1", folder: Path | None = None) -> str:
        command = ["findscu", "-v", "-W", *syntax, "-aet", calling, "-aec", "SEGMILL"]
        if folder is not None:
            command += ["-X", "-od", str(folder)]
        for key in keys:
            command += ["-k", key]
        run = subprocess.run([*command, "127.0.0.1", str(self.scp.port)], capture_output=True, timeout=30, check=False)
        return (run.stdout + run.stderr).decode("utf-8", "replace")

    def numbers(self, *keys: str, syntax: Sequence[str] = ()) -> list[int]:
        wanted = [] if any(key.startswith("AccessionNumber") for key in keys) else ["AccessionNumber"]
        return answered(self.find(*keys, *wanted, syntax=syntax))


def dumped(file: Path) -> str:
    run = subprocess.run(["dcmdump", "+U8", str(file)], capture_output=True, timeout=30, check=True)
    return run.stdout.decode()
