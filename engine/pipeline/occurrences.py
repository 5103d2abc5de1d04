"""From a path with `*` to the places it stands for in one message."""

from bisect import bisect_left

from engine.hl7.grammar import Every, Nth, Spec, Where
from engine.hl7.message import Message
from engine.hl7.path import Path
from engine.pipeline.work import PLACE


def is_many(path: Path) -> bool:
    """Whether `*` stands somewhere in the path."""
    return isinstance(path.spec.segment_selector, Every) or isinstance(path.spec.field_selector, Every)


def occurrences(path: Path, message: Message) -> list[Path]:
    """The places of a path with `*`, each as a path of its own: `OBX[*]-5` becomes `OBX[1]-5`, `OBX[2]-5`.

    There is one for each segment that matches, and for each repetition that its field has, also where the
    field or component itself is absent, so that what is missing can be named. Each repetition is looked for from the
    field's start, so a field of many costs their square. Raises TooMuchWork.
    """
    spec = path.spec
    numbers = {index: number for number, index in enumerate(message.indexes(spec.segment), 1)}
    found: list[Path] = []
    for index in path.segments(message):
        segment = f"{spec.segment}[{numbers[index]}]"
        if not isinstance(spec.field_selector, Every):
            message.spend(PLACE)
            found.append(_numbered(segment, spec, numbers[index]))
            continue
        fields = message.fields(index)
        field = fields[spec.field] if spec.field < len(fields) else ""
        count = field.count(message.delimiters.cut_repetition) + 1
        message.spend(count * (PLACE + count + (len(field) >> 5)))
        for number in range(1, count + 1):
            found.append(_numbered(segment, spec._replace(field_selector=Nth(number)), numbers[index]))
    return found


def _numbered(segment: str, spec: Spec, number: int) -> Path:
    """Made from its parts: to read it from its text would take ten times as long."""
    return Path(segment + _below_segment(spec), spec._replace(segment_selector=Nth(number)), None)


def place(path: Path, message: Message) -> str:
    """The path for people, with the number of the segment that an `each` has in focus: `OBX-5` becomes `OBX[3]-5`."""
    if not path.focus or message.focus is None:
        return str(path)
    number = bisect_left(message.indexes(path.segment), message.focus) + 1
    return f"{path.segment}[{number}]{_below_segment(path.spec)}"


def _below_segment(spec: Spec) -> str:
    """A path's text after its segment and that one's selector: `-3[5 in ["MR"]].1`."""
    if not spec.field:
        return ""
    text = f"-{spec.field}"
    match spec.field_selector:
        case Nth(number):
            text += f"[{number}]"
        case Every():
            text += "[*]"
        case Where() as where:
            text += _filter(where)
        case None:
            pass
    if spec.component:
        text += f".{spec.component}"
    return f"{text}.{spec.subcomponent}" if spec.subcomponent else text


def _filter(where: Where) -> str:
    part = f"{where.component}.{where.subcomponent}" if where.subcomponent else f"{where.component}"
    values = ", ".join('"' + v.replace("\\", "\\\\").replace('"', '\\"') + '"' for v in sorted(where.values))
    return f"[{part} {'not in' if where.negated else 'in'} [{values}]]"
