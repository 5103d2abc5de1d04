"""What `segmill generate` does: whom the messages are for, how many and when, and where they go."""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final

import click

from engine.cli.case_bench import Bench
from engine.cli.command import misuse
from engine.cli.exits import CANNOT_WRITE, CONFIGURATION, FINDINGS, GOOD, Failure
from engine.cli.output import SCHEMA, count, emit, printable, say
from engine.cli.own_code import deadline_of
from engine.cli.profile_files import read_profile
from engine.cli.progress import Progress
from engine.cli.selection import moment_us, utc_now
from engine.cli.site_channels import loaded_channels
from engine.cli.sites import find_site
from engine.cli.words import per_second
from engine.hl7.charset import codec_named, codecs_of
from engine.hl7.generate import Header, Hospital, families_for
from engine.hl7.version import parse_version
from engine.model.finding import Finding
from engine.pipeline.cases import to_file
from engine.pipeline.invented import Inventor, Made, Receiver

USUAL: Final = 100
USUAL_RATE: Final = 60.0
"""Messages an hour."""
MOST_TOLD: Final = 5
MOST_VAIN: Final = 10
"""So many are left out for each that passes before it is given up to replace them."""
_DECLARED: Final = {"utf-8": "UNICODE UTF-8", "gb18030": "GB 18030-2000", "big5": "BIG-5", "euc_kr": "KS X 1001"}
"""How MSH-18 calls a character set that a channel falls back to; those of ISO 8859 by their number."""


@dataclass(slots=True, frozen=True)
class Wanted:
    """What was asked for, as it was typed."""

    messages: int | None
    patients: int | None
    since: str
    until: str | None
    rate: str | None
    seed: int
    version: str | None
    charset: str | None


@dataclass(slots=True)
class Plan:
    """The messages to come, and what came of them."""

    receiver: Receiver
    hospital: Hospital
    inventor: Inventor
    messages: int | None
    seed: int
    bench: Bench | None = None
    made: int = 0
    types: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    people: set[str] = field(default_factory=set)
    left_out: Counter[str] = field(default_factory=Counter)
    """By what stood in the way."""

    @classmethod
    def of(cls, channel: str | None, profile: Path | None, site: Path | None, wanted: Wanted) -> "Plan":
        """Raises a misuse, or a Failure where the channel or the profile has errors."""
        receiver, bench = _receiver(channel, profile, site)
        header, codec = _header(receiver, wanted)
        since = _time(wanted.since)
        until = _time(wanted.until) if wanted.until is not None else None
        if until is not None and until <= since:
            raise misuse(f"--until {wanted.until} is not behind --since {wanted.since}")
        messages = wanted.messages
        if messages is None and wanted.patients is None and until is None:
            messages = USUAL
        per_hour = per_second(wanted.rate) * 3600 if wanted.rate else USUAL_RATE
        if not wanted.rate and messages is not None and until is not None:
            per_hour = max(messages / ((until - since) / timedelta(hours=1)), 1e-6)
        hospital = Hospital(
            wanted.seed,
            families_for(codec),
            receiver.takes,
            since=since,
            until=until,
            per_hour=per_hour,
            patients=wanted.patients,
            messages=messages,
            others=receiver.others,
        )
        if not hospital.each:
            taken = ", ".join(map(str, receiver.accept))
            raise Failure(CONFIGURATION, f"nothing that can be invented is accepted: {printable(taken)}")
        return cls(receiver, hospital, Inventor(receiver, header, codec, wanted.seed), messages, wanted.seed, bench)

    def good(self, *, prints: bool = False) -> Iterator[Made]:
        """The messages that pass. Raises a Failure where none does, with what stands in the way."""
        with Progress("messages", self.messages, prints=prints) as progress:
            passing = (made for made in self.inventor.messages(self.hospital) if self._is_good(made))
            for made in islice(passing, self.messages):
                self.made += 1
                self.types[made.type] += 1
                self.states[made.state] += 1
                self.people.add(made.happening.visit.number)
                yield made
                progress.step()
        if not self.made and self.left_out:
            raise Failure(
                CONFIGURATION,
                "no message that passes could be invented: " + "; ".join(self.reasons()),
                "See which rule it is with: segmill explain CODE. Try one of your own with: segmill try",
            )

    def _is_good(self, made: Made) -> bool:
        if made.is_good:
            return True
        why = next((finding for finding in made.findings if finding.severity == "error"), None)
        if self.hospital.messages is not None and sum(self.left_out.values()) < MOST_VAIN * (self.made + 20):
            self.hospital.messages += 1  # another one in its place
        self.left_out[f"{made.type} {made.state}, {_named(why or next(iter(made.findings), None))}"] += 1
        if sum(self.left_out.values()) >= 200 and not self.made:
            raise Failure(
                CONFIGURATION,
                "no message that passes could be invented: " + "; ".join(self.reasons()),
                "See which rule it is with: segmill explain CODE",
            )
        return False

    def reasons(self) -> list[str]:
        """What stood in the way, the most frequent first, with how often."""
        told = [f"{printable(why)} ({number:,})" for why, number in self.left_out.most_common(MOST_TOLD)]
        more = len(self.left_out) - MOST_TOLD
        return [*told, f"and {more} more"] if more > 0 else told

    def outcome(self) -> dict[str, Any]:
        return {
            "messages": self.made,
            "patients": len(self.people),
            "types": dict(sorted(self.types.items())),
            "filtered": self.states["filtered"],
            "left_out": dict(self.left_out),
            "seed": self.seed,
        }

    def tell(self, where: str) -> None:
        types = ", ".join(f"{kind} {number:,}" for kind, number in self.types.most_common(8))
        more = f" and {len(self.types) - 8} more types" if len(self.types) > 8 else ""
        say(f"{count(self.made, 'message')} of {count(len(self.people), 'patient')}{where}: {types}{more}")
        if filtered := self.states["filtered"]:
            say(f"{filtered:,} of them are filtered by the channel, as such messages of a real sender would be")
        if self.left_out:
            say(f"left out, as the channel would not take them: {'; '.join(self.reasons())}")


def generate(
    plan: Plan, out: Path | None, to: Path | None, target: str | None, pace: str | None, *, cases: bool, as_json: bool
) -> int:
    """Make them and put them where they shall go; the exit code."""
    if target is not None:
        return _send(plan, target, pace, as_json=as_json)
    if cases:
        return _as_cases(plan, as_json=as_json)
    if out is None and to is None:
        return _print(plan, as_json=as_json)
    where = out or to
    assert where is not None, "one of them, by the lines above"
    written = _into_file(plan, out) if out is not None else _into_folder(plan, where)
    if as_json:
        emit({**plan.outcome(), "folder" if out is None else "file": str(where)})
    else:
        plan.tell(f" into {where}")
    return GOOD if written else FINDINGS


def _print(plan: Plan, *, as_json: bool) -> int:
    for made in plan.good(prints=True):
        if as_json:
            click.echo(json.dumps({"schema": SCHEMA, **_as_json(made)}, ensure_ascii=False))
        else:
            _show(made.raw)
    sys.stdout.flush()
    plan.tell("")
    return GOOD


def _show(raw: bytes) -> None:
    """Bytes as they are; to a terminal the text, in its own character set."""
    if not sys.stdout.isatty():
        sys.stdout.flush()
        sys.stdout.buffer.write(to_file([raw]))
        return
    from engine.hl7.message import Message

    message = Message.parse(raw)
    for index in range(len(message)):
        click.echo(printable(message.segment(index)))


def _as_json(made: Made) -> dict[str, Any]:
    from engine.hl7.message import Message

    message = Message.parse(made.raw)
    text = "\r".join(message.segment(index) for index in range(len(message))) + "\r"
    happened = made.happening
    return {
        "type": made.type,
        "at": happened.at.isoformat(),
        "patient": happened.patient.mrn,
        "what": happened.kind,
        "control_id": message.get("MSH-10"),
        "state": made.state,
        "message": text,
    }


def _into_file(plan: Plan, out: Path) -> int:
    if out.exists():
        raise misuse(f"{out} is there already; name another file, or remove it")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with out.open("xb") as file:
            for made in plan.good():
                file.write(to_file([made.raw]))
    except OSError as exc:
        raise Failure(CANNOT_WRITE, f"{out} cannot be written: {exc.strerror}") from None
    except Failure:
        out.unlink()  # nothing could be made: an empty file would only be in the way of the next try
        raise
    return plan.made


def _into_folder(plan: Plan, to: Path) -> int:
    if to.exists() and any(to.iterdir()):
        raise misuse(f"{to} is not empty; name a folder that is, or that is not there yet")
    try:
        to.mkdir(parents=True, exist_ok=True)
        for number, made in enumerate(plan.good(), 1):
            (to / f"{number:06}.hl7").write_bytes(made.raw)
    except OSError as exc:
        raise Failure(CANNOT_WRITE, f"{to} cannot be written: {exc.strerror}") from None
    return plan.made


def _as_cases(plan: Plan, *, as_json: bool) -> int:
    """One folder a patient, with what the channel makes of it: reviewed, then kept, like every case."""
    assert plan.bench is not None, "--cases is for a channel"
    root = plan.bench.channel.folder / "cases"
    by_patient: dict[str, list[Made]] = {}
    for made in plan.good():
        by_patient.setdefault(made.happening.visit.number, []).append(made)
    names = [f"invented-{plan.seed}-{number:03}" for number in range(1, len(by_patient) + 1)]
    if taken := [name for name in names if (root / name).exists()]:
        raise misuse(f"{root / taken[0]} is there already; take another --seed, or remove it")
    try:
        for name, messages in zip(names, by_patient.values(), strict=True):
            _write_case(plan.bench, root / name, messages)
    except OSError as exc:
        raise Failure(CANNOT_WRITE, f"{root} cannot be written: {exc.strerror}") from None
    if as_json:
        emit({**plan.outcome(), "cases": names})
    else:
        plan.tell(f" into {count(len(names), 'case')} {root}/invented-{plan.seed}-*")
        say("what came out is written beside them; read it before you keep it")
    return GOOD


def _write_case(bench: Bench, folder: Path, messages: list[Made]) -> None:
    alone = len(messages) == 1
    files = {"in.hl7" if alone else f"in.{n}.hl7": to_file([made.raw]) for n, made in enumerate(messages, 1)}
    outcome = bench.check(files)
    folder.mkdir(parents=True)
    for name, content in {**files, **outcome.files}.items():
        (folder / name).write_bytes(content)


def _send(plan: Plan, target: str, pace: str | None, *, as_json: bool) -> int:
    from engine.cli.message_files import FileMessage
    from engine.cli.sending import Messages, send, target_of

    where = target_of(target, 30.0, tls_ca=None, tls_cert=None, tls_key=None, tls_name=None, tls_no_verify=False)
    found = [FileMessage(f"{made.type} of {made.happening.patient.mrn}", 1, 1, made.raw) for made in plan.good()]
    if not as_json:
        plan.tell("")
    return send(
        where,
        Messages(found, len(found), []),
        as_json=as_json,
        connections=1,
        rate=per_second(pace) if pace else 0.0,
        resend_after_s=None,
    )


# -- what they are for ---------------------------------------------------------------------------


def _receiver(channel: str | None, profile: Path | None, site: Path | None) -> tuple[Receiver, Bench | None]:
    if profile is not None:
        return Receiver.of_profile(read_profile(profile).profiles), None
    assert channel is not None, "one of the two, by the command"
    folder = find_site(site)
    loaded, channels = loaded_channels(folder, [channel])
    bench = Bench.of(channels[0], folder, deadline_of(loaded), with_coverage=False)
    return Receiver.of_channel(channels[0], bench.ready, bench.runs), bench


def _header(receiver: Receiver, wanted: Wanted) -> tuple[Header, str]:
    """What MSH says, and the codec of the bytes."""
    if wanted.version is not None and not (parse_version(wanted.version) >= (2, 1, 0) and wanted.version[:1] == "2"):
        raise misuse(f"--hl7 {wanted.version}: write a version such as 2.3.1 or 2.5.1")
    version = wanted.version or next(
        (p.version for profiles in receiver.profiles for _, p in profiles.choices if p.version), "2.5.1"
    )
    named = wanted.charset or next(iter(receiver.charsets), "")
    if named:
        codec = codec_named(named)
        if codec is None:
            raise misuse(f"--charset {named}: no character set of table 0211, such as 8859/1 or UNICODE UTF-8")
        return Header(version, charset=named if codecs_of(named) and codec != "ascii" else ""), codec
    # As the channel's senders would: declared where HL7 has a name for it, else as they come.
    codec = receiver.fallback
    declared = _DECLARED.get(codec, "")
    if codec == "cp1252":
        codec, declared = "iso8859_1", "8859/1"
    elif codec.startswith(("iso8859-", "iso8859_")) and codecs_of(f"8859/{codec[8:]}"):
        declared = f"8859/{codec[8:]}"
    is_strict = receiver.channel is not None and receiver.channel.strict_charset
    return Header(version, charset=declared), codec if declared or not is_strict else "ascii"


def _time(text: str) -> datetime:
    """UTC for a bare date or time, so that the same words give the same messages everywhere."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = datetime.fromtimestamp(moment_us(text, utc_now()) // 1_000_000, UTC)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _named(finding: Finding | None) -> str:
    """A finding's code and place: never a value."""
    if finding is None:
        return "for no reason that was told"
    return " ".join(part for part in (finding.code, finding.location, finding.rule) if part)
