"""`segmill queue release`: the same as `segmill release`."""

from engine.cli.release import command

__all__ = ["command"]
