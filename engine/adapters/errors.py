"""What an adapter raises when it cannot be set up as it was configured."""


class ConfigError(Exception):
    """The settings name something that is not there or cannot be used: a certificate, a key, a folder.

    The text is a whole sentence for the one who runs the engine; it holds no secret.
    """


class TlsFilesError(ConfigError):
    """Of a certificate, its key, an authority or a list of revoked ones: a file, which may be put right without a word
    of the settings being changed. What needs it waits for that, but where messages come in (ADR 58)."""
