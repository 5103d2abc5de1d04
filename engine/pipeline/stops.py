"""How a function in `steps.py` ends a message's way, and what of its words is believed to be no patient's."""

import re
from collections.abc import Iterable
from typing import Final, Literal

StopKind = Literal["filtered", "held", "rejected"]

HIDDEN: Final = "***"
_WORD: Final = re.compile(r"\w+")
_ESCAPE: Final = re.compile(r"\\[a-z]")
_PLAIN_PATH: Final = re.compile(r"[A-Z][A-Z0-9]{2}(\[[0-9]{1,4}\])?(-[0-9]{1,4}(\[[0-9]{1,4}\])?(\.[0-9]{1,4}){0,2})?")


class OwnWords:
    """The words that stand in a channel's Python files: its author's, whatever a message holds.

    A reason such as f"no ward {value}" is a slip that no review can be trusted to find, and what is stored
    with a finding goes into lists, logs and answers. So a word of a reason is shown if it stands in the
    files, and hidden if it can only have come from somewhere else.
    """

    def __init__(self, sources: Iterable[bytes]) -> None:
        self._texts = [source.decode("utf-8", "replace") for source in sources]
        # The n of "two\nlines" is no letter of the word behind it, and that of r"\nlines" is.
        spelt = (*self._texts, *(_ESCAPE.sub(" ", text) for text in self._texts))
        self._known = {word for text in spelt for word in _WORD.findall(text)}

    def only(self, stop: "StepStop") -> None:
        """Hide in `stop` what are not the author's own words."""
        stop.reason = _WORD.sub(lambda found: found[0] if found[0] in self._known else HIDDEN, str(stop.reason))
        location = str(stop.location)
        if not _PLAIN_PATH.fullmatch(location) and not any(location in text for text in self._texts):
            stop.location = ""


class StepStop(Exception):
    """The base of what a function in `steps.py` raises to end a message's way.

    `reason` is shown to people and stored, so it must hold no field value: words that do not stand in the
    channel's own files are shown as `***`. `location` is an HL7 path or ''.
    """

    kind: StopKind = "held"
    code = "E216"

    def __init__(self, reason: str, location: str = "", *, hl7_code: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.location = location
        self.hl7_code = hl7_code


class Hold(StepStop):
    """Keep the message for the analyst; its sender is told that we have it."""


class Reject(StepStop):
    """Refuse the message: its sender is told why, and keeps it."""

    kind = "rejected"
    code = "E217"


class Filter(StepStop):
    """The message is not wanted; its sender is told that we have it, and nothing is delivered."""

    kind = "filtered"
    code = "W203"
