"""W3xx: what was odd about a message as it came, and how it was read all the same."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

MESSAGE: Final[Stories] = MappingProxyType(
    {
        "W301": Story(
            "UTF-8 that MSH-18 does not declare",
            "MSH-18 is empty or says ASCII, and the bytes beyond ASCII are valid UTF-8, which hardly happens by "
            "chance. The message was read as UTF-8.",
            "Nothing; better, have the sender put UNICODE UTF-8 into MSH-18.",
        ),
        "W302": Story(
            "UTF-8 where MSH-18 declares another character set",
            "The bytes are valid UTF-8 with characters of several bytes, which text of a one-byte set hardly ever "
            "is. The message was read as UTF-8.",
            "Have the sender correct MSH-18. If names look wrong, show the sender's people this message.",
        ),
        "W303": Story(
            "text that is not valid in the declared character set",
            "MSH-18 names a character set, and some bytes do not exist in it. The message was read with another, "
            "which the finding names.",
            "Have the sender correct MSH-18 or what it writes.",
        ),
        "W304": Story(
            "bytes that are no characters",
            "Some bytes mean nothing in the message's character set. They are kept and leave as they came.",
            "Have the sender look at what it writes; mostly two character sets were mixed.",
        ),
        "W305": Story(
            "a character set in MSH-18 that nobody can read here",
            "MSH-18 holds a name that is not in HL7 table 0211, nor one that is known from the field. The message "
            "was read by what its bytes are.",
            "Have the sender put a name of table 0211 there, such as 8859/1 or UNICODE UTF-8.",
        ),
        "W306": Story(
            "no character set is declared, and the fallback was taken",
            "MSH-18 is empty, and the bytes are neither ASCII nor UTF-8. The channel's charset: {fallback: ...} "
            "was taken.",
            "See that umlauts and accents look right; if not, set another fallback. Better, have MSH-18 filled.",
        ),
        "W307": Story(
            "Windows characters where MSH-18 declares 8859/1",
            "The text holds characters such as curly quotes or the euro sign, which windows-1252 has and 8859/1 "
            "has not. It was read as windows-1252.",
            "Nothing; the sender's MSH-18 is not quite true.",
        ),
        "W310": Story(
            "MSH-2 with a known mistake",
            "Some senders escape or double a delimiter in MSH-2. It was read as the four usual ones.",
            "Have the sender write ^~\\& into MSH-2.",
        ),
        "W311": Story(
            "MSH-2 with characters that cannot be delimiters",
            "MSH-2 names a letter, a digit or one character twice. The message is read as well as it can be.",
            "Have the sender write ^~\\& into MSH-2.",
        ),
        "W312": Story(
            "MSH-2 is short",
            "MSH-2 has fewer than four characters. What it leaves out is not in use in this message: a text may "
            "hold it.",
            "Nothing, where the sender has no repetitions, escapes or subcomponents.",
        ),
        "W320": Story(
            "something stands before the first MSH",
            "Blanks, line ends or other text before the message were ignored.",
            "Nothing.",
        ),
        "W321": Story(
            "a second MSH inside of a message",
            "Two messages came in one block, without the segments that make a batch of them.",
            "Have the sender send each message in a block of its own.",
        ),
        "W322": Story(
            "segments that end in LF or CRLF",
            "HL7 ends segments with CR. Files that went through an editor or FTP often have the line ends of a "
            "text file.",
            "Nothing; the message leaves with CR.",
        ),
        "W340": Story(
            "a batch whose count is not true",
            "BTS-1 says another number of messages than stand in the batch, or FTS-1 another number of batches. The "
            "messages were taken; every one that is counted there has this finding.",
            "Ask the sender whether something was lost. With batch: {count: reject} such batches are refused.",
        ),
        "W350": Story(
            "MSH-9.3 names another structure than the message has",
            "MSH-9.3 is the structure of the message, not its event: ADT^A08 has the structure ADT_A01. What the "
            "standard has for MSH-9.1 and MSH-9.2 was taken.",
            "Nothing; better, have the sender correct MSH-9.3 or leave it empty.",
        ),
        "W351": Story(
            "a message type and event without a structure",
            "The version in MSH-12 has no structure for MSH-9.1 and MSH-9.2, and MSH-9.3 names none that it has. The "
            "segments were looked at one by one; their order and number were not.",
            "Nothing for an event of your own. Otherwise have the sender look at MSH-9 and MSH-12.",
        ),
        "W330": Story(
            "an unknown code in MSH-15 or MSH-16",
            "These fields say when an acknowledgment is wanted: AL, NE, ER or SU. What stands there was taken as "
            "AL, always.",
            "Have the sender correct it.",
        ),
    }
)
