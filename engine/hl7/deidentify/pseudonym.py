"""Pseudonyms that a secret decides: the same text always becomes the same, and nobody without the secret finds the way
back, or can try out who it was.

Identifiers keep their shape (digits stay digits, letters letters, marks stay): what reads them goes on to work. Within
a shape the mapping is one to one, so that two patients never become one: a Feistel network over the number that the
text is in its shape, walked until it falls within the shape again (J. Black, P. Rogaway, Ciphers with Arbitrary Finite
Domains, 2002).
"""

import base64
import hashlib
import re
import string
import unicodedata
from datetime import date, timedelta
from typing import Final

SHORTEST_KEY: Final = 16
"""Bytes. A word that can be guessed would let whoever guesses it try out names and numbers."""
LONGEST_SHAPED: Final = 64
"""Characters of a text that keeps its shape; a longer one is prose, or a document."""
_UID: Final = re.compile(r"(?=.{16,64}\Z)[0-2](\.(0|[1-9][0-9]*)){4,}", re.ASCII)
"""A DICOM UID or an OID (PS3.5 section 9.1). Its shape is no help: a part that begins with a zero makes it none."""
_PDF_IN_BASE64: Final = "JVBERi"
_BASE64: Final = re.compile(r"[A-Za-z0-9+/\s]{64,}={0,2}\s*", re.ASCII)
_ROUNDS: Final = 10
_WEEKS: Final = 52

_ALPHABETS: Final = {
    character: alphabet
    for alphabet in (string.digits, string.ascii_uppercase, string.ascii_lowercase)
    for character in alphabet
}
# fmt: off
FAMILIES: Final = (
    "Adler", "Bach", "Birke", "Bruck", "Dorn", "Eiche", "Erle", "Falke", "Fels", "Fink", "Garten", "Graben",
    "Hafen", "Hain", "Halde", "Heide", "Hirsch", "Hofer", "Igel", "Insel", "Kiefer", "Klee", "Kranich", "Lerche",
    "Linde", "Luchs", "Marder", "Moor", "Mohn", "Nebel", "Otter", "Palme", "Quelle", "Rabe", "Rebe", "Reiher",
    "Salm", "Sand", "Specht", "Stein", "Storch", "Tanne", "Teich", "Ulme", "Wald", "Weide", "Wiese", "Zeder",
)
GIVENS: Final = (
    "Ada", "Alma", "Arno", "Bela", "Cora", "Dana", "Egon", "Elsa", "Emil", "Enno", "Erna", "Fina", "Gero", "Hella",
    "Hugo", "Ida", "Ilka", "Ivo", "Jana", "Jorn", "Kaja", "Karl", "Lara", "Leo", "Lina", "Malte", "Mara", "Nils",
    "Nora", "Olaf", "Olga", "Paul", "Rika", "Rolf", "Runa", "Sina", "Sven", "Tara", "Theo", "Tilda", "Uwe", "Vera",
    "Willi",
)
# fmt: on
STREETS: Final = ("Ahornweg", "Bachgasse", "Dorfplatz", "Feldweg", "Gartenstr.", "Hauptstr.", "Lindenallee", "Ringstr.")
PLACES: Final = ("Altdorf", "Birkenau", "Eichfeld", "Neustadt", "Seehausen", "Talheim", "Waldkirch", "Weidenbach")


class Pseudonyms:
    """What a secret makes of texts. Raises ValueError for a key of fewer than SHORTEST_KEY bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"a key has {SHORTEST_KEY} bytes at least")
        self._key = hashlib.blake2b(key, digest_size=64, person=b"segmill-deid").digest()

    def shaped(self, text: str) -> str:
        """Another text of the same shape; one to one within it. What is beyond ASCII becomes `x`, a UID another."""
        if _UID.fullmatch(text):
            return f"2.25.{self._number('uid', text) >> 384}"  # as of a UUID, PS3.5 annex B.2
        if len(text) > LONGEST_SHAPED:
            return self.token(text)
        number, size = 0, 1
        for character in text:
            alphabet = _ALPHABETS.get(character)
            if alphabet is not None:
                number = number * len(alphabet) + alphabet.index(character)
                size *= len(alphabet)
        shape = "".join(_class(character) for character in text)
        number = self._permuted(number, size, shape)
        written: list[str] = []
        for character in reversed(text):
            alphabet = _ALPHABETS.get(character)
            if alphabet is None:
                # A byte that was no character of the message's set is none here, either.
                written.append(character if character.isascii() else "x")
                continue
            number, digit = divmod(number, len(alphabet))
            written.append(alphabet[digit])
        return "".join(reversed(written))

    def token(self, text: str) -> str:
        """For prose and documents: says only whether two were the same."""
        return f"text {self._number('text', text) % 16**8:08X}"

    def document(self, text: str) -> str:
        """A document as encapsulated data: where it was Base64, it is so again, and a PDF begins as one."""
        stub = self.token(text)
        if text.startswith(_PDF_IN_BASE64):
            stub = f"%PDF-1.4\n% {stub}\n%%EOF\n"
        elif not _BASE64.fullmatch(text):
            return stub
        return base64.b64encode(stub.encode()).decode()

    def family(self, text: str) -> str:
        return FAMILIES[self._number("family", _same(text)) % len(FAMILIES)]

    def given(self, text: str) -> str:
        return GIVENS[self._number("given", _same(text)) % len(GIVENS)]

    def street(self, text: str) -> str:
        number = self._number("street", _same(text))
        return f"{STREETS[number % len(STREETS)]} {number // 97 % 98 + 1}"

    def place(self, text: str) -> str:
        return PLACES[self._number("place", _same(text)) % len(PLACES)]

    def phone(self, text: str) -> str:
        """Of the numbers that no line has."""
        digits = "".join(character for character in text if character.isdigit())
        return f"555-01{self._number('phone', digits or text) % 100:02}"

    def shift(self, patient: str) -> timedelta:
        """By how much all dates of a patient are off: whole weeks, so that a Sunday stays one; never nothing."""
        weeks = self._number("shift", patient) % (2 * _WEEKS)
        return timedelta(weeks=weeks - _WEEKS if weeks < _WEEKS else weeks - _WEEKS + 1)

    def _permuted(self, number: int, size: int, shape: str) -> int:
        if size < 2:
            return number
        half = max(1, ((size - 1).bit_length() + 1) // 2)
        mask = (1 << half) - 1
        while True:
            left, right = number >> half, number & mask
            for turn in range(_ROUNDS):
                left, right = right, left ^ (self._number("shape", f"{turn} {right} {shape}") & mask)
            number = left << half | right
            if number < size:
                return number

    def _number(self, use: str, text: str) -> int:
        data = f"{use}\0{text}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(data, key=self._key, digest_size=64).digest())


def _class(character: str) -> str:
    alphabet = _ALPHABETS.get(character)
    return character if alphabet is None else alphabet[0]


def _same(text: str) -> str:
    """What makes no other name of it, however its sender types."""
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def shifted(year: int, month: int, day: int, by: timedelta) -> date | None:
    """The day that far off; None where there is no such day."""
    try:
        return date(year, month, day) + by
    except (ValueError, OverflowError):
        return None
