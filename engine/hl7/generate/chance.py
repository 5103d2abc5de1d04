"""Chance that is the same every time: a seed and some words make the same choices on every machine."""

from random import Random


def chance_of(*words: object) -> Random:
    """A source of choices that depends on `words` alone.

    Seeded with a text, Python's generator gives the same numbers in all its versions from 3.2 on.
    """
    return Random("\x1f".join(map(str, words)))  # noqa: S311 - the same every time, no secret
