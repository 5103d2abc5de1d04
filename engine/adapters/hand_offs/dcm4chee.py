"""dcm4chee-arc-light's REST API for worklist items (its MWL-RS and PAM-RS services; dicom.md section 3).

    POST   /mwlitems                              make or change the step that the DICOM JSON names
    POST   /mwlitems/{study}/{step}/status/{s}    what became of it
    DELETE /mwlitems/{study}/{step}               take it off
    POST   /patients                              make or change a patient

A step is made for a patient that the archive knows: 404 says that it does not. A step that went to another patient
(a merge) is answered 400 by it; it is taken off and made anew. What ended stays there with its status, as the archive
matches images with it, and is not removed when it is forgotten here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from engine.adapters.hand_offs.rest import Answer, NoAnswer, Rest, refused, take_in_turn
from engine.config.hand_offs import Dcm4cheeOptions
from engine.ports.hand_off import Gone, Handed, Inventory, Kept, NotTaken, Taken, TakerDown, TakerOutcome, WaitingStep
from engine.worklist.attributes import SPS
from engine.worklist.changes import ORDER_FIELDS_OF_PATIENT
from engine.worklist.item import Attributes, Item, ItemKey
from engine.worklist.json_form import to_dicom_json
from engine.worklist.matching import STATUS

MEDIA: Final = "application/dicom+json"
_WHY: Final = {
    403: "the archive says that its patient was merged into another, or that this login may not",
    404: "the archive does not know its patient",
    409: "the archive has several patients of this number",
}


class Dcm4cheeItems:
    """A Taker."""

    kind = "dcm4chee"
    most = 50

    def __init__(self, options: Dcm4cheeOptions, site: Path, name: str) -> None:
        """Raises ConfigError for TLS files that cannot be used."""
        self._rest = Rest(options, site, options.oauth)
        self._patients = options.patients
        self._keeps_ended = options.ended == "status"

    async def take(self, steps: Sequence[WaitingStep]) -> Taken:
        """As Taker.take."""
        return await take_in_turn(self, steps)

    async def take_one(self, step: WaitingStep) -> TakerOutcome:
        """Put one there, set its status, or take it away."""
        if step.key.step_id in (".", ".."):
            return NotTaken("its ScheduledProcedureStepID cannot be a part of a URL")
        item = step.shelved.item if step.shelved is not None else None
        if item is None and step.had is not None and not step.had.is_shown:
            return Gone()  # it has ended, and was forgotten here
        if item is None or item.is_held or (not item.is_shown and not self._keeps_ended):
            return await self._remove(step.key)
        if not item.is_shown:
            return await self._set_status(item)
        return await self._put(item, step.had)

    async def look(self, handed: Sequence[Handed]) -> Inventory:
        """Whether it can be asked. What of its items is ours, it cannot tell."""
        try:
            answer = await self._rest.ask("GET", "/mwlitems?limit=1", media=MEDIA)
        except NoAnswer as error:
            raise TakerDown(str(error)) from None
        if answer.status == 404:
            raise TakerDown("it has no worklist items under this AE title (HTTP 404)")
        if answer.status == 403:
            raise TakerDown("this login may not ask for worklist items (HTTP 403)")
        if not answer.is_good:
            raise TakerDown(f"a question for its items was answered HTTP {answer.status}")
        return Inventory()

    async def close(self) -> None:
        await self._rest.close()

    async def _put(self, item: Item, had: Handed | None) -> TakerOutcome:
        if self._patients == "update":
            answer = await self._put_patient(item)
            if not answer.is_good:
                return refused("its patient", answer)
        answer = await self._post(item)
        if answer.status == 404 and self._patients != "leave":
            made = await self._put_patient(item)
            if not made.is_good:
                return refused("its patient", made)
            answer = await self._post(item)
        if answer.status == 400 and had is not None:
            removed = await self._remove(item.key)
            if isinstance(removed, NotTaken):
                return removed
            answer = await self._post(item)
        if not answer.is_good:
            why = _WHY.get(answer.status)
            return NotTaken(f"{why} (HTTP {answer.status})") if why else refused("it", answer)
        if had is not None and not had.is_shown:
            set_back = await self._set_status(item)
            return Kept() if not isinstance(set_back, NotTaken) else set_back
        return Kept()

    async def _post(self, item: Item) -> Answer:
        return await self._rest.ask("POST", "/mwlitems", json_of(item), media=MEDIA)

    async def _put_patient(self, item: Item) -> Answer:
        return await self._rest.ask("POST", "/patients", patient_of(item), media=MEDIA)

    async def _remove(self, key: ItemKey) -> TakerOutcome:
        answer = await self._rest.ask("DELETE", path_of(key))
        return Gone() if answer.is_good or answer.status == 404 else refused("its removal", answer)

    async def _set_status(self, item: Item) -> TakerOutcome:
        answer = await self._rest.ask("POST", f"{path_of(item.key)}/status/{item.status}")
        if answer.status == 404:
            return Gone()
        return Kept(is_shown=item.is_shown) if answer.is_good else refused("its status", answer)


def path_of(key: ItemKey) -> str:
    """Numbers may hold what means something in a URL."""
    return f"/mwlitems/{quote(key.study_uid, safe='')}/{quote(key.step_id, safe='')}"


def json_of(item: Item) -> dict[str, Any]:
    """The step as DICOM JSON (PS3.18 annex F), with its status."""
    step: Attributes = {**item.step, STATUS: (item.status,)}
    return {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}, **to_dicom_json({**item.attributes, SPS: (step,)})}


def patient_of(item: Item) -> dict[str, Any]:
    """Its patient as DICOM JSON."""
    own = {keyword: values for keyword, values in item.attributes.items() if keyword in ORDER_FIELDS_OF_PATIENT}
    return {"00080005": {"vr": "CS", "Value": ["ISO_IR 192"]}, **to_dicom_json(own)}
