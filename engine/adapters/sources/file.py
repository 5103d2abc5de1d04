"""The file source: a folder that others put files into, each taken once, whole, and put away when all of it is ours.

States and moves of a file::

    waiting  --unchanged for `stable`, or its marker is there; renamed-->   taken
    taken    --it had changed after all-->                                  waiting
    taken    --every message is kept-->                                     done/, or deleted
    taken    --a message is rejected, or it cannot be read-->               failed/, its findings beside it
    taken    --the store takes nothing now, the folder is away-->           taken, and tried again
    taken    --the engine dies-->                                           taken, and read again at the next start

The commit comes before the move, so a crash between the two has the file read again: its messages are then
recognised as resends (`duplicates`), and nothing of it is processed twice.

Polling, not notifications: shares do not notify, and whether a file is whole is known by waiting in any case.
"""

import asyncio
import hashlib
import logging
import posixpath
import socket
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar, Final, Literal, TypeVar

from pydantic import Field, field_validator

from engine.adapters.outgoing import control_id_of
from engine.adapters.sources.inbox import Inbox, InboxUnavailable, NotAFile, Rules, Seen
from engine.config.finding import BadValue
from engine.config.listen import ListenOptions
from engine.config.types import FolderText
from engine.config.units import Duration, Size
from engine.hl7.batch import batch_fault, split_batch
from engine.hl7.errors import UnreadableMessage
from engine.model.finding import Finding
from engine.ports.judged_clock import JudgedClock
from engine.ports.source import Context, Place, Taken

log = logging.getLogger("segmill.source")

T = TypeVar("T")

PEER: Final = "file"
"""Where the messages came from: not the file's name, which may be a patient's."""

MOST_AT_A_TIME: Final = 64
MOST_BYTES_AT_A_TIME: Final = 4 * 1024 * 1024
FIRST_RETRY_S: Final = 1.0
MOST_RETRY_S: Final = 60.0
FORGET_EVERY_S: Final = 600.0
TAKE_OVER_EVERY_S: Final = 15.0
COUNT_EVERY_S: Final = 15.0
LOG_EVERY_S: Final = 10.0
_MOST_LISTED: Final = 1000
_BLANKS: Final = b" \t\r\n\x00\x1a"


class FileSourceSettings(ListenOptions):
    """A folder that is watched. Several channels may name the same folder, with the same settings of it."""

    folder: FolderText = Field(description="Where files come in; relative to the site. It gets done/ and failed/")
    pattern: str = Field(default="*", min_length=1, max_length=200, description="Names that are meant, such as *.hl7")
    every: Duration = Field(default=1.0, ge=0.05, le=3600, description="How often the folder is looked at")
    stable: Duration = Field(
        default=2.0, ge=0, le=3600, description="A file is whole when size and time have not changed for so long"
    )
    marker: str | None = Field(
        default=None,
        description="A file is whole when one of its name with this ending is there, such as .done; then `stable` is 0",
    )
    order: Literal["name", "time"] = Field(default="name", description="Which of several files goes first")
    after: Literal["move", "delete"] = Field(default="move", description="What becomes of a file that is ours")
    keep: Duration | None = Field(
        default=None, ge=60, description="Files in done/ are removed after so long; without it never"
    )
    max_file: Size = Field(default=64 * 1024**2, ge=1024, le=1024**3, description="Larger files are set aside, unread")
    trailer: Literal["expected", "optional"] = Field(
        default="expected", description="Whether a batch that begins with FHS or BHS must end with FTS or BTS"
    )

    SHARED: ClassVar[tuple[str, ...]] = (
        "max_message",
        "pattern",
        "every",
        "stable",
        "marker",
        "order",
        "after",
        "keep",
        "max_file",
        "trailer",
    )

    @field_validator("pattern", "marker")
    @classmethod
    def _names_no_folder(cls, value: str | None) -> str | None:
        if value is not None and ("/" in value or "\0" in value):
            raise BadValue("has a slash in it; files of the folder itself are meant", "such as *.hl7")
        if value is not None and not value.strip("."):
            raise BadValue("is empty", "such as .done")
        return value

    @property
    def place(self) -> str | None:
        return f"folder {posixpath.normpath(self.folder)}"

    @property
    def place_key(self) -> str:
        return "folder"


@dataclass(slots=True)
class _Unchanged:
    """Since when a waiting file is as it is."""

    seen: Seen
    since_s: float


@dataclass(slots=True)
class _Verdict:
    """What is to become of a file that is ours: done, or set aside with findings."""

    is_done: bool
    findings: str = ""


@dataclass(slots=True)
class _Messages:
    """The messages of one file, what became of each, and what is wrong with the file as a whole."""

    parts: list[bytes] = field(default_factory=list)
    taken: list[Taken | None] = field(default_factory=list)
    fault: Finding | None = None


class FileSource:
    """One folder. All file work is done on the source's own thread."""

    name: ClassVar[str] = "file"
    model: ClassVar[type[FileSourceSettings]] = FileSourceSettings

    def __init__(self, settings: FileSourceSettings, place: Place, context: Context) -> None:
        self._settings = settings
        self._inlet = place.inlet
        self._context = context
        self._meter = context.meter
        self._now = context.clock.monotonic
        self._judged = JudgedClock(context.clock)
        self._doubted = ""
        owner = f"{socket.gethostname()}\0{context.site}\0{context.name}".encode(errors="surrogateescape")
        marker = settings.marker or ""
        self._inbox = Inbox(
            context.site / settings.folder,
            "in-" + hashlib.blake2b(owner, digest_size=6).hexdigest(),
            Rules(settings.pattern, marker, settings.order),
        )
        self._stable_s = 0.0 if marker else settings.stable
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"source {context.name}")
        self._stopping = asyncio.Event()
        self._ours: deque[str] = deque()
        self._to_put_away: dict[str, _Verdict] = {}
        self._unchanged: dict[str, _Unchanged] = {}
        self._prepare_at = 0.0
        self._is_away = False
        self._failed = 0
        self._count_at = self._forget_at = 0.0
        self._logged_at = float("-inf")
        self._unlogged = 0

    @classmethod
    def open(cls, places: Sequence[Place], context: Context) -> "FileSource":
        """Set up. The folder need not be there yet: a share may be mounted later."""
        (place,) = places
        assert isinstance(place.options, FileSourceSettings)
        return cls(place.options, place, context)

    @property
    def address(self) -> str:
        return f"folder {self._settings.folder}"

    @property
    def connection_count(self) -> int:
        return 0

    async def start(self) -> None:
        """Look at the folder for the first time; one that is not there is waited for."""
        await self._prepare()

    async def run(self) -> None:
        while not self._stopping.is_set():
            if not await self._look():
                await self._pause(self._settings.every)

    async def stop(self, deadline_s: float) -> None:
        """The file at hand is seen to its end; `run` ends behind it."""
        self._stopping.set()

    def abort(self) -> None:
        self._stopping.set()
        # Behind what the thread is at: it may be moving a file.
        try:
            self._thread.submit(self._inbox.close)
        except RuntimeError:
            return  # the second call
        self._thread.shutdown(wait=False)

    # -- one look -------------------------------------------------------------------------------

    async def _look(self) -> bool:
        """Take what can be taken now; whether to look again at once."""
        if self._now() >= self._prepare_at and not await self._prepare():
            return False
        try:
            await self._put_away()
            while self._ours and not self._stopping.is_set():
                await self._work(self._ours[0])
                self._ours.popleft()
            waiting = await self._do(self._inbox.waiting)
            self._back()
            await self._count(len(waiting))
            for seen in self._whole(waiting):
                if self._stopping.is_set():
                    return True
                await self._take(seen)
            await self._forget_old()
        except InboxUnavailable as error:
            self._away(error)
        return False

    async def _prepare(self) -> bool:
        try:
            left = await self._do(self._inbox.prepare)
        except InboxUnavailable as error:
            self._away(error)
            return False
        new = [name for name in left if name not in self._ours and name not in self._to_put_away]
        if new:
            log.info("source %s: %d file(s) of an engine that ended are read again", self._context.name, len(new))
        self._ours.extend(new)
        # Again and again: an engine that shares the folder may die later.
        self._prepare_at = self._now() + TAKE_OVER_EVERY_S
        return True

    def _whole(self, waiting: Sequence[Seen]) -> list[Seen]:
        """Those that have not changed for long enough, in their order."""
        now = self._now()
        before = self._unchanged
        self._unchanged = {}
        found: list[Seen] = []
        for seen in waiting:
            known = before.get(seen.name)
            if known is None or known.seen != seen:
                known = _Unchanged(seen, now)
            self._unchanged[seen.name] = known
            if now - known.since_s >= self._stable_s:
                found.append(seen)
        return found

    async def _take(self, seen: Seen) -> None:
        await self._inlet.ready()
        name = await self._do(lambda: self._inbox.take(seen.name))
        self._unchanged.pop(seen.name, None)
        if name is None:
            return  # another engine was faster, or its sender took it back
        self._ours.append(name)
        await self._work(name, seen.size_bytes)
        self._ours.remove(name)

    # -- one file -------------------------------------------------------------------------------

    async def _work(self, name: str, expected_bytes: int | None = None) -> None:
        """A file that is ours, to its end. Raises InboxUnavailable, and leaves it ours then."""
        try:
            found = await self._do(lambda: self._inbox.read(name, self._settings.max_file + 1))
        except NotAFile as error:
            await self._conclude(name, _set_aside(Finding("E243", "error", str(error))))
            return
        if found is None:
            return  # somebody took it out of our hands
        content, size = found
        if expected_bytes is not None and size != expected_bytes:
            await self._do(lambda: self._inbox.give_back(name))  # it was being written after all
            return
        messages = await self._do(lambda: self._cut(content, size))
        if messages.fault is None and not await self._bring(messages):
            return  # the engine stops: the next start reads it again
        await self._conclude(name, _verdict(messages))

    def _cut(self, content: bytes, size: int) -> _Messages:
        """On the thread: the messages of a file, or what is wrong with it as a whole."""
        limit = self._settings.max_file
        if size > limit or len(content) > limit:
            text = f"the file has {max(size, len(content))} bytes and this source takes at most {limit}"
            return _Messages(fault=Finding("E241", "error", text))
        if not content.strip(_BLANKS):
            return _Messages(fault=Finding("E240", "error", "the file is empty"))
        if fault := batch_fault(content, trailer_expected=self._settings.trailer == "expected"):
            return _Messages(fault=Finding("E242", "error", fault))
        parts = split_batch(content)
        return _Messages(parts, [None] * len(parts))

    async def _bring(self, messages: _Messages) -> bool:
        """To intake, in their order, a handful at a time; False when the engine stops before all were taken."""
        wait_s = FIRST_RETRY_S
        while (places := [at for at, taken in enumerate(messages.taken) if taken is None]) != []:
            await self._inlet.ready()
            if await self._bring_some(messages, _some(messages.parts, places)):
                wait_s = FIRST_RETRY_S
                continue
            self._meter.event("file_postponed")
            self._say(f"the store takes nothing now; the file at hand is tried again in {wait_s:g} s")
            await self._pause(wait_s)
            wait_s = min(2 * wait_s, MOST_RETRY_S)
            if self._stopping.is_set():
                return False
        return True

    async def _bring_some(self, messages: _Messages, places: Sequence[int]) -> bool:
        """All in one turn, so that one commit has them, and their order with them; False if the store refuses.

        What is rejected behind one that the store refused may be rejected for that, as a fragment is without the one
        before it: both are brought again.
        """
        outcomes = []
        for at in places:
            try:
                outcomes.append((at, self._inlet.take(messages.parts[at], PEER)))
            except Exception as error:  # noqa: BLE001 - one message must not stop the folder for ever
                text = f"the engine failed at it with {type(error).__name__}"
                messages.taken[at] = Taken("rejected", findings=(Finding("E244", "error", text),))
        is_stored = True
        for at, outcome in outcomes:
            taken = await outcome
            is_stored &= taken.fate != "refused"
            if is_stored or taken.fate == "kept":
                messages.taken[at] = taken
        return is_stored

    async def _conclude(self, name: str, verdict: _Verdict) -> None:
        self._to_put_away[name] = verdict
        self._meter.event("file_taken" if verdict.is_done else "file_failed")
        if not verdict.is_done:
            self._count_at = 0.0
            self._say(f"a file was set aside: {verdict.findings.splitlines()[0]}")
        await self._put_away()

    async def _put_away(self) -> None:
        """Also those that could not be moved before: they are not read again for that. Raises InboxUnavailable."""
        for name, verdict in list(self._to_put_away.items()):
            if verdict.is_done:
                await self._do(partial(self._inbox.done, name, delete=self._settings.after == "delete"))
            elif not await self._do(partial(self._inbox.failed, name, verdict.findings)):
                self._say("the findings of a file could not be written beside it")
            del self._to_put_away[name]

    # -- around it ------------------------------------------------------------------------------

    async def _do(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _count(self, waiting: int) -> None:
        now = self._now()
        if now >= self._count_at:
            self._count_at = now + COUNT_EVERY_S
            self._failed = await self._do(self._inbox.failed_count)
        self._meter.files(waiting + len(self._ours), self._failed)

    async def _forget_old(self) -> None:
        keep, now = self._settings.keep, self._now()
        if keep is not None and now >= self._forget_at:
            self._forget_at = now + FORGET_EVERY_S
            now_us, before = self._judged.look(), self._doubted
            self._doubted = self._judged.doubt
            if now_us is not None:
                before_ns = (now_us - int(keep * 1_000_000)) * 1000
                await self._do(lambda: self._inbox.forget_done(before_ns))
            elif self._doubted != before:
                text = "source %s: %s; files in `done` are kept until it has gone on for a day"
                log.warning(text, self._context.name, self._doubted)

    def _away(self, error: InboxUnavailable) -> None:
        self._meter.event("folder_unavailable")
        if not self._is_away:
            self._is_away = True
            log.warning("source %s: %s; it is tried again until it can be used", self._context.name, error)

    def _back(self) -> None:
        if self._is_away:
            self._is_away = False
            log.info("source %s: its folder can be used again", self._context.name)

    def _say(self, text: str) -> None:
        """At most so often: a folder of bad files must not fill the disk with lines."""
        now = self._now()
        if now - self._logged_at < LOG_EVERY_S:
            self._unlogged += 1
            return
        more = f" ({self._unlogged} more such lines were left out)" if self._unlogged else ""
        log.warning("source %s: %s%s", self._context.name, text, more)
        self._logged_at, self._unlogged = now, 0


def _some(parts: Sequence[bytes], places: Sequence[int]) -> list[int]:
    """The first few of `places`, bounded in number and bytes; at least one."""
    found: list[int] = []
    size = 0
    for at in places[:MOST_AT_A_TIME]:
        size += len(parts[at])
        if found and size > MOST_BYTES_AT_A_TIME:
            break
        found.append(at)
    return found


def _set_aside(finding: Finding) -> _Verdict:
    return _Verdict(False, f"{finding.code} {finding.text}\nNothing of the file was taken.\n")


def _verdict(messages: _Messages) -> _Verdict:
    """Done if all is kept; else what a person must know, without a value of any message."""
    if messages.fault is not None:
        return _set_aside(messages.fault)
    refused = [(at, t) for at, t in enumerate(messages.taken) if t is not None and t.fate != "kept"]
    if not refused:
        return _Verdict(True)
    count = len(messages.parts)
    lines = [f"{len(refused)} of {count} message(s) refused, {count - len(refused)} taken"]
    for at, taken in refused[:_MOST_LISTED]:
        stored = f", stored as {taken.seq}" if taken.seq is not None else ""
        answer = f" with {taken.code}" if taken.code else ""
        lines.append(f"message {at + 1}: control id {_shown_id(messages.parts[at])}, refused{answer}{stored}")
        lines += [f"  {f.code} {f.location + ' ' if f.location else ''}{f.text}" for f in taken.findings]
    if len(refused) > _MOST_LISTED:
        lines.append(f"... and {len(refused) - _MOST_LISTED} more")
    lines.append("Correct the file and move it back: messages that were taken are recognised as resends.")
    return _Verdict(False, "\n".join(lines) + "\n")


def _shown_id(raw: bytes) -> str:
    try:
        text = control_id_of(raw).decode("ascii", "replace")
    except UnreadableMessage:
        return "none"
    return "".join(c if c.isprintable() and c.isascii() else "?" for c in text[:40]) or "none"
