"""Refusals, as RFC 9457 has them: a status, our code, and a sentence without anything of a message."""

from typing import Any, Final

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from engine.config.codes import CODES

MEDIA_TYPE: Final = "application/problem+json"


class ProblemBody(BaseModel):
    """RFC 9457. `code` is explained by `segmill explain CODE`."""

    type: str = Field(description="A URI of the code")
    title: str
    status: int
    code: str
    detail: str = ""


class Problem(Exception):
    """Ends a request. `headers` go with the answer."""

    def __init__(self, status: int, code: str, detail: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers or {}

    def answer(self) -> JSONResponse:
        body: dict[str, Any] = {
            "type": f"urn:segmill:{self.code}",
            "title": CODES[self.code].title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        return JSONResponse(body, self.status, self.headers, media_type=MEDIA_TYPE)


def not_signed_in(detail: str = "") -> Problem:
    return Problem(401, "E471", detail, {"www-authenticate": 'Bearer realm="segmill"'})


def not_there(detail: str = "") -> Problem:
    return Problem(404, "E478", detail)


def not_allowed(detail: str = "") -> Problem:
    return Problem(403, "E472", detail)


def not_understood(detail: str, status: int = 422) -> Problem:
    return Problem(status, "E476", detail)
