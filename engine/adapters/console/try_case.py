"""What was tried, saved as a case of the channel: shown whole first, then written as a new folder, and on record.

It is the one thing that a page writes into a site besides rows of code tables: a case runs nothing, and people put it
under git as they do with what they write themselves. A folder that is there is never touched.
"""

import asyncio
import base64
import binascii
import hashlib
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

from pydantic import StringConstraints
from starlette.responses import Response

from engine.adapters.admin_app import ACTION_TIMEOUT_S
from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.models import ChannelPath, Sentence
from engine.adapters.api.problems import Problem, not_there, not_understood
from engine.adapters.console.bench_calls import asked, bench_of, look_at
from engine.adapters.console.channel_files import CASES, Looked, place_of
from engine.adapters.console.rendering import page, see_other
from engine.adapters.console.samples import sample_bytes
from engine.adapters.console.try_it import MOST_FORM, ChannelText, TryForm
from engine.pipeline.cases import from_file
from engine.ports.bench import MOST_SAMPLE, CaseTried

NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
SECRET_BYTES: Final = 32


class SaveForm(ApiModel):
    """`sample`: in base64, as it is to be kept: a form would change its line ends. `digest`: of what was shown."""

    text: ChannelText
    sample: Annotated[str, StringConstraints(max_length=2 * MOST_SAMPLE, pattern=r"^[A-Za-z0-9+/=]*$")]
    name: Annotated[str, StringConstraints(pattern=NAME)]
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    how: Annotated[str, StringConstraints(pattern=r"^(de-identified|as it is)$")]
    reason: Sentence = ""


def digest_of(files: Mapping[str, str]) -> str:
    whole = hashlib.sha256()
    for name, content in sorted(files.items()):
        whole.update(hashlib.sha256(name.encode()).digest() + hashlib.sha256(content.encode()).digest())
    return whole.hexdigest()


async def plan_case(call: Call) -> Response:
    """What would be written, file by file; nothing is yet."""
    channel, form = call.the_path(ChannelPath).channel, call.the_body(TryForm)
    looked = await look_at(call, channel, is_brief=True)
    name = form.name.strip()
    _check_name(name)
    await asyncio.to_thread(_new_folder, call.api.folder, channel, name)
    sample = sample_bytes(form.sample)
    if not sample or len(sample) > MOST_SAMPLE:
        raise not_understood(f"form: sample: a message, of at most {MOST_SAMPLE // 1024} kB")
    key = secrets.token_bytes(SECRET_BYTES) if form.deidentify else b""
    made = await asked(call, bench_of(call).case_of(looked.source, form.text.encode("utf-8", "replace"), sample, key))
    kept = from_file(made.files.get("in.hl7", "").encode())
    return page(
        call,
        "try_case.html",
        title="Save as a case",
        help="console#try-it",
        name=looked.name,
        case=name,
        made=made,
        digest=digest_of(made.files),
        sample=base64.b64encode(kept).decode(),
        sample_text=made.files.get("in.hl7", form.sample),
        text=form.text,
        how="de-identified" if key else "as it is",
        is_edited=form.text.rstrip("\n") != looked.text.rstrip("\n"),
    )


async def save_case(call: Call) -> Response:
    """Made again, held against what was shown, put on record, and written."""
    channel, form = call.the_path(ChannelPath).channel, call.the_body(SaveForm)
    looked = await look_at(call, channel, is_brief=True)
    made = await _made(call, looked, form)
    if not made.files or digest_of(made.files) != form.digest:
        raise Problem(409, "E532", "other files of the channel make something else of it now: look at it again")
    by = call.by(form.reason, scope=f"a message {form.how}")
    about = [f"{channel}/{CASES}/{form.name}"]
    async with call.api.files:
        folder = await asyncio.to_thread(_new_folder, call.api.folder, channel, form.name)
        await call.api.calls.ask(call.api.control.put_on_record(by, "case", about=about), ACTION_TIMEOUT_S)
        try:
            await asyncio.to_thread(write_case, folder, made.files)
        except OSError as error:
            raise Problem(503, "E486", f"the case cannot be written: {error.strerror}") from None
    sentence = f"Case {form.name} was written to channels/{channel}/{CASES}/{form.name}. Put it under git."
    return see_other(call, f"/channels/{channel}?view=cases", sentence)


async def _made(call: Call, looked: Looked, form: SaveForm) -> CaseTried:
    try:
        sample = base64.b64decode(form.sample, validate=True)
    except binascii.Error:
        raise not_understood("form: sample: it is not as it was shown") from None
    text = form.text.encode("utf-8", "replace")
    return await asked(call, bench_of(call).case_of(looked.source, text, sample, b""))


def _check_name(name: str) -> None:
    if re.fullmatch(NAME, name) is None:
        raise not_understood("form: name: small letters, digits, _ and -, at most 64, such as no-sex")


def _new_folder(site: Path, channel: str, name: str) -> Path:
    """Where the case will be. Raises Problem where there is one, or where a link leads out of the channel."""
    place = place_of(site, channel)
    if place is None:
        raise not_there()
    root = place / CASES
    if root.is_symlink() or (root.exists() and not root.is_dir()):
        raise Problem(409, "E485", f"{CASES} of this channel is no folder of its own")
    folder = root / name
    if folder.exists() or folder.is_symlink():
        raise Problem(409, "E485", "there is a case of that name: take another")
    return folder


def write_case(folder: Path, files: Mapping[str, str]) -> None:
    """The folder with all its files, or nothing. Raises OSError."""
    folder.parent.mkdir(exist_ok=True)
    draft = folder.parent.with_name(f".case-{secrets.token_hex(8)}")
    draft.mkdir()
    try:
        for name, content in files.items():
            (draft / name).write_bytes(content.encode())
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        raise


PAGES: Final = (
    Page(
        "POST",
        "/try/{channel}/case",
        "engineer",
        "channel",
        "What a case of it would be",
        plan_case,
        "channels",
        path_model=ChannelPath,
        body=TryForm,
        most_body=MOST_FORM,
        timeout_s=60.0,
    ),
    Page(
        "POST",
        "/try/{channel}/save",
        "engineer",
        "channel",
        "Save what was tried as a case",
        save_case,
        "channels",
        path_model=ChannelPath,
        body=SaveForm,
        record="case",
        most_body=MOST_FORM,
        timeout_s=60.0,
    ),
)
