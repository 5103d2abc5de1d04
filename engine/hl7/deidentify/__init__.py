"""Messages with pseudonyms in the place of what says who a patient is: see `message` and `pseudonym`."""

from engine.hl7.deidentify.message import Deidentifier as Deidentifier
from engine.hl7.deidentify.pseudonym import SHORTEST_KEY as SHORTEST_KEY
