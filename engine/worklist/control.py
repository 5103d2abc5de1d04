"""What an order control code and an order status ask of the worklist: table 0119 by table 0038 (dicom.md 1.3).

First the pair counts, then the control alone. A pair that is not here is refused (AE 103 at ORC-1); a control of
which the worklist has nothing to do, such as a response, is `none`.
"""

from collections.abc import Mapping
from typing import Final, Literal, get_args

Action = Literal[
    "create",
    "replace",
    "cancel",
    "discontinue",
    "start",
    "complete",
    "arrive",
    "schedule",
    "hold",
    "release",
    "none",
]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)

BUILDS: Final[frozenset[Action]] = frozenset({"create", "replace"})
"""Actions that make items, so that their message must have all that an item needs."""

_CANCELED: Final[Mapping[str, Action]] = {"": "cancel", "CA": "cancel", "DC": "cancel"}

NOTHING: Final = (
    *("SN", "NA", "OK", "UA", "UC", "UD", "UF", "UH", "UM", "UN", "UR", "UX", "CN", "CR", "DE", "DF", "DR", "FU", "HR"),
    *("LI", "NR", "OF", "OP", "OR", "PA", "PR", "PY", "RE", "RF", "RQ", "RR", "SR", "SS", "UF", "XR"),
)
"""Responses, requests of other kinds, links: table 0119 has them, and a worklist has nothing to do."""

DEFAULT: Final[Mapping[str, Mapping[str, Action]]] = {
    "NW": {"": "create", "SC": "create", "IP": "create"},
    "XO": {"": "replace", "SC": "replace", "CM": "complete", "IP": "start", "CA": "cancel", "DC": "discontinue"},
    "RP": {"": "replace", "SC": "replace"},
    "RU": {"": "replace", "SC": "replace"},
    "XX": {"": "replace", "SC": "replace"},
    "CA": {**_CANCELED},
    "OC": {**_CANCELED},
    "DC": {"": "discontinue", "CA": "discontinue", "DC": "discontinue"},
    "OD": {"": "discontinue", "CA": "discontinue", "DC": "discontinue"},
    "SC": {
        "IP": "start",
        "CM": "complete",
        "A": "complete",
        "CA": "discontinue",
        "DC": "discontinue",
        "SC": "schedule",
        "HD": "hold",
    },
    "HD": {"": "hold", "HD": "hold"},
    "OH": {"": "hold", "HD": "hold"},
    "RL": {"": "release", "SC": "release", "IP": "release"},
    "OE": {"": "release", "SC": "release", "IP": "release"},
    "RO": {"": "create", "SC": "create", "IP": "create"},
    # A number is asked for, or this is an answer: nothing to schedule.
    **{control: {"": "none"} for control in NOTHING},
}
"""By ORC-1, then ORC-5; a status that is not listed stands for '' in controls that only have ''."""


class Controls:
    """The table of one destination: the default with the channel's own rows on top."""

    def __init__(self, rows: Mapping[str, Action] | None = None) -> None:
        """`rows`: `NW`, or `NW_SC` with a status, to an action."""
        self._table: dict[str, dict[str, Action]] = {control: dict(by) for control, by in DEFAULT.items()}
        for key, action in (rows or {}).items():
            control, _, status = key.partition("_")
            self._table.setdefault(control, {})[status] = action

    def action(self, control: str, status: str) -> Action | None:
        """What to do; None for what no row knows: refused, and nothing changed."""
        by_status = self._table.get(control)
        if by_status is None:
            return None
        if status in by_status:
            return by_status[status]
        if by_status.get("") == "none":
            return "none"
        return None
