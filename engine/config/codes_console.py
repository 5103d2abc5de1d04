"""E50x: the console itself."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

CONSOLE: Final[Stories] = MappingProxyType(
    {
        "E500": Story(
            "nobody reaches the console",
            "Its port cannot be opened: another program has it, the address is none of this machine's, or its "
            "certificate cannot be read. The engine takes and delivers messages all the same and is ready: nobody's "
            "results should wait for a page. It is tried again every 30 seconds.",
            "The log's line says what is in the way. Who has the port: ss -ltnp. Another port: console: {port: ...} in "
            "segmill.yaml, then start the engine anew. Until then the command line does all that the console does.",
            "console: {port: 8080}",
        ),
    }
)
