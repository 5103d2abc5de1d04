"""TLS contexts for listeners and senders: TLS 1.2 and later, forward secrecy and AEAD only.

Source: RFC 9325 (BCP 195) sections 3.1.1 and 4.2; IHE ITI TF-2 3.19 (ATNA); reliability.md 0.12 and 4.3.
What can be known when the settings are read is found then, in a sentence that names the file: a missing
file, a key that is not the certificate's, an expired certificate.
"""

import asyncio.sslproto
import base64
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from engine.adapters.errors import ConfigError, TlsFilesError
from engine.config.listen import ListenTls

# TLS 1.2 only; every suite of TLS 1.3 is AEAD with an ephemeral key exchange anyhow.
_TLS12_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_READ_BUFFER_BYTES = 8 * 1024
"""Of each open connection: ten thousand with mutual TLS hold 620 MB with 16 KiB, and 540 with 8 (reliability.md R7)."""
_CERTIFICATE, _LIST = "CERTIFICATE", "X509 CRL"
"""The labels of RFC 7468 sections 5.1 and 6.1."""
_INTEGER, _UTC_TIME, _GENERALIZED_TIME = 0x02, 0x17, 0x18


def server_context(
    *,
    certificate: Path,
    key: Path | None = None,
    client_ca: Path | None = None,
    client_crl: Path | None = None,
    now: datetime | None = None,
) -> ssl.SSLContext:
    """For a listener. `certificate`: PEM, the chain with the leaf first; `key` None: it is in the same file.

    With `client_ca` a sender must show a certificate signed by one of them (mutual TLS), and with `client_crl` one that
    its authority has not revoked. Raises ConfigError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _restrict(context)
    context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    _load_own(context, certificate, key, now or datetime.now(UTC))
    if client_ca is not None:
        _load_ca(context, client_ca, now or datetime.now(UTC))
        context.verify_mode = ssl.CERT_REQUIRED
        if client_crl is not None:
            _load_crl(context, client_crl)
    return context


def listen_context(tls: ListenTls, folder: Path) -> ssl.SSLContext:
    """A listener's as its channel says; `folder` is the channel's. Raises ConfigError."""
    client_ca = folder / tls.client_ca if tls.client_ca else None
    client_crl = folder / tls.client_crl if tls.client_crl else None
    return server_context(
        certificate=folder / tls.certificate, key=folder / tls.key, client_ca=client_ca, client_crl=client_crl
    )


def client_context(
    *,
    ca: Path | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
    verify: bool = True,
    now: datetime | None = None,
) -> ssl.SSLContext:
    """For a sender. `ca` None: the system's authorities; `certificate`: what we show to a receiver that asks.

    `verify` False encrypts but believes anybody: for a receiver with a certificate nobody can check.
    Raises ConfigError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _restrict(context)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif ca is not None:
        _load_ca(context, ca, now or datetime.now(UTC))
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if certificate is not None:
        _load_own(context, certificate, key, now or datetime.now(UTC))
    elif key is not None:
        raise ConfigError("a TLS key is given without its certificate")
    return context


def own_certificate_ends(certificate: Path) -> datetime:
    """When the first of a PEM file runs out, which is the one that is shown. Raises ConfigError."""
    return _read_certificates(certificate)[0][1]


def _restrict(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_TLS12_CIPHERS)
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    # Python 3.13 turns this on for some contexts; hospital authorities often lack the key identifiers it asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    # asyncio gives every TLS connection a read buffer of 256 KiB: 2.8 GB for 10,000 idle senders. It is
    # a class attribute, read when a connection is made (CPython 3.11 to 3.14).
    asyncio.sslproto.SSLProtocol.max_size = _READ_BUFFER_BYTES


def _load_own(context: ssl.SSLContext, certificate: Path, key: Path | None, now: datetime) -> None:
    chain = _read_certificates(certificate)
    key_file = certificate if key is None else key
    if not key_file.is_file():
        raise TlsFilesError(f"the TLS key file {key_file} does not exist")

    def no_password() -> NoReturn:
        raise TlsFilesError(f"the TLS key in {key_file} is encrypted: the engine cannot ask for its password")

    try:
        context.load_cert_chain(certificate, key_file, no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsFilesError(
                f"the TLS key in {key_file} does not belong to the certificate in {certificate}"
            ) from error
        raise TlsFilesError(f"{key_file} holds no TLS key that can be used ({error.reason})") from error
    except OSError as error:
        raise TlsFilesError(f"the TLS files {certificate} and {key_file} cannot be read: {error.strerror}") from error
    begins, ends = chain[0]
    if ends < now:
        advice = "put the renewed one in its place"
        raise TlsFilesError(f"the TLS certificate in {certificate} expired on {ends:%Y-%m-%d}: {advice}")
    if begins > now:
        raise TlsFilesError(f"the TLS certificate in {certificate} is not valid before {begins:%Y-%m-%d %H:%M} UTC")


def _load_ca(context: ssl.SSLContext, ca: Path, now: datetime) -> None:
    authorities = _read_certificates(ca)
    if all(ends < now for _, ends in authorities):
        raise TlsFilesError(f"every authority in {ca} has expired: put those in force in its place")
    try:
        context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise TlsFilesError(f"{ca} holds no certificate that can be used ({error.reason})") from error


def _load_crl(context: ssl.SSLContext, crl: Path) -> None:
    """Of a list that has run out OpenSSL believes nothing, and refuses every certificate of its authority."""
    try:
        known = len(context.get_ca_certs()), context.cert_store_stats()["crl"]
        context.load_verify_locations(crl)
    except FileNotFoundError:
        raise TlsFilesError(f"the TLS file {crl} does not exist") from None
    except ssl.SSLError as error:
        raise TlsFilesError(f"{crl} holds no list of revoked certificates in PEM form ({error.reason})") from error
    except OSError as error:
        raise TlsFilesError(f"the TLS file {crl} cannot be read: {error.strerror}") from error
    if (len(context.get_ca_certs()), context.cert_store_stats()["crl"]) <= known:
        raise TlsFilesError(f"{crl} holds no list of revoked certificates")
    if len(context.get_ca_certs()) != known[0]:
        raise TlsFilesError(f"{crl} holds certificates: a list of revoked ones is wanted, and nothing else")
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def validity_of(path: Path) -> list[tuple[datetime, datetime]]:
    """When each certificate of a PEM file begins and ends to be valid; at least one. Raises ConfigError."""
    return _read_certificates(path)


def revocations_of(path: Path) -> list[tuple[datetime, datetime | None]]:
    """thisUpdate and nextUpdate of each list of revoked certificates in a PEM file; at least one. nextUpdate None: the
    authority promises no next one. Raises ConfigError.
    """
    try:
        found = [_updates(der) for der in _pem_blocks(_text(path), _LIST)]
    except (ValueError, IndexError) as error:
        raise TlsFilesError(f"{path} holds a list of revoked certificates that cannot be read") from error
    if not found:
        raise TlsFilesError(f"{path} holds no list of revoked certificates in PEM form")
    return found


def _read_certificates(path: Path) -> list[tuple[datetime, datetime]]:
    """When each certificate of a PEM file is valid; at least one."""
    try:
        found = [_validity(der) for der in _pem_blocks(_text(path), _CERTIFICATE)]
    except (ValueError, IndexError) as error:
        raise TlsFilesError(f"{path} holds a certificate that cannot be read") from error
    if not found:
        raise TlsFilesError(f"{path} holds no certificate in PEM form")
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", errors="replace")
    except FileNotFoundError:
        raise TlsFilesError(f"the TLS file {path} does not exist") from None
    except OSError as error:
        raise TlsFilesError(f"the TLS file {path} cannot be read: {error.strerror}") from error


def _pem_blocks(text: str, label: str) -> Iterator[bytes]:
    """What stands between the lines of this label, decoded. Raises ValueError."""
    for part in text.split(f"-----BEGIN {label}-----")[1:]:
        body, end, _ = part.partition(f"-----END {label}-----")
        if end:
            yield base64.b64decode("".join(body.split()), validate=True)


def _validity(der: bytes) -> tuple[datetime, datetime]:
    """notBefore and notAfter of a DER certificate: RFC 5280 section 4.1 (the ssl module shows them for CAs only)."""
    _, certificate, _ = _value(der, 0)
    _, fields, _ = _value(certificate, 0)
    tag, _, at = _value(fields, 0)
    if tag == 0xA0:  # version, optional; the serial number follows
        _, _, at = _value(fields, at)
    for _ in ("signature", "issuer"):
        _, _, at = _value(fields, at)
    _, validity, _ = _value(fields, at)
    begins_tag, begins, at = _value(validity, 0)
    ends_tag, ends, _ = _value(validity, at)
    return _time(begins_tag, begins), _time(ends_tag, ends)


def _updates(der: bytes) -> tuple[datetime, datetime | None]:
    """thisUpdate and nextUpdate of a DER list: RFC 5280 section 5.1 (the ssl module does not show them)."""
    _, whole, _ = _value(der, 0)
    _, fields, _ = _value(whole, 0)
    at = 0
    if fields[0] == _INTEGER:  # version, optional
        _, _, at = _value(fields, at)
    for _ in ("signature", "issuer"):
        _, _, at = _value(fields, at)
    tag, content, at = _value(fields, at)
    this_update = _time(tag, content)
    if at < len(fields):
        tag, content, _ = _value(fields, at)
        if tag in (_UTC_TIME, _GENERALIZED_TIME):
            return this_update, _time(tag, content)
    return this_update, None


def _value(der: bytes, at: int) -> tuple[int, bytes, int]:
    """Tag and content of the element at `at`, and where the next one begins."""
    tag, length, start = der[at], der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(der[start : start + count], "big")
        start += count
    return tag, der[start : start + length], start + length


def _time(tag: int, content: bytes) -> datetime:
    """UTCTime (two-digit years from 1950) or GeneralizedTime, always in UTC: RFC 5280 section 4.1.2.5."""
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
