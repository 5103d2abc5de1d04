"""The Python files of a channel, run as modules: in a worker process, or in the terminal of who wrote them."""

import builtins
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from engine.config.finding import BadValue
from engine.pipeline.stops import OwnWords, StepStop


class OwnCodeError(BadValue):
    """A file of the channel that does not load, or lacks the function. Says where, and the kind of exception only."""


class OwnCode:
    """Loads each file once, from the bytes that make the channel's version: never from the disk.

    A file imports another of the channel's folder by its name (`import wards` for wards.py), and whatever
    is installed.
    """

    def __init__(self, channel: str, files: Mapping[str, bytes], at_step: Callable[[int], None] | None = None) -> None:
        self._channel = channel
        self._files = files
        self._modules: dict[str, ModuleType] = {}
        self._at_step = at_step
        self._steps = 0
        self._words = OwnWords(content for name, content in files.items() if name.endswith(".py"))

    def function(self, file: str, name: str) -> Callable[..., object]:
        """A function of a file; what it raises to stop a message has its author's words only. Raises OwnCodeError."""
        found: object = getattr(self._module(file), name, None)
        if not callable(found):
            raise OwnCodeError(f"{file} has no function {name}", code="E134")
        call: Callable[..., object] = found

        def speaking_its_own_words(*arguments: object) -> object:
            try:
                return call(*arguments)
            except StepStop as stop:
                self._words.only(stop)
                raise

        return speaking_its_own_words

    def step(self, file: str, name: str) -> Callable[..., object]:
        """The function of one more step; `at_step` is told when it begins, and with 0 when it has ended."""
        call = self.function(file, name)
        at_step = self._at_step
        if at_step is None:
            return call
        self._steps += 1
        number = self._steps

        def told(*arguments: object) -> object:
            at_step(number)
            try:
                return call(*arguments)
            finally:
                at_step(0)

        return told

    def _module(self, file: str) -> ModuleType:
        if file in self._modules:
            return self._modules[file]
        # Under a name that no import statement can write; dataclasses and typing look modules up by name.
        module = ModuleType(f"channel:{self._channel}:{file}")
        module.__file__ = file
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        self._modules[file] = sys.modules[module.__name__] = module
        try:
            code = compile(self._files[file], file, "exec", dont_inherit=True)
            exec(code, module.__dict__)  # noqa: S102 - the site's own code, in a process made for it
        except Exception as error:
            del self._modules[file]
            raise OwnCodeError(f"{file} does not load: {_where(error, self._files)}", code="E135") from error
        return module

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: tuple[str, ...] = (),
        level: int = 0,
    ) -> ModuleType:
        if level == 0 and f"{name}.py" in self._files:
            return self._module(f"{name}.py")
        return builtins.__import__(name, globals, locals, fromlist, level)


def _where(error: BaseException, files: Mapping[str, bytes]) -> str:
    """The kind of exception, and the last line of the channel's own files on its way."""
    kind = type(error).__name__
    if isinstance(error, SyntaxError):
        return f"{kind} in line {error.lineno}"
    line, file = 0, ""
    here = error.__traceback__
    while here is not None:
        if here.tb_frame.f_code.co_filename in files:
            file, line = here.tb_frame.f_code.co_filename, here.tb_lineno
        here = here.tb_next
    return f"{kind} at {file}:{line}" if line else kind
