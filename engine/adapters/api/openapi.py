"""The OpenAPI 3.1 document, made from the table of routes and its models."""

import re
from collections.abc import Sequence
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from engine import __version__
from engine.adapters.api.entries import Entry, Nothing
from engine.adapters.api.problems import MEDIA_TYPE, ProblemBody

REF: Final = "#/components/schemas/{model}"
EVERYWHERE: Final = {
    400: "It is not understood",
    413: "It is too large",
    415: "It is not JSON",
    421: "The Host is none of ours",
    422: "It is not what this address takes",
    500: "A defect of Segmill",
    503: "The engine cannot answer now",
}
SIGNED_IN: Final = {401: "Nobody is signed in", 403: "Not allowed", 404: "Nothing is there"}
CHANGING: Final = {409: "It has changed, or cannot be"}


def document(entries: Sequence[Entry]) -> dict[str, Any]:
    """As JSON. Every schema is made from the model that reads or writes it."""
    used: dict[type[BaseModel], Literal["serialization", "validation"]] = {ProblemBody: "serialization"}
    for entry in entries:
        if entry.answer is not None:
            used[entry.answer] = "serialization"
        if entry.body is not None:
            used[entry.body] = "validation"
    refs, defs = models_json_schema(list(used.items()), ref_template=REF)
    named: dict[object, str] = {model: ref["$ref"] for (model, _), ref in refs.items()}
    paths: dict[str, dict[str, Any]] = {}
    for entry in entries:
        paths.setdefault(entry.path, {})[entry.method.lower()] = _operation(entry, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Segmill",
            "version": __version__,
            "description": "What people and programs may ask of a Segmill engine. Refusals are RFC 9457 problems; "
            "their code is explained by `segmill explain CODE`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": defs.get("$defs", {}),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "segmill"},
            },
        },
    }


def _operation(entry: Entry, named: dict[object, str]) -> dict[str, Any]:
    answers: dict[str, Any] = {str(entry.status): _good(entry, named)}
    if entry.path.endswith("/ready"):
        answers["503"] = {"description": "Not ready", "content": _content("application/json", named[_the(entry)])}
    refusals = dict(EVERYWHERE)
    if entry.need != "public":
        refusals |= SIGNED_IN
    elif not entry.is_safe:
        refusals |= {401: "Name or password is wrong", 403: "It was sent by another site", 429: "Too many attempts"}
    if not entry.is_safe:
        refusals |= CHANGING
    if entry.path.endswith(("/password", "/second-factor", "/second-factor/off")):
        refusals |= {429: "Too many attempts"}
    problem = _content(MEDIA_TYPE, named[ProblemBody])
    for status, sentence in sorted(refusals.items()):
        answers.setdefault(str(status), {"description": sentence, "content": problem})
    made: dict[str, Any] = {
        "operationId": re.sub(r"[^a-z0-9]+", "_", f"{entry.method} {entry.path}".lower()).strip("_"),
        "summary": entry.summary,
        "description": _told(entry),
        "tags": [entry.tag],
        "responses": answers,
        "security": [] if entry.need == "public" else [{"token": []}, {"session": []}],
    }
    if parameters := [*_parameters(entry.path_model, "path"), *_parameters(entry.query, "query")]:
        made["parameters"] = parameters
    if entry.body is not None:
        made["requestBody"] = {"required": True, "content": _content("application/json", named[entry.body])}
    return made


def _told(entry: Entry) -> str:
    if entry.need == "public":
        told = "Anybody may ask."
    elif entry.need == "self":
        told = "Whoever is signed in may ask."
    else:
        told = f"Needs the permission '{entry.need}' for {'the site' if entry.scope == 'site' else 'the channel'}."
    return f"{told} On record as: {', '.join(entry.record.split())}." if entry.record else told


def _the(entry: Entry) -> type[BaseModel]:
    assert entry.answer is not None
    return entry.answer


def _good(entry: Entry, named: dict[object, str]) -> dict[str, Any]:
    if entry.answer is not None:
        return {"description": "Done", "content": _content(entry.media, named[entry.answer])}
    return {"description": "Done", "content": {entry.media: {}}}


def _content(media: str, ref: str) -> dict[str, Any]:
    return {media: {"schema": {"$ref": ref}}}


def _parameters(model: type[BaseModel], where: str) -> list[dict[str, Any]]:
    if model is Nothing:
        return []
    schema = model.model_json_schema(ref_template=REF)
    required = schema.get("required", [])
    found = []
    for name, described in schema["properties"].items():
        one = {"name": name, "in": where, "required": where == "path" or name in required, "schema": _plain(described)}
        if described.get("type") == "array":
            one |= {"style": "form", "explode": True}
        found.append(one)
    return found


def _plain(described: dict[str, Any]) -> dict[str, Any]:
    """Of a parameter that may be left out: what it is when it is there. No text is a null."""
    shown = {key: value for key, value in described.items() if key not in ("title", "default")}
    if "anyOf" in shown:
        others = [one for one in shown["anyOf"] if one.get("type") != "null"]
        if len(others) == 1:
            del shown["anyOf"]
            return {**others[0], **shown}
        shown["anyOf"] = others
    return shown
