"""Try it: a channel's text as somebody edits it, a message, and what the one makes of the other, step by step.

The text lives in the browser, and is run in a process apart (`engine.ports.bench`): no socket, no store, and no file
of the site is written. Without a script the button does what typing does with one.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Any, Final

from pydantic import StringConstraints
from starlette.responses import Response

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import ChannelPath
from engine.adapters.api.problems import Problem, not_there, not_understood
from engine.adapters.console.bench_calls import asked, bench_of, look_at
from engine.adapters.console.channel_files import (
    Looked,
    Text,
    case_files,
    case_names,
    names_on_disk,
    text_of,
)
from engine.adapters.console.rendering import page
from engine.adapters.console.samples import sample_bytes, sample_text
from engine.config.files import CHANNEL_FILE
from engine.config.finding import ConfigFinding
from engine.config.site import CHANNELS
from engine.model.ids import ChannelName, MessageSeq
from engine.pipeline.cases import from_file
from engine.ports.bench import MOST_SAMPLE, StepTold, Tried
from engine.ports.bench import Problem as Wrong
from engine.ports.clock import from_us
from engine.ports.store import StoredMessage, StoreQueries

MOST_TEXT: Final = 1_000_000
MOST_FORM: Final = 6 << 20
"""Bytes of a form: what is typed, as browsers write it."""
LAST: Final = 10
FRAGMENT: Final = "x-fragment"
_AT = re.compile(r", channel\.yaml:([0-9]{1,7})$")

ChannelText = Annotated[str, StringConstraints(max_length=MOST_TEXT)]
SampleText = Annotated[str, StringConstraints(max_length=2 * MOST_SAMPLE)]


class CaseQuery(ApiModel):
    """`case`: the message of which case is tried."""

    case: Annotated[str, StringConstraints(max_length=120)] = ""


class TryForm(ApiModel):
    """`origin`: the stored message that the sample was taken from. `name` and `deidentify` are for a case."""

    text: ChannelText
    sample: SampleText = ""
    origin: Annotated[str, StringConstraints(pattern=r"^[0-9]{0,18}$")] = ""
    number: Annotated[str, StringConstraints(pattern=r"^\s*[0-9]{0,18}\s*$")] = ""
    seq: Annotated[str, StringConstraints(pattern=r"^[0-9]{0,18}$")] = ""
    name: Annotated[str, StringConstraints(max_length=120)] = ""
    deidentify: Annotated[str, StringConstraints(max_length=3)] = ""


@dataclass(slots=True, frozen=True)
class StepShown:
    """A step with the line of the text where it stands; 0: nowhere."""

    told: StepTold
    title: str
    line: int


async def choose(call: Call) -> Response:
    """The channels that may be tried."""
    site = call.api.site()
    names = {*await asyncio.to_thread(names_on_disk, site.folder), *(str(one.name) for one in site.channels)}
    channels = sorted(name for name in names if call.who.may("engineer", name))
    return page(call, "try_choose.html", title="Try it", channels=channels, help="console#try-it")


async def show(call: Call) -> Response:
    """The text as it is on disk, and the message of a case, or none."""
    name, case = call.the_path(ChannelPath).channel, call.the_query(CaseQuery).case
    looked = await look_at(call, name, is_brief=True)
    sample = ""
    if case:
        files = await asyncio.to_thread(case_files, looked.folder, case)
        first = next((files[one] for one in ("in.hl7", "in.1.hl7") if one in files), None) if files else None
        if first is None:
            raise not_there()
        sample = sample_text(from_file(first))
    bench_of(call).warm(looked.source)
    return await shown(call, looked, TryForm(text=looked.text, sample=sample), case=case)


async def try_it(call: Call) -> Response:
    """What the text makes of the sample; the whole page, or its parts alone where the page's script asks."""
    name, form = call.the_path(ChannelPath).channel, call.the_body(TryForm)
    return await shown(call, await look_at(call, name, is_brief=True), form)


async def take_message(call: Call) -> Response:
    """A stored message as the sample: on record before it is given, as every reading."""
    name, form = call.the_path(ChannelPath).channel, call.the_body(TryForm)
    looked = await look_at(call, name, is_brief=True)
    wanted = form.seq or form.number.strip()
    if not wanted:
        raise not_understood("form: number: the number of a stored message")
    stored = await asyncio.to_thread(call.api.queries.message, MessageSeq(int(wanted)))
    if stored is None:
        raise not_there("no message has that number")
    call.require("read", stored.channel)
    if stored.raw is None:
        raise Problem(409, "E485", "the bytes of this message are no longer kept")
    if len(stored.raw) > MOST_SAMPLE:
        raise Problem(413, "E477", f"more than {MOST_SAMPLE // 1024} kB are not tried here: segmill try")
    record = call.api.control.put_on_record(call.by(scope=f"try {name}"), "read", messages=[stored.seq])
    await call.api.calls.ask(record, ACTION_TIMEOUT_S)
    form = form.model_copy(update={"sample": sample_text(stored.raw), "origin": str(stored.seq)})
    return await shown(call, looked, form)


async def shown(call: Call, looked: Looked, form: TryForm, *, case: str = "", status: int = 200) -> Response:
    """The page for what stands in its form."""
    sample = sample_bytes(form.sample)
    if len(sample) > MOST_SAMPLE:
        raise Problem(413, "E477", f"more than {MOST_SAMPLE // 1024} kB are not tried here: segmill try")
    text = form.text.encode("utf-8", "replace")
    now = from_us(call.api.clock.now_us())
    tried = await asked(call, bench_of(call).tried(looked.source, text, sample, now))
    parts: dict[str, Any] = {
        "name": looked.name,
        "tried": tried,
        "steps": _steps(tried),
        "not_reached": [_placed(label) for label in tried.message.not_reached] if tried.message is not None else [],
        "has_sample": bool(sample),
        "marked": await asyncio.to_thread(_marked, looked.name, text, tried.problems),
        "other_files": _of_other_files(looked, tried.problems),
        "is_edited": form.text.rstrip("\n") != looked.text.rstrip("\n"),
    }
    if FRAGMENT in call.request.headers:
        return page(call, "try_parts.html", title="Try it", **parts)
    names, last = await asyncio.gather(
        asyncio.to_thread(case_names, looked.folder),
        asyncio.to_thread(_last, call.api.queries, looked.name),
    )
    return page(
        call,
        "try_it.html",
        title=f"Try {looked.name}",
        status=status,
        help="console#try-it",
        form=form,
        case=case,
        cases=names,
        last=last,
        may_read=call.who.may("read", looked.name),
        **parts,
    )


def _last(queries: StoreQueries, channel: str) -> list[StoredMessage]:
    """The newest, without their bytes."""
    return list(islice(queries.messages(channel=ChannelName(channel)), LAST))


def _steps(tried: Tried) -> list[StepShown]:
    steps = tried.message.steps if tried.message is not None else ()
    return [StepShown(step, *_placed(step.label)) for step in steps]


def _placed(label: str) -> tuple[str, int]:
    """A step's label without its place, and the line of the text where it stands; 0: nowhere."""
    at = _AT.search(label)
    return (label[: at.start()], int(at[1])) if at is not None else (label, 0)


def _finding(one: Wrong) -> ConfigFinding:
    return ConfigFinding(one.code, one.file, one.line, one.column, one.length, one.message, one.hint)


def _marked(name: str, text: bytes, problems: Sequence[Wrong]) -> Text:
    """The text with what is wrong at its lines: of which those alone are shown, beside the pane."""
    shown = f"{CHANNELS}/{name}/{CHANNEL_FILE}"
    found = text_of(CHANNEL_FILE, text, [_finding(one) for one in problems], shown, is_typed=True)
    return Text(found.path, "T", [line for line in found.lines if line.findings], 0, found.size, found.rest)


def _of_other_files(looked: Looked, problems: Sequence[Wrong]) -> list[ConfigFinding]:
    mine = f"{CHANNELS}/{looked.name}/{CHANNEL_FILE}"
    return [_finding(one) for one in problems if one.file != mine]


PAGES: Final = (
    Page("GET", "/try", "engineer", "channel", "Which channel is to be tried", choose, "channels", nav="Try it"),
    Page(
        "GET",
        "/try/{channel}",
        "engineer",
        "channel",
        "Try a channel's text on a message",
        show,
        "channels",
        path_model=ChannelPath,
        query=CaseQuery,
        timeout_s=60.0,
    ),
    Page(
        "POST",
        "/try/{channel}",
        "engineer",
        "channel",
        "What a text makes of a message",
        try_it,
        "channels",
        path_model=ChannelPath,
        body=TryForm,
        most_body=MOST_FORM,
        timeout_s=60.0,
    ),
    Page(
        "POST",
        "/try/{channel}/message",
        "engineer",
        "channel",
        "Take a stored message to try",
        take_message,
        "channels",
        path_model=ChannelPath,
        body=TryForm,
        record="read",
        most_body=MOST_FORM,
        timeout_s=60.0,
    ),
)
