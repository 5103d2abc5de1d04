"""Reaches the engine that runs on a data folder, and says what to do where there is none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from engine.adapters.control_client import AskFailed, ControlClient, NotAllowed, NotRunning
from engine.cli.exits import FINDINGS, NOT_ALLOWED, TRY_AGAIN, UNREACHABLE, Failure

BATCH: Final = 500
"""How many messages one request names, so that each is answered long before its time-out."""


class RunningEngine:
    """The engine of one data folder. Every question may end in a Failure with the right exit code."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._client = ControlClient(data)

    def status(self) -> dict[str, Any]:
        return self._ask(None, "/v1/status")

    def plan(self) -> dict[str, Any]:
        return self._ask(None, "/v1/plan")

    def reload(self) -> dict[str, Any]:
        return self._ask({}, "/v1/reload")

    def retention(self, *, confirm: bool) -> dict[str, Any]:
        return self._ask({} if confirm else None, "/v1/retention")

    def queries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask(None, "/v1/queries")["queries"]
        return found

    def do(self, path: str, **body: Any) -> dict[str, Any]:
        """What a POST to `path` comes to."""
        return self._ask(body, path)

    def hand_offs(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask(None, "/v1/hand_offs")["hand_offs"]
        return found

    def order(self, action: str, **order: Any) -> "Done":
        """Have something done, as it was planned; asks again, with its key, while it is under way."""
        is_ours = False
        while True:
            answer = self._ask({"action": action, **order}, "/v1/order")
            if not answer.get("running"):
                done = Done()
                done.add(answer)
                done.done_before = bool(answer.get("done_before")) and not is_ours
                return done
            is_ours = True  # and may have come to its end between two questions

    def paused(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._ask(None, "/v1/paused")["paused"]
        return found

    def act(self, action: str, seqs: Sequence[int], **more: Any) -> "Done":
        """Do `action` (release, resend, reprocess, discard) to `seqs`, in order, a batch at a time."""
        done = Done()
        for start in range(0, len(seqs), BATCH):
            done.add(self._ask({"seqs": list(seqs[start : start + BATCH]), **more}, f"/v1/{action}"))
        return done

    def _ask(self, body: dict[str, Any] | None, path: str) -> dict[str, Any]:
        try:
            return self._client.get(path) if body is None else self._client.post(path, body)
        except NotRunning:
            raise Failure(
                UNREACHABLE,
                f"no engine is running on {self._data}",
                "Start it: segmill run SITE. If it runs as another user, use this command as that user.",
            ) from None
        except NotAllowed:
            raise Failure(
                NOT_ALLOWED, f"the engine on {self._data} belongs to another user", "Use this command as that user."
            ) from None
        except AskFailed as exc:
            raise Failure(TRY_AGAIN if exc.is_temporary else FINDINGS, str(exc)) from None


class Done:
    """What an action came to."""

    def __init__(self) -> None:
        self.messages = 0
        self.deliveries = 0
        self.left: list[tuple[int, str]] = []
        self.more_left = 0
        self.made: list[int] = []
        self.steps = 0
        self.done_before = False

    def add(self, answer: dict[str, Any]) -> None:
        self.messages += answer["messages"]
        self.deliveries += answer["deliveries"]
        self.left += [(row["seq"], row["reason"]) for row in answer["left"]]
        self.more_left += answer["more_left"]
        self.made += answer["made"]
        self.steps += answer.get("steps", 0)
