"""Python's collector of cycles, set for a process that runs for months."""

import gc


def tune_collector() -> None:
    """What the start made stays for good, and messages make no cycles: look for cycles rarely, and only among the new.

    With the interpreter's defaults the collector walks everything that is alive thousands of times a minute.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
