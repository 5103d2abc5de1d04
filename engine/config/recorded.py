"""What a recorded version of a channel says, without making a whole channel of it."""

import json
from collections.abc import Mapping
from typing import Final

from engine.config.answers import AckWhen
from engine.config.files import CHANNEL_FILE, SUBSTITUTED_FILE
from engine.config.reading import to_data
from engine.config.source import decode, load_yaml
from engine.config.substitute import Substitution
from engine.model.ids import DestinationName

NOBODY: Final = DestinationName("")


def awaited_by(files: Mapping[str, bytes]) -> DestinationName:
    """The destination whose answer senders were told to wait for by these files; '' where none is.

    Reads `ack: {when: ...}` alone: tables, profiles and steps of the version, however large, are left aside.
    """
    text, _ = decode(files.get(CHANNEL_FILE, b""), CHANNEL_FILE)
    node, _ = load_yaml(text, CHANNEL_FILE)
    if node is None:
        return NOBODY
    recorded = json.loads(files.get(SUBSTITUTED_FILE, b"{}"))
    data = to_data(node, Substitution({}, _no_file, recorded))
    ack = data.get("ack") if isinstance(data, dict) else None
    when = ack.get("when") if isinstance(ack, dict) else None
    return AckWhen(when).destination if isinstance(when, str) else NOBODY


def _no_file(path: str) -> str:
    raise FileNotFoundError(2, "a version has recorded what its references stood for")
