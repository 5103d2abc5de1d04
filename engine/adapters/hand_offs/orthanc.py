"""Orthanc's worklists plugin by its REST API (Orthanc Book, "Worklists plugin"; dicom.md section 3).

`PUT /worklists/{id}` makes or replaces an item under an id of ours, so that handing over twice does no harm and no id
of Orthanc's is to be kept. Ours are the ids `segmill-NAME-<32 hexadecimal digits>`; no other is touched.

Orthanc takes an item off on its own once a study of its images is stable (`DeleteWorklistsOnStableStudy`, which is on
unless its configuration says otherwise). Such a step stays off: `missing: leave`.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from engine.adapters.hand_offs.rest import NoAnswer, Rest, refused, take_in_turn
from engine.adapters.hand_offs.wl_file import name_of
from engine.config.hand_offs import OrthancOptions
from engine.ports.hand_off import Gone, Handed, Inventory, Kept, NotTaken, Taken, TakerDown, TakerOutcome, WaitingStep
from engine.worklist.attributes import SPS
from engine.worklist.item import Attributes, Item, ItemKey
from engine.worklist.matching import STATUS

NO_API: Final = "it has no REST API for worklists: that needs Orthanc 1.12.9 or later with its worklists plugin"
NEEDED: Final = ("ReferencedStudySequence", "ReferencedPatientSequence")
"""Sequences that are there also where they are empty."""


class OrthancWorklists:
    """A Taker."""

    kind = "orthanc"
    most = 50

    def __init__(self, options: OrthancOptions, site: Path, name: str) -> None:
        """Raises ConfigError for TLS files that cannot be used."""
        self._rest = Rest(options, site)
        self._leaves = options.missing == "leave"
        self._prefix = f"segmill-{name}-"
        self._ours = re.compile(re.escape(self._prefix) + "[0-9a-f]{32}")

    async def take(self, steps: Sequence[WaitingStep]) -> Taken:
        """As Taker.take."""
        return await take_in_turn(self, steps)

    async def take_one(self, step: WaitingStep) -> TakerOutcome:
        """Put one there, or take it away."""
        path = self._path(step.key)
        if step.shelved is None or not step.is_shown:
            answer = await self._rest.ask("DELETE", path)
            return Gone() if answer.is_good or answer.status == 404 else refused("its removal", answer)
        if self._leaves and step.had is not None:
            if not step.had.is_shown:
                return Kept(is_shown=False)
            there = await self._rest.ask("GET", path)
            if there.status == 404:
                return Kept(is_shown=False)
            if not there.is_good:
                return refused("a question for it", there)
        answer = await self._rest.ask("PUT", path, {"Tags": tags_of(step.shelved.item)})
        if answer.status in (404, 405):
            raise TakerDown(NO_API)
        if not answer.is_good:
            return refused("it", answer)
        made = answer.json()
        if not isinstance(made, dict) or made.get("ID") != self._id(step.key):
            return NotTaken("the answer to it names no step, or another", is_theirs=True)
        return Kept()

    async def look(self, handed: Sequence[Handed]) -> Inventory:
        """As Taker.look."""
        try:
            return await self._look(handed)
        except NoAnswer as error:
            raise TakerDown(str(error)) from None

    async def _look(self, handed: Sequence[Handed]) -> Inventory:
        answer = await self._rest.ask("GET", "/worklists")
        if answer.status in (404, 405):
            raise TakerDown(NO_API)
        listed = answer.json()
        if not answer.is_good or not isinstance(listed, list):
            raise TakerDown(f"a question for its worklists was answered HTTP {answer.status}")
        there = {str(one["ID"]) for one in listed if isinstance(one, dict) and "ID" in one}
        found = Inventory()
        expected: set[str] = set()
        for one in handed:
            id_ = self._id(one.key)
            if one.is_shown:
                expected.add(id_)
            if id_ in there:
                continue
            if not self._leaves:
                found.lost.append(one.key)
            elif one.is_shown:
                found.left.append(Handed(one.key, one.mark, is_shown=False))
        for id_ in sorted(there - expected):
            if self._ours.fullmatch(id_):
                gone = await self._rest.ask("DELETE", f"/worklists/{id_}")
                if not gone.is_good and gone.status != 404:
                    raise TakerDown(f"a removal was answered HTTP {gone.status}")
                found.removed += 1
        return found

    async def close(self) -> None:
        await self._rest.close()

    def _id(self, key: ItemKey) -> str:
        return self._prefix + name_of(key)

    def _path(self, key: ItemKey) -> str:
        return f"/worklists/{self._id(key)}"


def tags_of(item: Item) -> dict[str, Any]:
    """The step as Orthanc's simplified JSON: texts by keyword, sequences as lists; what is empty is left out."""
    step: Attributes = {**item.step, STATUS: (item.status,)}
    made = _tags({**item.attributes, SPS: (step,)})
    return {"SpecificCharacterSet": "ISO_IR 192", **made, **{name: made.get(name, []) for name in NEEDED}}


def _tags(attributes: Attributes) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for keyword, values in attributes.items():
        texts = [value for value in values if isinstance(value, str)]
        inner = [_tags(value) for value in values if not isinstance(value, str)]
        if inner:
            made[keyword] = inner
        elif any(texts):
            made[keyword] = "\\".join(texts)
    return made
