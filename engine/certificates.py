"""When the certificates that a site shows to others run out (reliability.md 4.3; ux.md section 2.4).

Read when the site's files are taken up, as the TLS contexts are made then: a renewed file counts from the next reload
on, for the connections as for the metric.
"""

import logging
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from engine.adapters.errors import ConfigError
from engine.adapters.tls import own_certificate_ends
from engine.config.site import LoadedSite

log = logging.getLogger("segmill")


def certificate_ends(site: LoadedSite) -> dict[str, float]:
    """By place (`adt`, `adt/ack` for connect_back, `adt/ris`, `dicom`, `console`, `hand_offs/archive`, `audit`,
    `traces`): when its certificate ends, seconds since 1970.

    What cannot be read is left out, with a line in the log: whoever uses it has told so, or will.
    """
    ends: dict[str, float] = {}
    for place, path in _own(site):
        try:
            end = own_certificate_ends(path).timestamp()
        except ConfigError as error:
            log.warning("the end of the certificate of %s is not known: %s", place, error)
        else:
            ends[place] = min(end, ends.get(place, end))
    return ends


def _own(site: LoadedSite) -> Iterator[tuple[str, Path]]:
    """Each certificate that is shown to others, and where."""
    for channel in site.channels:
        if channel.file.listen is not None:
            yield from _of(channel.file.listen.options, channel.name, channel.folder)
        if channel.file.ack.connect_back is not None:
            yield from _of(channel.file.ack.connect_back.options, f"{channel.name}/ack", channel.folder)
        for name, destination in channel.file.destinations.items():
            yield from _of(destination.options, f"{channel.name}/{name}", channel.folder)
    if site.site is not None:
        if site.site.dicom is not None:
            yield from _of(site.site.dicom, "dicom", site.folder)
        if site.site.console is not None:
            yield from _of(site.site.console, "console", site.folder)
        for name in ("audit", "traces"):
            if (options := getattr(site.site, name)) is not None:
                yield from _of(options, name, site.folder)
        for name, hand_off in site.site.hand_offs.items():
            yield from _of(hand_off, f"hand_offs/{name}", site.folder)


def _of(model: BaseModel, place: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Options of any kind, also those of a plug-in: what is called `certificate` in them is one."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _of(value, place, folder)
        elif name == "certificate" and isinstance(value, str | Path) and value:
            yield place, folder / value
