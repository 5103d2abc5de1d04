"""The site's DICOM port: which scanners may ask for a worklist, and how each is answered."""

from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from engine.config.base import ConfigModel, did_you_mean
from engine.config.finding import BadValue
from engine.config.listen import ListenTls
from engine.config.status_back import StatusOptions
from engine.config.units import Duration
from engine.worklist.stations import is_ae_title

CHARSETS: Final = (
    "ISO_IR 6",
    *(f"ISO_IR {number}" for number in (100, 101, 109, 110, 144, 127, 126, 138, 148, 13, 166, 192)),
    "GB18030",
    "GBK",
    *(f"\\ISO 2022 IR {number}" for number in (87, 159, 149, 58)),
    "\\ISO 2022 IR 87\\ISO 2022 IR 159",
    "ISO 2022 IR 13\\ISO 2022 IR 87",
)
"""What (0008,0005) of an answer may be (PS3.3 section C.12.1.1.2)."""


def _charset(value: object) -> object:
    if isinstance(value, str) and value not in CHARSETS:
        raise BadValue(f"'{value[:40]}' is no character set of DICOM", did_you_mean(value, CHARSETS), code="E105")
    return value


def check_title(title: str) -> str:
    """An AE title: up to 16 characters of ASCII, not blank, no backslash. Raises BadValue."""
    if not is_ae_title(title) or title != title.strip(" "):
        raise BadValue(f"'{title[:40]}' is no AE title", "up to 16 ASCII characters, no backslash", code="E107")
    return title


Charset = Annotated[str, BeforeValidator(_charset), WithJsonSchema({"enum": list(CHARSETS)})]


Accents = Literal["exact", "fold"]


class ModalityOptions(ConfigModel):
    """How one calling AE title is answered."""

    charset: Charset = Field(default="ISO_IR 192", description="Character set of its answers; ISO_IR 192 is UTF-8")
    own_items_only: bool = Field(
        default=False, description="Whether it sees no steps but those for its own AE title, whatever it asks for"
    )
    associations: int = Field(default=10, ge=1, le=1000, description="How many it may have open at a time")
    accents: Accents | None = Field(default=None, description="For this scanner another than the port's accents")


class QueryLogOptions(ConfigModel):
    """What is kept of the queries that scanners make, in memory; the log has a line for each."""

    keep: int = Field(default=500, ge=0, le=100_000, description="How many queries are kept")
    patients: bool = Field(
        default=False, description="Whether what was asked for of patients is kept, too; never in the log"
    )


class DicomLimits(ConfigModel):
    """Bounds of the DICOM port."""

    associations: int = Field(default=100, ge=1, le=10_000, description="Open associations of all together")
    answers: int = Field(default=1000, ge=1, le=100_000, description="Answers to one query; then it ends with A700")
    hello: Duration = Field(default=5.0, ge=0.1, le=60, description="How long a connection may say nothing at first")
    network: Duration = Field(default=30.0, ge=1, le=3600, description="How long an association may say nothing")


class DicomOptions(ConfigModel):
    """A DICOM server for scanners: modality worklist, performed procedure steps (MPPS), and C-ECHO."""

    host: str = Field(default="0.0.0.0", min_length=1, description="Address to listen on")  # noqa: S104
    port: int = Field(default=11112, ge=0, le=65535, description="TCP port; 0 takes a free one")
    ae_title: str = Field(default="SEGMILL", description="Its AE title")
    called: tuple[str, ...] = Field(default=(), description="AE titles it may be called by; without them any")
    worklist: str = Field(
        default="main", pattern="^[a-z0-9-]{1,63}$", description="The name that worklist destinations have"
    )
    modalities: dict[str, ModalityOptions] = Field(default_factory=dict, description="Scanners, by their AE title")
    others: Literal["accept", "refuse"] = Field(
        default="accept", description="What becomes of calling AE titles that are not in modalities"
    )
    accents: Accents = Field(
        default="exact", description="Whether names match with their accents, or (fold) é as e; ue never is ü"
    )
    mpps: bool = Field(default=True, description="Whether performed procedure steps are taken, and move the steps")
    status: StatusOptions | None = Field(
        default=None, description="Who is told when a scanner or a person moves a step; without it nobody"
    )
    tls: ListenTls | None = Field(default=None, description="TLS; without it the port is plain. Files: from the site")
    limits: DicomLimits = Field(default_factory=DicomLimits, description="Bounds")
    query_log: QueryLogOptions = Field(default_factory=QueryLogOptions, description="What is kept of queries")

    @field_validator("ae_title")
    @classmethod
    def _is_a_title(cls, title: str) -> str:
        return check_title(title)

    @field_validator("called")
    @classmethod
    def _are_titles(cls, titles: tuple[str, ...]) -> tuple[str, ...]:
        for title in titles:
            check_title(title)
        return titles

    @field_validator("modalities")
    @classmethod
    def _callers_are_titles(cls, modalities: dict[str, ModalityOptions]) -> dict[str, ModalityOptions]:
        for title in modalities:
            check_title(title)
        return modalities

    def folds_accents(self, calling: str) -> bool:
        """Whether names that this AE title asks for match without regard to accents."""
        own = self.modalities[calling].accents if calling in self.modalities else None
        return (own or self.accents) == "fold"
