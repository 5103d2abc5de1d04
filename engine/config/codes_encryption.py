"""Codes of encryption at rest: the key of the store (ADR 54)."""

from types import MappingProxyType
from typing import Final

from engine.config.story import Stories, Story

ENCRYPTION: Final[Stories] = MappingProxyType(
    {
        "E580": Story(
            "this is no key for the store",
            "The key is one line of base64 that stands for 32 random bytes. What is named is empty, too short or too "
            "long, or something else. What it holds is not shown.",
            "segmill store key FILE makes one. Is it the key of a store that is there: find the right file, the store "
            "cannot be read without it.",
        ),
        "E581": Story(
            "the key of the store stands in segmill.yaml itself",
            "Whoever reads the site's files, their history or a backup of them would have the key.",
            "Put it into a file of its own, for its owner only: encryption: {key: ${file:/etc/segmill/store.key}}, or "
            "take it from the environment: ${SEGMILL_STORE_KEY}.",
        ),
        "E582": Story(
            "the file with the key can be read by others",
            "Who can read it and a copy of the store can read every message.",
            "chmod 600 FILE, with the engine's user as its owner. A secret of Kubernetes: defaultMode: 0400.",
        ),
        "E583": Story(
            "encryption at rest is not installed",
            "The site has a key for its store; what encrypts is an extra of the package.",
            "pip install 'segmill[encrypt]', in the environment that the engine runs in.",
        ),
        "E584": Story(
            "the store and the key do not belong together",
            "The store is encrypted with another key than the one that is configured, is encrypted and none is "
            "configured, is not encrypted and the site has a key, or was left half way from one to the other. Nothing "
            "of it was changed. Both ids are named: a key's id is a hash of it, and can be shown.",
            "Compare with segmill store status, and name the right key under encryption. A plain store is encrypted "
            "once, with the engine stopped: segmill store encrypt. What was left half way: the same command again.",
        ),
        "E585": Story(
            "the file with the key of the store cannot be read",
            "encryption names a file that is not there, or cannot be read by the engine's user, or is no file. A path "
            "that does not begin with / is looked for from the site's folder; credentials of systemd are in "
            "$CREDENTIALS_DIRECTORY, and there only while the service runs. Without its key an encrypted store cannot "
            "be read by anybody, nor can its backups: there is no other way in. The store was not touched.",
            "A new disk, container or credential: mount it, and check its owner and mode (0400 or 0600). Was the file "
            "lost: put back the copy of it, which is kept in another place than the backups; segmill store status "
            "shows the id of the key that the store wants. A key that is made anew (segmill store key) opens a new "
            "store only. previous is needed once: when its change is done, take it out.",
            "encryption: {key: ${file:/etc/segmill/store.key}}",
        ),
        "W580": Story(
            "the key lies beside what it protects",
            "It is in the site's folder, which is copied, put under version control and backed up as a whole. A backup "
            "by segmill backup leaves it out, and so is of no use alone: which is as it should be.",
            "Keep it elsewhere, such as /etc/segmill/store.key, or as a credential of systemd, and a copy of it in "
            "another place than the backups.",
        ),
        "W581": Story(
            "encryption of a store in memory",
            "Nothing of it is written to a disk, so there is nothing to encrypt.",
            "Leave encryption away, or keep messages in a file: store: sqlite:data/segmill.db.",
        ),
        "W582": Story(
            "values of the store cannot be opened",
            "They were damaged, or put there by somebody without the key. They count as damaged bytes (E250): never "
            "sent, held where they wait.",
            "segmill doctor --deep counts them. Compare with a backup; check the disk.",
        ),
    }
)
