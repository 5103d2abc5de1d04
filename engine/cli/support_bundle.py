"""`segmill support-bundle`: one file that somebody else may see."""

import json
import os
import platform
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from engine.cli.command import json_option, subcommand
from engine.cli.exits import CANNOT_WRITE, Failure
from engine.cli.output import count, emit, say
from engine.cli.sites import data_option, keys_of, site_option

if TYPE_CHECKING:
    from engine.cli.examining import Surroundings
    from engine.model.store_key import StoreKeys

_REFERENCE: Final = re.compile(r"\$\{(?:file:([^{}]*)|([A-Za-z_][A-Za-z0-9_]*)(?::-[^{}]*)?)\}")
_SECRET_NAME: Final = re.compile(r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|KEY|CREDENTIAL", re.IGNORECASE)

NEWEST: Final = 5000
"""Of so many messages the codes of their findings are counted."""


@subcommand("support-bundle", "segmill support-bundle", "segmill support-bundle for-support.zip --log segmill.log")
@click.argument("to", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--log",
    "logs",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A log of the engine, such as journalctl -u segmill writes into a file; scrubbed. May be repeated.",
)
@site_option
@data_option
@json_option("what is in it")
def command(to: Path | None, logs: tuple[Path, ...], site: Path | None, data: Path | None, as_json: bool) -> int:
    """Write a file for support: what is known of the engine, without patient data.

    In it: versions, what segmill doctor finds, what the running engine says of itself, its metrics, counts of the
    store, the structure of the site's files, and logs that are named. Not in it: messages, what tables and cases hold,
    values of the environment, secrets, texts in expressions, comments. Look through it before you send it: it is a zip
    file of texts. Nothing is ever sent by itself.
    """
    from engine.adapters.support_zip import write_bundle
    from engine.cli.doctor import surroundings_of

    around = surroundings_of(site, data)
    now = datetime.now(UTC)
    target = to or Path(f"segmill-support-{now:%Y%m%dT%H%M%SZ}.zip")
    try:
        file = os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")
    except FileExistsError:
        raise Failure(CANNOT_WRITE, f"{target} is there already", "Name another file.") from None
    try:
        with file:
            names = write_bundle(file, contents(around, logs), now)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    if as_json:
        emit({"bundle": str(target), "contents": names})
        return 0
    click.echo(str(target))
    say(f"{count(len(names), 'file')}: {', '.join(names)}")
    say("It holds no patient data and no secrets, as far as can be told; look through it before you send it.")
    return 0


class SiteSupport:
    """As SupportMaker: the bundle of the site in `folder`, for who asks the engine that runs on it.

    `data`: the engine's data folder where it was named at its start.
    """

    def __init__(self, folder: Path, data: Path | None = None) -> None:
        self._folder, self._data = folder, data

    def members(self) -> Iterator[tuple[str, str]]:
        """As SupportMaker.members: what the command writes, without logs, which are named there."""
        from engine.cli.doctor import surroundings_of

        yield from contents(surroundings_of(self._folder, self._data), ())


def contents(around: "Surroundings", logs: tuple[Path, ...]) -> Iterator[tuple[str, str]]:
    """The members of a bundle, scrubbed."""
    from engine.cli.scrubbing import scrubbed_log, scrubbed_yaml

    yield "versions.txt", "".join(f"{line}\n" for line in versions())
    yield "doctor.json", _json(_doctor(around))
    yield "store.json", _json(store_numbers(around))
    yield from _of_the_engine(around)
    for path in config_files(around.folder):
        name = path.relative_to(around.folder).as_posix()
        yield f"site/{name}", scrubbed_yaml(path.read_bytes(), name)
    yield "site/files.txt", "".join(f"{line}\n" for line in other_files(around.folder, around.data))
    secrets = secrets_of(around.folder)
    for number, log in enumerate(logs, 1):
        with log.open(encoding="utf-8", errors="replace") as lines:
            yield f"log-{number}.txt", "".join(f"{line}\n" for line in scrubbed_log(lines, secrets))


def _json(record: object) -> str:
    return json.dumps(record, indent=1, ensure_ascii=False, default=str) + "\n"


def _doctor(around: "Surroundings") -> object:
    from engine.cli.examining import examine
    from engine.cli.scrubbing import scrubbed_text

    return [
        {
            "name": topic.name,
            "well": topic.well,
            "findings": [
                {key: scrubbed_text(value) for key, value in asdict(finding).items()} for finding in topic.findings
            ],
        }
        for topic in examine(around)
    ]


def versions() -> Iterator[str]:
    """What runs here: ours, Python's, the system's, and every package that we ask for."""
    import sqlite3

    from engine import __version__

    yield f"segmill {__version__}"
    yield f"python {sys.version}"
    yield f"sqlite {sqlite3.sqlite_version}"
    yield f"system {platform.platform()}, {os.cpu_count()} processors"
    try:
        asked = requires("segmill") or []
    except PackageNotFoundError:
        asked = []
    for name in sorted({_name_of(line) for line in asked}):
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} is not installed"


def _name_of(requirement: str) -> str:
    for at, char in enumerate(requirement):
        if not (char.isalnum() or char in "-_."):
            return requirement[:at]
    return requirement


def store_numbers(around: "Surroundings") -> dict[str, Any]:
    """How much there is of what, and which codes were found of late; no value of a message."""
    from engine.adapters.stores.queries import SqliteQueries
    from engine.adapters.stores.store_file import SqliteStoreFile
    from engine.model.finding import load_findings
    from engine.ports.store import StoreError
    from engine.ports.store_file import StoreUnread

    store = around.store
    if store is None or not store.exists():
        return {"there": False}
    files = {path.name: path.stat().st_size for path in sorted(store.parent.glob(f"{store.name}*")) if path.is_file()}
    told: dict[str, Any] = {"there": True, "files": files}
    queries = SqliteQueries(store, keys=_keys(around))
    try:
        told |= SqliteStoreFile(store).pages()
        counts: dict[str, dict[str, int]] = {}
        for (channel, state), number in sorted(queries.counts().items()):
            counts.setdefault(channel, {})[state] = number
        told["messages"] = counts
        told["lanes"] = [
            {"channel": d.channel, "destination": d.destination, "queued": d.queued, "held": d.held}
            for d in queries.depths()
        ]
        codes: Counter[str] = Counter()
        sizes: list[int] = []
        for message in islice(queries.messages(bodies=True), NEWEST):
            codes.update(finding.code for finding in load_findings(message.findings))
            sizes.append(len(message.raw or b""))
        told["newest"] = {
            "messages": len(sizes),
            "codes": dict(sorted(codes.items())),
            "largest": max(sizes, default=0),
        }
        told["unread_keys"] = queries.unread_keys()
    except (StoreError, StoreUnread, ValueError) as exc:
        told["cannot_be_read"] = type(exc).__name__
    finally:
        queries.close()
    return told


def _keys(around: "Surroundings") -> "StoreKeys":
    """None where the site's key is not in order: then the bundle says that the store cannot be read."""
    from engine.model.store_key import NO_KEYS

    try:
        return keys_of(around.loaded, around.folder)
    except Failure:
        return NO_KEYS


def _of_the_engine(around: "Surroundings") -> Iterator[tuple[str, str]]:
    """What the running engine says of itself, where one runs."""
    from engine.adapters.control_client import AskFailed, ControlClient, NotAllowed, NotRunning

    client = ControlClient(around.data, timeout_s=10)
    try:
        yield "status.json", _json(client.get("/v1/status"))
        yield "metrics.txt", client.text("/metrics")[1]
    except (NotRunning, NotAllowed, AskFailed) as exc:
        yield "engine.txt", f"no engine answered: {type(exc).__name__}\n"


def config_files(folder: Path) -> list[Path]:
    """segmill.yaml, and the YAML files of channels but for their cases."""
    found = [path for path in (folder / "segmill.yaml",) if path.is_file()]
    for path in sorted((folder / "channels").glob("**/*.y*ml")):
        if path.is_file() and "cases" not in path.relative_to(folder).parts:
            found.append(path)
    return found


def other_files(folder: Path, data: Path) -> Iterator[str]:
    """The site's files by name and size, but for those whose names may say more: cases, and what the engine writes."""
    for path in sorted((folder / "channels").glob("**/*")):
        parts = path.relative_to(folder).parts
        is_own = path.is_file() and "cases" not in parts and data not in path.parents
        if is_own and path.suffix in (".yaml", ".yml", ".csv", ".py"):
            yield f"{path.stat().st_size:>10} {'/'.join(parts)}"


def secrets_of(folder: Path) -> set[str]:
    """What every `${...}` in the site's files stands for here, valid or not: it may be a secret, and no log needs
    it. So do variables that are called as secrets are."""
    found = {value for name, value in os.environ.items() if _SECRET_NAME.search(name)}
    for path in config_files(folder):
        for file, name in _REFERENCE.findall(path.read_text(encoding="utf-8", errors="replace")):
            if name:
                found.add(os.environ.get(name, ""))
            else:
                try:
                    found.add((folder / file).read_text(encoding="utf-8", errors="replace").strip())
                except OSError:
                    continue  # it is not there, so nothing of it can be anywhere
    return {value for value in found if value}
