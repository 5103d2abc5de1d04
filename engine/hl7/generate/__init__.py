"""Invented traffic: patients who are admitted, ordered for, resulted and discharged, as HL7 messages.

`journey` says what happens and when, `segments` tells it in HL7, `fit` makes it keep a profile's rules. All of it
follows from a seed, so that the same messages come every time; nobody in them exists.
"""

from engine.hl7.generate.chance import chance_of
from engine.hl7.generate.fit import Fitter, Satisfy, Segments, again
from engine.hl7.generate.journey import KNOWN, MESSAGES, Happening, Hospital, Kind, types_of
from engine.hl7.generate.pattern import sample_of
from engine.hl7.generate.people import can_be_written, families_for
from engine.hl7.generate.segments import AUTHORITY, Header, all_of, moment, segments_of

__all__ = [
    "AUTHORITY",
    "KNOWN",
    "MESSAGES",
    "Fitter",
    "Happening",
    "Header",
    "Hospital",
    "Kind",
    "Satisfy",
    "Segments",
    "again",
    "all_of",
    "can_be_written",
    "chance_of",
    "families_for",
    "moment",
    "sample_of",
    "segments_of",
    "types_of",
]
