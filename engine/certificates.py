"""When what a site shows to others runs out, and what it believes them by (reliability.md 4.3; ux.md section 2.4).

Read when the site's files are taken up, as the TLS contexts are made then: a renewed file counts from the next reload
on, for the connections as for the metric. Of a way out that waited for its files (ADR 58) it counts from when they are
there.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from engine.adapters.errors import ConfigError
from engine.adapters.metrics import PrometheusMeter
from engine.adapters.tls import own_certificate_ends, revocations_of
from engine.adapters.tls_status import RevocationList
from engine.config.site import LoadedSite

log = logging.getLogger("segmill")

ENDED: Final = "E594"


def show_certificates(meter: PrometheusMeter, site: LoadedSite) -> None:
    """To the metrics and the console, from now on; a list of revoked certificates that has ended is said, too."""
    meter.certificate_ends = certificate_ends(site)
    meter.tls.lists = revocation_lists(site)
    meter.tls.reread = partial(show_certificates, meter, site)
    now_s = datetime.now(UTC).timestamp()
    for place, found in meter.tls.lists.items():
        if found.ends_s <= now_s:
            log.error(
                "%s the list of revoked certificates of %s ended on %s: nobody whose certificate is of that authority "
                "is let in",
                ENDED,
                place,
                f"{datetime.fromtimestamp(found.ends_s, UTC):%Y-%m-%d %H:%M} UTC",
            )


def certificate_ends(site: LoadedSite) -> dict[str, float]:
    """By place (`adt`, `adt/ack` for connect_back, `adt/ris`, `dicom`, `console`, `hand_offs/archive`, `audit`,
    `traces`): when its certificate ends, seconds since 1970.

    What cannot be read is left out, with a line in the log: whoever uses it has told so, or will.
    """
    ends: dict[str, float] = {}
    for place, path in _named(site, "certificate"):
        try:
            end = own_certificate_ends(path).timestamp()
        except ConfigError as error:
            log.warning("the end of the certificate of %s is not known: %s", place, error)
        else:
            ends[place] = min(end, ends.get(place, end))
    return ends


def revocation_lists(site: LoadedSite) -> dict[str, RevocationList]:
    """By place, as `certificate_ends`: the list of revoked certificates that ends first. Those without an end are not
    in it.
    """
    found: dict[str, RevocationList] = {}
    for place, path in _named(site, "client_crl"):
        try:
            lists = revocations_of(path)
        except ConfigError as error:
            log.warning("the end of the list of revoked certificates of %s is not known: %s", place, error)
            continue
        ending = [RevocationList(begins.timestamp(), ends.timestamp()) for begins, ends in lists if ends is not None]
        if place in found:
            ending.append(found[place])
        if ending:
            found[place] = min(ending, key=lambda one: one.ends_s)
    return found


def _named(site: LoadedSite, key: str) -> Iterator[tuple[str, Path]]:
    """Each file that stands under this key, and of which place it is."""
    for channel in site.channels:
        if channel.file.listen is not None:
            yield from _of(channel.file.listen.options, key, channel.name, channel.folder)
        if channel.file.ack.connect_back is not None:
            yield from _of(channel.file.ack.connect_back.options, key, f"{channel.name}/ack", channel.folder)
        for name, destination in channel.file.destinations.items():
            yield from _of(destination.options, key, f"{channel.name}/{name}", channel.folder)
    if site.site is not None:
        if site.site.dicom is not None:
            yield from _of(site.site.dicom, key, "dicom", site.folder)
        if site.site.console is not None:
            yield from _of(site.site.console, key, "console", site.folder)
        for name in ("audit", "traces"):
            if (options := getattr(site.site, name)) is not None:
                yield from _of(options, key, name, site.folder)
        for name, hand_off in site.site.hand_offs.items():
            yield from _of(hand_off, key, f"hand_offs/{name}", site.folder)


def _of(model: BaseModel, key: str, place: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Options of any kind, also those of a plug-in: what is called `certificate` in them is one."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _of(value, key, place, folder)
        elif name == key and isinstance(value, str | Path) and value:
            yield place, folder / value
