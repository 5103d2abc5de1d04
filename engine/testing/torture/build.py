"""Words to write rows in: messages of an invented patient, blocks, and the usual outcome of most of them."""

from collections.abc import Mapping, Sequence
from typing import Final

from engine.testing.torture.row import TAG, Due, Kept, Outcome, Row, Send, Step

VT: Final = b"\x0b"
FS: Final = b"\x1c"
CR: Final = b"\r"
LF: Final = b"\n"

AT: Final = b"20260102030405+0100"
PERSON: Final = b"PID|1||900001^^^NORTH^MR||Testperson^Anna||19700101|F"
VISIT: Final = b"PV1|1|I|3W^12^A^NORTH"


def block(*payloads: bytes) -> bytes:
    """Each payload as an MLLP block."""
    return b"".join(VT + payload + FS + CR for payload in payloads)


def cid(short: str) -> bytes:
    """A control id of this run."""
    return TAG + short.encode()


def header(
    short: str,
    *,
    kind: bytes = b"ADT^A01^ADT_A01",
    version: bytes = b"2.5.1",
    to: bytes = b"ALL",
    sender: bytes = b"TORTURE|NORTH",
    control_id: bytes | None = None,
    processing: bytes = b"P",
    sequence: bytes = b"",
    continuation: bytes = b"",
    accept: bytes = b"",
    application: bytes = b"",
    charset: bytes = b"",
    switching: bytes = b"",
    mark: bytes = b"^~\\&",
) -> bytes:
    """An MSH without its CR. `to` is MSH-5, which chooses the channel of `site`; `short` names MSH-10."""
    own = cid(short) if control_id is None else control_id
    receiver = to if b"|" in to else to + b"|NORTH"
    fields = [b"MSH", mark, sender, receiver, AT, b"", kind, own, processing, version, sequence, continuation]
    fields += [accept, application, b"", charset, b"", switching]
    while not fields[-1]:
        fields.pop()
    return b"|".join(fields)


def adt(short: str, *more: bytes, person: bytes = PERSON, **head: bytes) -> bytes:
    """MSH, EVN, PID, PV1 and `more`, each with its CR."""
    return CR.join((header(short, **head), b"EVN||" + AT, person, VISIT, *more, b""))


def oru(short: str, *more: bytes, **head: bytes) -> bytes:
    """MSH, PID, OBR and `more`."""
    order = b"OBR|1|P700001|F700001|CBC^Blood count^L|||" + AT
    return CR.join((header(short, **{"kind": b"ORU^R01^ORU_R01", **head}), PERSON, order, *more, b""))


def yes(short: str, code: str = "AA", msh: Mapping[int, bytes] | None = None) -> Due:
    """A positive answer to that message; `msh`: fields of its header that must be so."""
    return Due(code, cid(short), msh=tuple((msh or {}).items()))


def no(short: str, code: str, error: str, place: str = "") -> Due:
    """A negative one, with the reason."""
    return Due(code, cid(short), error, place)


def id_of(message: bytes) -> bytes:
    """MSH-10, for messages with the usual separator."""
    return message[message.index(b"MSH|") :].split(b"|", 10)[9]


def taken(
    name: str,
    items: Sequence[int],
    about: str,
    *messages: bytes,
    steps: Sequence[Step] = (),
    answers: Sequence[Due] | None = None,
    also: Sequence[Outcome] = (),
    stored: Sequence[Kept] | None = None,
    delivered: Sequence[bytes] | None = None,
    findings: Sequence[str] = (),
    joins: bool = False,
) -> Row:
    """A row whose messages are accepted, kept and passed on as they came, but for what is said otherwise."""
    due = [Due("AA", id_of(message)) for message in messages] if answers is None else answers
    return Row(
        name,
        tuple(items),
        about,
        tuple(steps) or (Send(block(*messages)),),
        (Outcome(tuple(due)), *also),
        tuple([Kept("processed", one, tuple(findings)) for one in messages] if stored is None else stored),
        tuple(messages if delivered is None else delivered),
        joins,
    )


def refused(
    name: str,
    items: Sequence[int],
    about: str,
    message: bytes,
    due: Due,
    findings: Sequence[str],
    *,
    also: Sequence[Outcome] = (),
    steps: Sequence[Step] = (),
) -> Row:
    """A row whose one message is refused, kept as rejected, and goes nowhere."""
    sent = tuple(steps) or (Send(block(message)),)
    kept = Kept("rejected", message, tuple(findings))
    return Row(name, tuple(items), about, sent, (Outcome((due,)), *also), (kept,))


def dropped(name: str, items: Sequence[int], about: str, *steps: Step, closes: bool = False) -> Row:
    """A row that is owed nothing and of which nothing is kept."""
    return Row(name, tuple(items), about, steps, (Outcome((), closes),))


def borne(*answers: Due, closes: bool = False) -> Outcome:
    """Not the standard's way, but no harm."""
    return Outcome(answers, closes, is_standard=False)


def as_good(*answers: Due, closes: bool = False) -> Outcome:
    """As the standard allows too."""
    return Outcome(answers, closes)
