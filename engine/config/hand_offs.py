"""Worklists that others serve: who gets the steps of a worklist, and how (dicom.md section 3)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator, model_validator

from engine.config.base import ConfigModel, Reading, did_you_mean
from engine.config.dicom import Charset
from engine.config.finding import BadValue, ConfigFinding, Position, at
from engine.config.listen import is_loopback
from engine.config.types import FileText, FolderText
from engine.config.units import Duration

KINDS: Final = ("folder", "orthanc", "dcm4chee")
_TITLE: Final = re.compile(r"[A-Za-z0-9:@_-](?:[A-Za-z0-9 :@_-]{0,14}[A-Za-z0-9:@_-])?")


def is_folder_title(title: str) -> bool:
    """Whether an AE title may be the name of a folder: what wlmscpfs takes (letters, digits, blank, `-:@_`)."""
    return _TITLE.fullmatch(title) is not None


class FolderOptions(ConfigModel):
    """A folder of `.wl` files, for dcmtk's wlmscpfs or an Orthanc worklist plugin that reads a folder."""

    path: FolderText = Field(description="The folder; relative to the site")
    titles: tuple[str, ...] = Field(
        default=(), description="For wlmscpfs: a subfolder for each AE title that it is called by, with all steps"
    )
    by_station: bool = Field(
        default=False, description="For wlmscpfs: a subfolder for each station's AE title, with that station's steps"
    )
    charset: Charset = Field(default="ISO_IR 192", description="Character set of the files; ISO_IR 192 is UTF-8")

    @field_validator("titles")
    @classmethod
    def _are_folders(cls, titles: tuple[str, ...]) -> tuple[str, ...]:
        for title in titles:
            if not is_folder_title(title):
                hint = "up to 16 letters, digits, blanks and -:@_"
                raise BadValue(f"'{title[:40]}' cannot be a folder of wlmscpfs", hint, code="E452")
        return titles


class RestTls(ConfigModel):
    """TLS to an API. An empty mapping checks its certificate against the system's authorities."""

    ca: FileText | None = Field(
        default=None, description="Authorities that may have signed its certificate, PEM; relative to the site"
    )
    certificate: FileText | None = Field(default=None, description="What we show to who asks, PEM with its chain")
    key: FileText | None = Field(default=None, description="The certificate's key; default: in the same file")
    server_name: str | None = Field(
        default=None, description="The name in its certificate, where it is not that of the url"
    )
    verify: bool = Field(default=True, description="false: encrypt, but believe any certificate")


class RestOptions(ConfigModel):
    """An API that steps are handed over to."""

    url: str = Field(description="Where it is: http://host:port or https://...")
    user: str | None = Field(default=None, min_length=1, description="Name to log in with (HTTP Basic)")
    password: str | None = Field(default=None, min_length=1, repr=False, description="Its password: ${file:...}")
    timeout: Duration = Field(default=30.0, gt=0, description="How long an answer may take")
    connect_timeout: Duration = Field(default=10.0, gt=0, description="How long name, TCP and TLS together may take")
    tls: RestTls | None = None

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: str) -> str:
        hint = "such as https://orthanc.local:8042"
        try:
            parts = urlsplit(value)
            port = parts.port
        except ValueError as error:
            raise BadValue("is not a URL", hint) from error
        if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
            raise BadValue("is not the URL of an HTTP server", hint)
        if parts.username is not None or parts.password is not None:
            raise BadValue("must not hold a password", "give user and password as keys of their own")
        if parts.query or parts.fragment:
            raise BadValue("must not have a query", hint)
        return value.rstrip("/")

    @model_validator(mode="after")
    def _login_is_whole(self) -> "RestOptions":
        if (self.user is None) != (self.password is None):
            raise BadValue("has a user or a password, and not both", "give user and password, or neither", code="E103")
        if self.tls is not None and not self.url.startswith("https:"):
            raise BadValue("has tls, and a url that is not https", "write https://", code="E107")
        return self

    @property
    def server(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


class OrthancOptions(RestOptions):
    """Orthanc with its worklists plugin (Orthanc 1.12.9 and later), by its REST API."""

    missing: Literal["leave", "write"] = Field(
        default="leave",
        description="What becomes of steps that were handed over and that Orthanc has no more. It takes off what images"
        " have come of (DeleteWorklistsOnStableStudy), so they are left off; write: they are written again",
    )


class OauthOptions(ConfigModel):
    """A token from an identity provider such as Keycloak (OAuth 2.0 client credentials, RFC 6749 section 4.4)."""

    url: str = Field(pattern="^https?://[^/?#]+", description="Where tokens are asked for")
    client: str = Field(min_length=1, description="The client's id")
    secret: str = Field(min_length=1, repr=False, description="Its secret: ${file:...}")


class Dcm4cheeOptions(RestOptions):
    """dcm4chee-arc-light, by its REST API: `url` ends with `/aets/TITLE/rs`."""

    oauth: OauthOptions | None = Field(default=None, description="Where it asks for a token")
    patients: Literal["create", "update", "leave"] = Field(
        default="create",
        description="What becomes of a patient that the archive does not know: create it; update: and keep it as the"
        " worklist has it; leave: the step waits until the archive knows its patient",
    )
    ended: Literal["status", "delete"] = Field(
        default="status",
        description="What becomes of steps that were begun or have ended: their status is set, or they go",
    )

    @field_validator("url")
    @classmethod
    def _names_an_archive(cls, value: str) -> str:
        if not re.search(r"/aets/[^/]+/rs$", value):
            hint = "such as https://archive.local:8443/dcm4chee-arc/aets/WORKLIST/rs"
            raise BadValue("does not end with /aets/TITLE/rs", hint)
        return value

    @model_validator(mode="after")
    def _has_one_login(self) -> "Dcm4cheeOptions":
        if self.oauth is not None and self.user is not None:
            raise BadValue("has a user and oauth", "give one of them", code="E103")
        return self


class HandOffOptions(ConfigModel):
    """Who gets the steps of one worklist: one of `folder`, `orthanc` and `dcm4chee`."""

    worklist: str = Field(
        default="main", pattern="^[a-z0-9-]{1,63}$", description="The name that worklist destinations have"
    )
    folder: FolderOptions | None = Field(default=None, description="A folder of `.wl` files")
    orthanc: OrthancOptions | None = Field(default=None, description="Orthanc's REST API for worklists")
    dcm4chee: Dcm4cheeOptions | None = Field(default=None, description="dcm4chee's REST API for worklist items")

    @model_validator(mode="after")
    def _goes_to_one(self, info: ValidationInfo) -> "HandOffOptions":
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        reading = info.context
        if not given and isinstance(reading, Reading) and any(one.code == "E101" for one in reading.findings):
            return self  # its kind is misspelt, and that was told
        if len(given) != 1:
            what = f"goes to {' and '.join(given)}" if given else "goes nowhere"
            raise BadValue(what, "name one of folder, orthanc and dcm4chee", code="E451")
        return self

    @property
    def rest(self) -> RestOptions | None:
        """The API, where it is one."""
        return self.orthanc or self.dcm4chee

    @property
    def kind(self) -> str:
        """folder, orthanc or dcm4chee."""
        return next(kind for kind in KINDS if getattr(self, kind) is not None)


HandOffName = Annotated[str, Field(pattern="^[a-z0-9-]{1,40}$")]


def check_hand_offs(
    hand_offs: Mapping[str, HandOffOptions],
    worklists: Sequence[str] | None,
    places: Mapping[tuple[str | int, ...], Position],
    site: Path,
) -> Iterator[ConfigFinding]:
    """What is wrong between hand-offs, and with what they name. `worklists`: those channels feed; None: unknown."""

    def place(name: str, *keys: str) -> Position:
        for length in range(len(keys), -1, -1):
            if found := places.get(("hand_offs", name, *keys[:length])):
                return found
        return Position("segmill.yaml", 1, 1)

    folders: dict[str, Path] = {}
    for name, options in hand_offs.items():
        if worklists is not None and options.worklist not in worklists:
            hint = did_you_mean(options.worklist, worklists) or "without name: it is called main"
            message = f"no channel feeds a worklist named '{options.worklist}'"
            yield at(place(name, "worklist"), "W440", message, hint)
        if options.folder is not None:
            path = (site / options.folder.path).resolve()
            for other, taken in folders.items():
                if path == taken or path in taken.parents or taken in path.parents:
                    message = f"the folder is that of hand-off '{other}', or one lies in the other"
                    yield at(place(name, "folder", "path"), "E453", message, "give each a folder of its own")
            folders[name] = path
        rest = options.rest
        if rest is None:
            continue
        host = rest.server[0]
        if rest.url.startswith("http:") and not is_loopback(host):
            message = f"plain text to {host}: patients' names can be read on the way"
            yield at(place(name, options.kind, "url"), "W165", message, "write https://")
        if rest.tls is not None:
            for key in ("ca", "certificate", "key"):
                file = getattr(rest.tls, key)
                if file is not None and not (site / file).is_file():
                    where = place(name, options.kind, "tls", key)
                    yield at(where, "E132", f"cannot read {file}: there is no such file")
