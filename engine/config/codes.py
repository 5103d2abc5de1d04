"""Every code there is, with its story. A code never changes its meaning and is never used again for another.

E is an error, W a warning, I only says something. 1xx: a site's files. 2xx: a message on its way through a channel,
and its storage. 3xx: what was odd about a message as it came, and was let pass. 4xx: an order on its way to a
worklist; 49x: what is looked at when something is wrong, and what messages are looked up by. 50x: the console. 56x
and 57x: other systems that the engine tells of itself, or asks who somebody is. 58x: encryption at rest.
"""

from types import MappingProxyType
from typing import Final

from engine.config.codes_access import ACCESS
from engine.config.codes_bench import BENCH
from engine.config.codes_channel import CHANNEL
from engine.config.codes_console import CONSOLE
from engine.config.codes_convert import CONVERT
from engine.config.codes_encryption import ENCRYPTION
from engine.config.codes_file import FILE
from engine.config.codes_message import MESSAGE
from engine.config.codes_messages_page import MESSAGES_PAGE
from engine.config.codes_operations import OPERATIONS
from engine.config.codes_outside import OUTSIDE
from engine.config.codes_profile import PROFILE
from engine.config.codes_runtime import RUNTIME
from engine.config.codes_worklist import WORKLIST
from engine.config.story import Stories, Story

__all__ = ["CODES", "Story"]

CODES: Final[Stories] = MappingProxyType(
    dict(
        sorted(
            {
                **FILE,
                **CHANNEL,
                **CONVERT,
                **PROFILE,
                **RUNTIME,
                **MESSAGE,
                **WORKLIST,
                **ACCESS,
                **CONSOLE,
                **OPERATIONS,
                **MESSAGES_PAGE,
                **BENCH,
                **OUTSIDE,
                **ENCRYPTION,
            }.items()
        )
    )
)
