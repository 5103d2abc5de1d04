"""E100 to E123: keys and values of channel.yaml and segmill.yaml, and the YAML they are written in."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

FILE: Final[Stories] = MappingProxyType(
    {
        "E100": Story(
            "a file or folder of the site is missing or cannot be read",
            "A site is a folder with channels/<name>/channel.yaml for every channel and, beside channels/, an "
            "optional segmill.yaml. What the finding names is not there, or the user that runs the engine may not "
            "read it.",
            "Check the path and its permissions. A new site: segmill init my-site.",
        ),
        "E101": Story(
            "unknown key",
            "The key means nothing at this place. Keys that are not known are refused, because a misspelt one would "
            "otherwise leave its setting at the default without a word.",
            "Correct the spelling; the hint names the nearest key. 'segmill schema' tells an editor all of them.",
            "acept: [ADT^A01]",
        ),
        "E102": Story(
            "unknown step",
            "An entry under steps has one key that names its kind, such as filter or map, and none of its keys is a "
            "kind that is installed.",
            "Correct the name; the hint lists those there are. Options of a step stand under it or, for when and "
            "name, beside it.",
            "- mapp: {PV1-2: tables/class.csv}",
        ),
        "E103": Story(
            "a key is missing",
            "The mapping that is marked needs a key which it does not have; there is no default that would be safe.",
            "Add the key that the finding names.",
            "mllp: {host: ris.local}      # lacks port",
        ),
        "E104": Story(
            "a value of the wrong shape",
            "A text, a list or a mapping stands where another of the three is needed. A value that begins with [ "
            "or { is a list or a mapping to YAML, also if it was meant as text.",
            "Write the shape that the finding names; put a text that begins with [ or { in quotes.",
            "accept: ADT^A01      # a list: [ADT^A01]",
        ),
        "E105": Story(
            "a value that is not among those allowed",
            "The key takes one of a few words, or true or false, and this is none of them. yes, no, on and off are "
            "texts here, as all scalars are.",
            "Take one of the words in the hint.",
            "ack: {when: proccessed}",
        ),
        "W105": Story(
            "a receiver's code that is in no table",
            "ERR-3 (before v2.5: ERR-1.4) holds a code of table 0357, and this number is not one. An action by it is "
            "taken only if the receiver has codes of its own.",
            "Take the code in the hint, or write ERR before the number if it is the receiver's own.",
            "on_refused: {999: skip}      # {ERR 999: skip}",
        ),
        "E106": Story(
            "a number, duration, size or percentage that cannot be",
            "Whole numbers are digits. A duration has a unit (500ms, 30s, 5m, 2h, 7d), and so has a size (64KB, "
            "20MB, 1GiB; KB is 1000 bytes, KiB 1024). Or the number is outside of its bounds, which the finding "
            "names.",
            "Write it with a unit and within the bounds.",
            "duplicates: {window: 7}      # 7d",
        ),
        "E107": Story(
            "a value that cannot be used here",
            "The value has the right shape, and still cannot be meant: the message says why.",
            "Follow the hint.",
            "allow: [10.1.0.0/8]      # 10.0.0.0/8",
        ),
        "E108": Story(
            "two things where one belongs",
            "An entry under steps holds two steps, or a destination two sinks. Their order would be unclear.",
            "Begin each step on a line of its own with '- '; make two destinations and two routes of one with two "
            "sinks.",
        ),
        "E109": Story(
            "a key without a value, an empty entry or an empty file",
            "To YAML, nothing after a colon is null, which is no text; here it is refused, as it is mostly a line "
            "that was never finished, or a block below that is not indented.",
            'Write the value; an empty text is "".',
            "PID-19:",
        ),
        "E110": Story(
            "a key cannot be made out",
            "A line is no 'key: value': the space after the colon is missing, there is no colon, or the key is not "
            "a text.",
            "Write 'key: value' with a space after the colon.",
            "port:2575",
        ),
        "E111": Story(
            "a key stands twice",
            "Two equal keys in one mapping: most YAML readers silently let the last one win, so one of the two would "
            "be without effect.",
            "Keep one of them. Two steps of a kind are two entries of the list.",
        ),
        "E112": Story(
            "a quote or bracket that is not closed, or never opened",
            "YAML reads on behind an open quote or bracket, past the end of the line, until it can make no sense "
            "of it.",
            "Close it where it ends.",
            "accept: [ADT^A01, ADT^A02",
        ),
        "E113": Story(
            "a value that YAML does not take for a text",
            "A value that begins with one of @ ` % * & ! | > { [ or a quote has a meaning of its own in YAML, and "
            "so has a brace inside of {...} and a backslash inside of double quotes.",
            "Put the whole value in single quotes: '...'. Inside of those a single quote is written twice.",
            'when: "HIS" == MSH-3      # \'"HIS" == MSH-3\'',
        ),
        "E114": Story(
            "a colon or a hash inside a value",
            "In a value without quotes, a colon followed by a space begins another key, and a hash after a space "
            "begins a comment: the rest of the value would be lost.",
            "Put the whole value in single quotes.",
            'when: PID-5 == "a: b"',
        ),
        "E115": Story(
            "an anchor, alias, tag or merge key",
            "These are refused: they make a file mean something else than it shows, and can make a small file huge.",
            "Write the value out. A text that begins with & * or ! stands in quotes.",
            "when: *shared",
        ),
        "E116": Story(
            "a character that does not belong into the file",
            "Files are UTF-8 without control characters. The finding marks the first byte that is something else.",
            "Save the file as UTF-8; delete the control character.",
        ),
        "E117": Story(
            "a file that is too large, nested too deep, or holds two documents",
            "A file has at most 1 MB, 32 levels and one document. What needs more belongs into a code table or "
            "another channel.",
            "Split it; remove a line of three hyphens in the middle of the file.",
        ),
        "E118": Story(
            "indentation that YAML cannot follow",
            "What belongs together begins in the same column; a tab never indents. The line that is marked fits "
            "none of those above it.",
            "Indent with spaces, two a level, and let keys of one mapping begin in one column.",
        ),
        "E119": Story(
            "something that this version does not have",
            "The key or value is known to the documentation or to other engines, and not to this version. It is "
            "refused so that nobody relies on what would not happen.",
            "Follow the hint, which says what there is instead.",
            "order_by: PID-3.1",
        ),
        "E120": Story(
            "an environment variable that is not set",
            "${NAME} is replaced by the variable of that name when files are read, and there is none, or it is empty.",
            "Set it where the engine is started, or write a default: ${NAME:-default}.",
            "host: ${RIS_HOST}",
        ),
        "E121": Story(
            "a file in ${file:...} that cannot be read",
            "${file:path} is replaced by the text of a file, relative to the site; this one is missing, not "
            "readable, no UTF-8, longer than 64 kB, or no regular file: a pipe, a terminal or a device may have no "
            "end, and is not read.",
            "Check the path and its permissions. A secret from a program: have it write a file, or set a variable of "
            "the environment and write ${NAME}. Credentials of systemd and secrets of Docker and Kubernetes are files.",
        ),
        "E122": Story(
            "${...} that is no reference",
            "There are ${NAME}, ${NAME:-default} and ${file:path}. NAME has letters, digits and underscores.",
            "Correct it; to write ${ itself: $${.",
        ),
        "E123": Story(
            "a pattern under accept that is none",
            "accept lists message types and trigger events as MSH-9 has them: ADT^A01; ADT^* for every event of a "
            "type; "
            '"*" in quotes for everything.',
            "Write TYPE^EVENT with a caret.",
            "accept: [ADT_A01]",
        ),
    }
)
