"""Codes of what `segmill doctor` finds on a machine, and of keys to look messages up by."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

OPERATIONS: Final[Stories] = MappingProxyType(
    {
        "E490": Story(
            "a key that messages cannot be looked up by",
            "keys: names what messages are found by, each with the HL7 paths where it stands. A name has small "
            "letters, digits and _; it is none of the words that a search has already (channel, state, since, until, "
            "type, sender, control, text, key); and there are at most 16.",
            "Choose another name, or take keys out that nobody searches by.",
            "keys: {Patient Number: PID-3.1}",
        ),
        "E491": Story(
            "a store that cannot be read",
            "The store's file is damaged, is no store of Segmill, or another process has it locked. SQLite's own check "
            "found it; an engine would not start on it, or answer nothing positive any more.",
            "Stop the engine. Keep a copy of the file with its -wal file. Put a backup back (segmill restore), or save "
            "what can be read with sqlite3's .recover. Then look at the disk: a file does not break by itself.",
        ),
        "E492": Story(
            "no room for messages",
            "The disk of the store has less free space than limits: {free_disk: ...}. Messages are refused with AR and "
            "207, so that their senders keep them; deliveries go on.",
            "Make room, or give the disk more. The engine takes messages again by itself. See retention.",
        ),
        "W492": Story(
            "little room for messages",
            "The disk of the store has less free space than limits: {low_disk: ...}, or few names for files left.",
            "Make room before there is none: then messages are refused.",
        ),
        "W493": Story(
            "a write-ahead log that has grown",
            "The log beside the store is moved into it all the time, and begins anew when nobody reads from it. One "
            "that is this large is held by a reader: a backup, a search, or another tool that has the store open.",
            "Find it (lsof on the -wal file) and let it end; the log is cut back by itself then.",
        ),
        "E494": Story(
            "an engine that runs and takes nothing",
            "The engine answers on its control socket and says that it is not ready: it starts, stops, has no room, or "
            "its loop does not answer.",
            "Do what its sentence says. If it starts or stops, wait; if it does not answer, look at its log.",
        ),
        "E495": Story(
            "a certificate that has ended or cannot be read",
            "A file that the site names for TLS is not there, holds no certificate, or one whose time is over. What "
            "connects through it is refused.",
            "Put the new certificate there, with its key; segmill reload takes it up without a stop.",
        ),
        "W495": Story(
            "a certificate that ends soon",
            "A certificate that the site names has less than 30 days left, or one of its chain or of an authority has.",
            "Renew it now; segmill reload takes it up without a stop.",
        ),
        "E594": Story(
            "a list of revoked certificates that has ended",
            "client_crl names a list whose nextUpdate is past. What it says may no longer be so, and nobody whose "
            "certificate is of its authority is let in: every sender of that port is turned away (refused_tls).",
            "Fetch the authority's next list into that file; segmill reload takes it up, and senders come in again. A "
            "timer that fetches it and reloads should run several times within the life of a list.",
        ),
        "W594": Story(
            "a list of revoked certificates that ends soon",
            "Less than a twentieth of its life is left, and its authority has most likely made the next one. When it "
            "has ended, nobody of that authority is let in.",
            "Fetch the next list into that file; segmill reload takes it up without a stop.",
        ),
        "E595": Story(
            "something waits for its TLS files",
            "The certificate, key or authority that it needs is out of date or cannot be read. The engine runs, takes "
            "messages and sends all others; what is for this place waits in order, as where a receiver is down. A "
            "port's own files are another thing: a port that cannot keep its promise is not opened, and the engine "
            "does not start.",
            "Put good files where the bad ones are, then segmill reload; without it they are looked at again by the "
            "next attempt.",
        ),
        "E496": Story(
            "a clock that is wrong",
            "The machine's clock says a time before this version was made. Messages would be stored with it, and "
            "retention would wait.",
            "Set it, and see that a time server keeps it (chrony, systemd-timesyncd).",
        ),
        "W496": Story(
            "a clock that is in doubt",
            "The system was not synchronised with a time server since it started, or the newest message was received "
            "later than now: the clock went back, or was ahead at that time.",
            "See timedatectl, or chronyc tracking. When the clock is right again: segmill retention --confirm.",
        ),
        "W497": Story(
            "a limit of open files below what the site allows",
            "Each connection needs a file descriptor. The limit of this user's processes leaves room for fewer than "
            "limits: {connections: ...}; the engine takes no more than the limit allows.",
            "LimitNOFILE= in the unit of systemd, or ulimit -n; or write the number that is meant.",
        ),
        "W498": Story(
            "rights that nobody needs",
            "Others than its owner may read the store or a key, or the engine would run as root. The store holds "
            "patient data, and whoever has a key can be the hospital.",
            "chmod go= the file; run the engine as a user of its own, as the unit in deploy does.",
        ),
        "E499": Story(
            "versions that do not fit each other",
            "Python's SQLite is older than the store needs, or the store was written by a newer Segmill.",
            "Use a newer Python, or the version of Segmill that wrote the store.",
        ),
        "W499": Story(
            "a store of an earlier version",
            "The next start of this version brings it up to the new schema, and keeps a checked copy beside it as the "
            "way back. Until then, commands that read it say so and end.",
            "See that the disk has room for a copy, make a backup, then start the engine.",
        ),
    }
)
