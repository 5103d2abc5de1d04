"""A support bundle as a file: its members, one after the other, into a zip."""

import zipfile
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import IO, Final

FOLDER: Final = "segmill-support"


def write_bundle(
    file: IO[bytes],
    members: Iterable[tuple[str, str]],
    at: datetime,
    told: Callable[[str], None] = lambda name: None,
) -> list[str]:
    """The names of what was written. `told` gets each when it is in."""
    names: list[str] = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, text in members:
            entry = zipfile.ZipInfo(f"{FOLDER}/{name}", at.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(entry, text.encode())
            names.append(name)
            told(name)
    return names
