"""What one row of the torture table is made of, and how an answer that came back is read."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

TAG = b"@RUN@"
"""Stands in control ids; each run puts its own five characters there, or its messages would be resends."""


# -- what is sent ---------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Send:
    """Bytes for the wire: in one write, or `piece` bytes a write."""

    data: bytes
    piece: int = 0


@dataclass(slots=True, frozen=True)
class Await:
    """Wait until so many answers have come back on this connection."""

    answers: int


@dataclass(slots=True, frozen=True)
class End:
    """Close our direction; what was sent whole is still owed its answer."""


@dataclass(slots=True, frozen=True)
class Again:
    """Leave this connection in good order, and open another one."""


@dataclass(slots=True, frozen=True)
class Reset:
    """Drop the connection as a crashed sender does, and open another one."""


Step = Send | Await | End | Again | Reset


# -- what is due ----------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Due:
    """One answer: MSA-1, MSA-2, of a negative one the first ERR's code and location, and fields of its MSH."""

    code: str
    control_id: bytes
    error: str = ""
    place: str = ""
    msh: tuple[tuple[int, bytes], ...] = ()


@dataclass(slots=True, frozen=True)
class Outcome:
    """All that may come back. `closes`: the peer then hangs up of its own accord."""

    answers: tuple[Due, ...] = ()
    closes: bool = False
    is_standard: bool = True


@dataclass(slots=True, frozen=True)
class Kept:
    """A message as the engine's store has it. `raw` None: as much of it as was kept, not compared."""

    state: str
    raw: bytes | None
    findings: tuple[str, ...] = ()


@dataclass(slots=True, frozen=True)
class Row:
    """One oddity.

    `items` are the numbers of the conformance table. `steps` is what goes over the wire. The first of
    `outcomes` is what Segmill answers; the others are as good, or can be borne. `stored` and `delivered` are what
    Segmill keeps and passes on, with the channels of `site`. `joins`: who answers only some of the messages has
    taken two for one.
    """

    name: str
    items: tuple[int, ...]
    about: str
    steps: tuple[Step, ...]
    outcomes: tuple[Outcome, ...]
    stored: tuple[Kept, ...] = ()
    delivered: tuple[bytes, ...] = ()
    joins: bool = False

    def tagged(self, tag: bytes) -> "Row":
        """This row for one run: `tag`, five characters, in every control id."""
        assert len(tag) == len(TAG)

        def put(data: bytes) -> bytes:
            return data.replace(TAG, tag)

        return replace(
            self,
            steps=tuple(replace(step, data=put(step.data)) if isinstance(step, Send) else step for step in self.steps),
            outcomes=tuple(
                replace(one, answers=tuple(replace(due, control_id=put(due.control_id)) for due in one.answers))
                for one in self.outcomes
            ),
            stored=tuple(replace(kept, raw=None if kept.raw is None else put(kept.raw)) for kept in self.stored),
            delivered=tuple(put(body) for body in self.delivered),
        )


# -- what came back -------------------------------------------------------------------------------


@dataclass(slots=True, frozen=True)
class Said:
    """One MSA that came back, with what stood around it."""

    code: str
    control_id: bytes
    errors: tuple[tuple[str, str], ...] = ()
    msh: tuple[bytes, ...] = field(default=(), repr=False)

    def fits(self, due: Due) -> bool:
        """Whether it is that answer to that message, whatever the reasons."""
        return self.code == due.code and self.control_id == due.control_id

    def lacks(self, due: Due) -> str:
        """What is wrong with its details, '' for nothing."""
        code, place = self.errors[0] if self.errors else ("", "")
        if due.error and code != due.error:
            return f"ERR says {code or 'nothing'}, not {due.error}"
        if due.place and place != due.place:
            return f"ERR points to {place or 'nowhere'}, not {due.place}"
        for number, value in due.msh:
            found = self.msh[number] if number < len(self.msh) else b""
            if found != value:
                return f"MSH-{number} of the answer is not what it has to be"
        return ""


def read_answers(payload: bytes) -> list[Said]:
    """The acknowledgements in one block: one, or those of a batch. Cut at the bytes of its own delimiters."""
    found: list[Said] = []
    msh: tuple[bytes, ...] = ()
    bar, component, subcomponent = b"|", b"^", b"&"
    for line in payload.replace(b"\n", b"\r").split(b"\r"):
        if line.startswith(b"MSH") and len(line) > 8:
            bar, component, subcomponent = line[3:4], line[4:5], line[7:8] or b"&"
            fields = line.split(bar)
            msh = (fields[0], bar, *fields[1:])
        elif line.startswith(b"MSA" + bar):
            fields = [*line.split(bar), b"", b""]
            found.append(Said(fields[1].decode("ascii", "replace"), fields[2], (), msh))
        elif line.startswith(b"ERR" + bar) and found:
            more = _errors_of(line.split(bar), component, subcomponent)
            found[-1] = replace(found[-1], errors=(*found[-1].errors, *more))
    return found


def _errors_of(fields: Sequence[bytes], component: bytes, subcomponent: bytes) -> list[tuple[str, str]]:
    """(code, location) of an ERR in the form of 2.5 and later, of 2.2 to 2.4, or of 2.1."""
    if len(fields) > 3 and fields[3]:
        return [(_text(fields[3].split(component)[0]), _text(fields[2]))]
    first = fields[1] if len(fields) > 1 else b""
    errors = []
    for repetition in first.split(b"~"):
        parts = repetition.split(component)
        if len(parts) < 4:
            errors.append((_text(parts[0]), ""))
        else:
            errors.append((_text(parts[3].split(subcomponent)[0]), _text(component.join(parts[:3])).rstrip("^")))
    return errors


def _text(data: bytes) -> str:
    return data.decode("ascii", "replace")
