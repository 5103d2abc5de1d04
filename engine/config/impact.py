"""What of a site uses a field, a table, a host, a port or a destination: for `segmill impact` and the console's map."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from engine.config.profile_xml import ProfileXmlError
from engine.config.site import LoadedChannel
from engine.config.uses import Use, is_of_field, is_of_name, uses_of
from engine.config.uses_xml import uses_in_xml
from engine.hl7.errors import PathError
from engine.hl7.path import compile_path

_FIELD: Final = re.compile(r"[A-Z][A-Z0-9]{2}(\[.+\])?(-[0-9].*)?")
_AS_FIELD: Final = re.compile(r"[A-Z][A-Z0-9]{2}-[0-9].*")


@dataclass(slots=True, frozen=True)
class LeftOut:
    """A file that could not be read, and why."""

    file: str
    why: str


def everything_used(channel: LoadedChannel) -> Iterator[Use | LeftOut]:
    """By the channel's files, and by conformance profiles in XML that stand beside them, which no channel reads."""
    yield from uses_of(channel)
    for path in sorted(channel.folder.rglob("*.xml")):
        name = path.relative_to(channel.folder).as_posix()
        if name.startswith("cases/") or not path.is_file():
            continue
        shown = f"{channel.shown.rpartition('/')[0]}/{name}"
        try:
            yield from uses_in_xml(path.read_bytes(), name, shown)
        except ProfileXmlError as error:
            yield LeftOut(shown, str(error))
        except OSError as error:
            yield LeftOut(shown, error.strerror or "cannot be read")


def matcher(thing: str) -> Callable[[Use], bool]:
    """Whether a use is one of the thing. Raises PathError for what looks like a field and is none."""
    if not _FIELD.fullmatch(thing):
        return lambda use: is_of_name(use, thing)
    path = compile_path(thing)
    if "-" in thing:
        return lambda use: is_of_field(use, path)
    # Three capitals may be a message code, too.
    return lambda use: is_of_field(use, path) or is_of_name(use, thing)


def meant(things: Sequence[str]) -> str:
    """A hint, where a thing is a field but for its capitals: standard names of segments have them."""
    written = [thing.upper() for thing in things if not _FIELD.fullmatch(thing) and _AS_FIELD.fullmatch(thing.upper())]
    return f"; did you mean {', '.join(written)}?" if written else ""


__all__ = ["LeftOut", "PathError", "everything_used", "matcher", "meant"]
