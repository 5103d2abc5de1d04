"""Stories of what `segmill check --env` finds around a site: ports, folders, certificates, receivers."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

ENVIRONMENT: Final[Stories] = MappingProxyType(
    {
        "E160": Story(
            "a port that cannot be opened",
            "The address of a channel or of the admin server is in use by another process, is not an address of "
            "this machine, or is a port below 1024 that only root may open. The engine would not start.",
            "Find the process (ss -ltnp), or name another host or port. An engine that runs on the same site is "
            "no reason: its own ports are not tried.",
        ),
        "E161": Story(
            "a folder that takes no files",
            "The data folder, or the folder of a file destination, cannot be made or written to by the user that "
            "runs the command. Deliveries to such a folder wait until it can.",
            "Run the command as the user that runs the engine, then correct owner and permissions, or mount what is "
            "missing.",
        ),
        "E162": Story(
            "TLS files that cannot be used",
            "A certificate has expired, a key does not belong to its certificate, or a file holds something else.",
            "The message names the file; put the right one there.",
        ),
        "W160": Story(
            "a receiver that does not answer",
            "A connection to the host and port of a destination was tried, with TLS where the channel has it, and "
            "closed again; nothing was sent. Messages for it would wait in its lane, in order, until it answers.",
            "Check the host, the port and the firewall in between, or whether the receiver runs.",
        ),
    }
)
