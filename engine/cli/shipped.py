"""Finds the channels and samples that come with Segmill, in a clone and in an installed package alike."""

from pathlib import Path
from typing import Final, Literal

import engine

EXAMPLES: Final = {"adt": "adt", "orm": "orders", "oru": "results", "worklist": "scanners"}
"""The shipped channel for each thing that an example can be about."""


def shipped(what: Literal["channels", "samples"]) -> Path:
    """The folder of shipped channels or samples. Raises FileNotFoundError where the package was taken apart."""
    package = Path(engine.__file__).parent
    for folder in (package / "_shipped" / what, package.parent / what):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(2, "the shipped files are not there", str(package / "_shipped" / what))
