"""Other people's worklist servers on a folder of `.wl` files: DCMTK's wlmscpfs and Debian's Orthanc with its plugin."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from engine.adapters.dicom.charsets import UNICODE, charset_of
from engine.adapters.dicom.encode import dataset_of
from engine.worklist.attributes import SPS
from engine.worklist.item import Item
from engine.worklist.matching import STATUS
from tests.ports import free_port
from tests.wire.worklist_rules import write_part_10

ORTHANC: Final = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
PLUGIN: Final = Path("/usr/share/orthanc/plugins/libModalityWorklists.so")
HAS_WLMSCPFS: Final = shutil.which("wlmscpfs") is not None
HAS_ORTHANC: Final = Path(ORTHANC).exists() and PLUGIN.exists()
KNOWN: Final = {"wlmscpfs": "3.6.7", "orthanc": "1.10.1"}
"""The versions whose answers the table of rules has."""
CALLED: Final = "SEGMILL"
START_S: Final = 60.0


def write_files(folder: Path, items: Sequence[Item]) -> None:
    """A file an item, complete enough for wlmscpfs, and its lockfile."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lockfile").touch()
    for item in items:
        dataset, _ = dataset_of({**item.attributes, SPS: ({**item.step, STATUS: (item.status,)},)}, charset_of(UNICODE))
        write_part_10(dataset, folder / f"{item.key.study_uid}.wl")


def version(program: str) -> str:
    """What it calls itself."""
    command = ["wlmscpfs", "--version"] if program == "wlmscpfs" else [ORTHANC, "--version"]
    run = subprocess.run(command, capture_output=True, timeout=30, check=False)
    found = re.search(r"v?(\d+\.\d+\.\d+)", run.stdout.decode())
    return found[1] if found else ""


@contextmanager
def wlmscpfs(folder: Path) -> Iterator[int]:
    """It serves `folder`/SEGMILL; the port."""
    with _running(lambda port: ["wlmscpfs", "-csk", "-dfp", str(folder), str(port)]) as port:
        yield port


@contextmanager
def orthanc(folder: Path, files: Path) -> Iterator[int]:
    """It serves the files of `files`; what is its own goes into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)

    def command(port: int) -> list[str]:
        settings = {
            "Name": "worklist",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(PLUGIN)],
            "HttpServerEnabled": False,
            "DicomServerEnabled": True,
            "DicomPort": port,
            "DicomAet": CALLED,
            "DicomCheckCalledAet": False,
            "DicomAlwaysAllowFindWorklist": True,
            "DefaultEncoding": "Utf8",
            "Worklists": {"Enable": True, "Database": str(files), "FilterIssuerAet": False},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        return [ORTHANC, str(folder / "orthanc.json")]

    with _running(command) as port:
        yield port


@contextmanager
def _running(command: Callable[[int], list[str]]) -> Iterator[int]:
    for _ in range(5):
        port = free_port()
        process = subprocess.Popen(command(port), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        try:
            if _answers(process, port):
                yield port
                return
        finally:
            process.terminate()
            try:
                process.communicate(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
    raise RuntimeError(f"{command(0)[0]} does not start")


def _answers(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """Whether it answers a C-ECHO; not where it ended, as for a port that somebody else took meanwhile."""
    deadline = time.monotonic() + START_S
    echo = ["echoscu", "-to", "5", "-aec", CALLED, "127.0.0.1", str(port)]
    while time.monotonic() < deadline:
        if subprocess.run(echo, capture_output=True, timeout=60, check=False).returncode == 0:
            return process.poll() is None
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
            return False
    return False
