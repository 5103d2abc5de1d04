"""The long explanation behind a code."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class Story:
    """What `segmill explain` tells. `example` is what brings the code about, '' where none helps."""

    title: str
    explanation: str
    what_to_do: str
    example: str = ""


Stories = Mapping[str, Story]
