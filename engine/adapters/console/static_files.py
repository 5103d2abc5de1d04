"""Style sheets, scripts and pictures of the console, as they ship, under an address that changes with them."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import StringConstraints
from starlette.responses import Response

from engine.adapters.api.entries import ApiModel, Call, Page
from engine.adapters.api.problems import not_there

MEDIA: Final[Mapping[str, str]] = MappingProxyType(
    {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
)


@dataclass(slots=True, frozen=True)
class Static:
    """All of them by name. `hash`: of all, so that a script that loads another one gets the same version of it."""

    hash: str
    files: Mapping[str, bytes]


@cache
def static_files() -> Static:
    """Read once; they do not change while the engine runs."""
    folder = files("engine.adapters.console").joinpath("static")
    found = {one.name: one.read_bytes() for one in folder.iterdir() if one.name.rpartition(".")[2] in MEDIA}
    digest = hashlib.sha256()
    for name in sorted(found):
        digest.update(f"{name} {len(found[name])}\n".encode() + found[name])
    return Static(digest.hexdigest()[:12], MappingProxyType(found))


def static(name: str) -> str:
    """The address of one. KeyError for a name that is none: a template's mistake."""
    known = static_files()
    known.files[name]
    return f"/static/{known.hash}/{name}"


class StaticPath(ApiModel):
    hash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{12}$")]
    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,40}\.[a-z]{2,3}$")]


async def serve(call: Call) -> Response:
    """A browser keeps it for good, where it asked for this very version."""
    asked, known = call.the_path(StaticPath), static_files()
    if asked.name not in known.files:
        raise not_there()
    kept = "public, max-age=31536000, immutable" if asked.hash == known.hash else "no-store"
    media = MEDIA[asked.name.rpartition(".")[2]]
    return Response(known.files[asked.name], headers={"content-type": media, "cache-control": kept})


async def icon(call: Call) -> Response:
    """Browsers ask for it by this name where a page does not say another one, as one that is a part of a page."""
    headers = {"content-type": MEDIA["svg"], "cache-control": "public, max-age=86400"}
    return Response(static_files().files["icon.svg"], headers=headers)


PAGES: Final = (
    Page(
        "GET",
        "/favicon.ico",
        "public",
        "site",
        "The picture of the console",
        icon,
        "console",
        media="image/svg+xml",
    ),
    Page(
        "GET",
        "/static/{hash}/{name}",
        "public",
        "site",
        "A style sheet, script or picture of the console",
        serve,
        "console",
        path_model=StaticPath,
        media="application/octet-stream",
    ),
)
