"""Asks a running engine through its control socket, from another process of the same user."""

import json
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from engine.adapters.control_socket import SOCKET_NAME, connect


class NotRunning(Exception):
    """No engine answers at this data folder."""


class NotAllowed(Exception):
    """The engine belongs to another user."""


class AskFailed(Exception):
    """The engine answered with an error. `is_temporary`: the same may succeed later."""

    def __init__(self, sentence: str, *, is_temporary: bool) -> None:
        super().__init__(sentence)
        self.is_temporary = is_temporary


class ControlClient:
    """One data folder's engine. Each question is a connection of its own."""

    def __init__(self, data_folder: Path, *, timeout_s: float = 75.0) -> None:
        self._path = data_folder / SOCKET_NAME
        self._timeout_s = timeout_s

    def get(self, path: str) -> dict[str, Any]:
        """The JSON answer to GET `path`. Raises NotRunning, NotAllowed or AskFailed."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The JSON answer to POST `path`. Raises NotRunning, NotAllowed or AskFailed."""
        return self._ask("POST", path, json.dumps(body))

    def text(self, path: str) -> tuple[int, str]:
        """Status and text of the answer to GET `path`. Raises as `get`."""
        connection = HTTPConnection("localhost")
        try:
            connection.sock = connect(self._path, self._timeout_s)
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode("utf-8", "replace")
        except PermissionError as exc:
            raise NotAllowed(str(self._path)) from exc
        except TimeoutError as exc:
            raise AskFailed(f"the engine did not answer within {self._timeout_s:g} s", is_temporary=True) from exc
        except HTTPException as exc:
            raise AskFailed("the engine closed the connection without an answer", is_temporary=True) from exc
        except OSError as exc:
            raise NotRunning(str(self._path)) from exc
        finally:
            connection.close()

    def ready(self) -> tuple[bool, str]:
        """Whether the engine takes messages, and its sentence."""
        status, text = self.text("/readyz")
        return status == 200, text.strip()

    def _ask(self, method: str, path: str, body: str | None) -> dict[str, Any]:
        connection = HTTPConnection("localhost")
        try:
            connection.sock = connect(self._path, self._timeout_s)
        except PermissionError as exc:
            raise NotAllowed(str(self._path)) from exc
        except OSError as exc:
            raise NotRunning(str(self._path)) from exc
        try:
            headers = {"content-type": "application/json"} if body is not None else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except TimeoutError as exc:
            raise AskFailed(f"the engine did not answer within {self._timeout_s:g} s", is_temporary=True) from exc
        except (OSError, HTTPException, ValueError) as exc:
            raise AskFailed("the engine closed the connection without an answer", is_temporary=True) from exc
        finally:
            connection.close()
        if not isinstance(answer, dict):
            raise AskFailed("the engine's answer is not understood", is_temporary=False)
        if response.status >= 400:
            raise AskFailed(str(answer.get("error", response.reason)), is_temporary=response.status in (409, 503))
        return answer
