"""Python's collector of cycles, set for a process that runs for months."""

import gc

RARELY = (50_000, 20, 50)


def expect_imports() -> None:
    """A command imports much that stays, and is over before anything else could grow: 5 % of its start."""
    gc.set_threshold(*RARELY)


def tune_collector() -> None:
    """What the start made stays for good, and messages make no cycles: look for cycles rarely, and only among the new.

    With the interpreter's defaults the collector walks everything that is alive thousands of times a minute.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*RARELY)
