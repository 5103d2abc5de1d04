"""E53x: what is tried in the console, and what is planned there."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

BENCH: Final[Stories] = MappingProxyType(
    {
        "E530": Story(
            "what was tried took too much",
            "A text that somebody edits in the console, and a channel's own Python, run in a process apart, of low "
            "priority, with bounds of processor time (2 s), time (10 s) and memory. Past them, or where the code ends "
            "its process or writes into its answer, the process is killed; the engine and its messages are not "
            "touched. The same code is shown where a dozen people try something at once.",
            "Look for a loop in steps.py, or an `each` over very many segments; `segmill try` runs the same at the "
            "terminal, without a bound of memory, where a debugger helps. Where many try: a moment later.",
        ),
        "E531": Story(
            "a reference is not looked up while a text is tried",
            "A text that is being edited in the console may hold ${NAME}. What it stands for is known for references "
            "that the file on disk has, and that are no secrets; for secrets and ${file:...} something else stands "
            "in. Others are not looked up: whoever edits a text could else read the engine's environment with it.",
            "Give it a default, ${NAME:-value}, or write the value while you try. After a reload the engine looks it "
            "up as ever.",
            "set: {MSH-4: ${SITE}}",
        ),
        "E532": Story(
            "something changed since it was shown",
            "What was confirmed is not what would be done now: files on disk changed in between. Nothing was done.",
            "Look at it again, and confirm what you see.",
        ),
    }
)
