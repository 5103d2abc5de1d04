"""A client of the language server protocol: as much of it as an editor needs to complete, explain and complain."""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ANSWER_WITHIN_S = 60.0
"""On a slow, busy machine; a healthy server answers in milliseconds."""


@dataclass
class Seen:
    """What an editor shows at one place: what could stand there, by label with its explanation, and the hover."""

    offered: dict[str, str]
    hover: str


@dataclass
class LanguageServer:
    """One server on one folder, with the settings that an editor would hand it."""

    process: asyncio.subprocess.Process
    site: Path
    settings: Mapping[str, Any]
    _number: int = 0
    _said: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    async def start(cls, script: Path, site: Path) -> "LanguageServer":
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            "node", str(script), "--stdio", cwd=site, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL
        )
        schemas = json.loads((site / ".vscode" / "settings.json").read_text())["yaml.schemas"]
        by_address = {(site / name).as_uri(): pattern for name, pattern in schemas.items()}
        settings = {"yaml": {"schemas": by_address, "completion": True, "hover": True, "validate": True}}
        server = cls(process, site, settings)
        await server._ask(
            "initialize",
            {
                "processId": os.getpid(),
                "rootUri": site.as_uri(),
                "workspaceFolders": [{"uri": site.as_uri(), "name": site.name}],
                "capabilities": {
                    "workspace": {"configuration": True},
                    "textDocument": {"completion": {"completionItem": {"documentationFormat": ["markdown"]}}},
                },
            },
        )
        await server._tell("initialized", {})
        await server._tell("workspace/didChangeConfiguration", {"settings": settings})
        await server._until_it_knows_the_schema()
        return server

    async def _until_it_knows_the_schema(self) -> None:
        """It takes its settings up while it answers already: until it complains about an unknown key, it knows none."""
        document = await self._open("channels/adt/channel.yaml", "no-such-key: 1\n")
        while not any(
            said.get("method") == "textDocument/publishDiagnostics" and said["params"]["diagnostics"]
            for said in self._said
        ):
            await self._take()
        await self._tell("textDocument/didClose", {"textDocument": document})

    async def stop(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def at(self, text: str, path: str = "channels/adt/channel.yaml") -> Seen:
        """What is shown where `|` stands in a file of this text."""
        before, _, behind = text.partition("|")
        line, column = before.count("\n"), len(before.rpartition("\n")[2])
        document = await self._open(path, before + behind)
        place = {"textDocument": document, "position": {"line": line, "character": column}}
        found = await self._ask("textDocument/completion", place)
        hover = await self._ask("textDocument/hover", place)
        await self._tell("textDocument/didClose", {"textDocument": document})
        items = found["items"] if isinstance(found, dict) else found or []
        return Seen(
            {item["label"]: _text(item.get("documentation")) for item in items}, _text((hover or {}).get("contents"))
        )

    async def complaints(self, text: str, path: str = "channels/adt/channel.yaml") -> list[str]:
        """What is underlined in a file of this text: line, from 1, and sentence.

        A key of ours at its end says when the server has looked at this text and no earlier one.
        """
        ours = f"asked-{self._number}"
        document = await self._open(path, f"{text}\n{ours}: 1\n")
        while True:
            for said in self._said:
                if said.get("method") == "textDocument/publishDiagnostics":
                    found = said["params"]["diagnostics"]
                    if any(ours in one["message"] for one in found):
                        await self._tell("textDocument/didClose", {"textDocument": document})
                        others = (one for one in found if ours not in one["message"])
                        return [f"{one['range']['start']['line'] + 1}: {one['message']}" for one in others]
            self._said.clear()
            await self._take()

    async def _open(self, path: str, text: str) -> dict[str, str]:
        self._said.clear()
        uri = (self.site / path).as_uri()
        self._number += 1  # the server keeps what it parsed by version, also when a file was closed in between
        opened = {"uri": uri, "languageId": "yaml", "version": self._number, "text": text}
        await self._tell("textDocument/didOpen", {"textDocument": opened})
        return {"uri": uri}

    async def _ask(self, method: str, parameters: Mapping[str, Any]) -> Any:
        self._number += 1
        number = self._number
        await self._send({"id": number, "method": method, "params": parameters})
        while True:
            said = await self._take()
            if said.get("id") == number and "method" not in said:
                assert "error" not in said, said
                return said["result"]

    async def _take(self) -> dict[str, Any]:
        """The next thing the server says; what it asks for is answered."""
        said = await asyncio.wait_for(self._read(), ANSWER_WITHIN_S)
        if "method" in said and "id" in said:
            asked = said["params"]["items"] if said["method"] == "workspace/configuration" else None
            result = [self.settings.get(item.get("section"), {}) for item in asked] if asked is not None else None
            await self._send({"id": said["id"], "result": result})
        elif "method" in said:
            self._said.append(said)
        return said

    async def _tell(self, method: str, parameters: Mapping[str, Any]) -> None:
        await self._send({"method": method, "params": parameters})

    async def _send(self, message: Mapping[str, Any]) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await self.process.stdin.drain()

    async def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        length = 0
        while line := (await self.process.stdout.readline()).strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        assert length, "the language server has ended"
        said = json.loads(await self.process.stdout.readexactly(length))
        assert isinstance(said, dict)
        return said


def _text(documentation: Any) -> str:
    """Markdown or plain text, as it is given."""
    if isinstance(documentation, dict):
        return str(documentation.get("value", ""))
    return str(documentation or "")
