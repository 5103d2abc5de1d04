"""Who may send to a port with mutual TLS, and how: bad handshakes end before a byte of a message is read (SEC7)."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from engine.adapters.stores.queries import SqliteQueries
from engine.app import Engine, load
from engine.ports.store import StoredMessage
from engine.testing import messages
from engine.testing.sites import make_site

CHANNEL = """
listen:
  mllp:
    port: 0
    tls:
      certificate: own.crt
      key: own.key
      client_ca: ca.crt
      client_crl: revoked.crl
      client_names: [his.example.org]
accept: [ADT^*]
"""
NOW = datetime.now(UTC)
ALLOWED_SUITES = {
    *("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"),
    *("ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    *("ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305"),
}
"""RFC 9325 (BCP 195) section 4.2: ephemeral keys and AEAD."""


@dataclass(slots=True)
class Authority:
    """Signs whatever it is asked to, as no real one would."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    def issue(
        self,
        folder: Path,
        name: str = "his.example.org",
        *,
        begins: datetime = NOW - timedelta(days=1),
        ends: datetime = NOW + timedelta(days=1),
        use: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
        serial: int | None = None,
        has_alternative_name: bool = True,
    ) -> Path:
        """Certificate and key in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
            .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        )
        if has_alternative_name:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        return write(folder / f"{name}-{builder._serial_number}.pem", builder.sign(self.key, hashes.SHA256()), key)

    def revoke(self, *serials: int, ends: datetime = NOW + timedelta(days=1)) -> bytes:
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.name)
        builder = builder.last_update(NOW - timedelta(days=2)).next_update(ends)
        for serial in serials:
            revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - timedelta(hours=1))
            builder = builder.add_revoked_certificate(revoked.build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def write(path: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Path:
    plain = serialization.NoEncryption()
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return path


def authority(name: str) -> tuple[Authority, bytes]:
    """With its certificate in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=10))
        .not_valid_after(NOW + timedelta(days=10))
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(subject, key), made.public_bytes(serialization.Encoding.PEM)


REVOKED = 4711


@pytest.fixture(scope="module")
def people() -> tuple[tuple[Authority, bytes], tuple[Authority, bytes]]:
    """Ours, and a stranger of the same name."""
    return authority("Hospital CA"), authority("Hospital CA")


@pytest.fixture
async def engine(tmp_path, people):
    (ours, ca), _ = people
    server = trustme.CA().issue_cert("localhost")
    files = {
        "channel.yaml": CHANNEL,
        "own.crt": server.cert_chain_pems[0].bytes(),
        "own.key": server.private_key_pem.bytes(),
        "ca.crt": ca,
        "revoked.crl": ours.revoke(REVOKED),
    }
    made = Engine(load(make_site(tmp_path / "site", {"adt": files}, "admin: off\n"), {}))
    await made.start()
    yield made
    await made.stop(deadline_s=5)


def believing(certificate: Path | None = None) -> ssl.SSLContext:
    """A sender that believes any server: what it is itself is what is looked at."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def of_version(certificate: Path, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = believing(certificate)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


def of_suites(certificate: Path, suites: str) -> ssl.SSLContext:
    context = believing(certificate)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(f"{suites}:@SECLEVEL=0")
    return context


async def answer(port: int, context: ssl.SSLContext | None) -> bytes:
    """What a sender hears who shows `context` and says one message; b'' where the connection ends without a word."""
    block = b"\x0b" + messages.adt() + b"\x1c\r"
    try:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            try:
                writer.write(block)
                await writer.drain()
                return await reader.readuntil(b"\x1c\r")
            except asyncio.IncompleteReadError as error:
                return error.partial
            finally:
                writer.transport.abort()
    except (OSError, ssl.SSLError):
        return b""


def kept_in(folder: Path) -> list[StoredMessage]:
    queries = SqliteQueries(folder / "site" / "data" / "segmill.db")
    try:
        return list(queries.messages())
    finally:
        queries.close()


Case = Callable[[Path, Authority, Authority], ssl.SSLContext | None]
BAD: dict[str, Case] = {
    "no certificate": lambda folder, ours, other: believing(),
    "of an unknown authority": lambda folder, ours, other: believing(other.issue(folder)),
    "expired": lambda folder, ours, other: believing(
        ours.issue(folder, begins=NOW - timedelta(days=3), ends=NOW - timedelta(days=1))
    ),
    "not valid yet": lambda folder, ours, other: believing(
        ours.issue(folder, begins=NOW + timedelta(days=1), ends=NOW + timedelta(days=2))
    ),
    "revoked": lambda folder, ours, other: believing(ours.issue(folder, serial=REVOKED)),
    "another name": lambda folder, ours, other: believing(ours.issue(folder, "lab.example.org")),
    "another name, and ours as its common name alone": lambda folder, ours, other: believing(
        ours.issue(folder, "his.example.org.evil.example")
    ),
    "a server's certificate": lambda folder, ours, other: believing(
        ours.issue(folder, use=ExtendedKeyUsageOID.SERVER_AUTH)
    ),
    "TLS 1.0": lambda folder, ours, other: of_version(ours.issue(folder), ssl.TLSVersion.TLSv1),
    "TLS 1.1": lambda folder, ours, other: of_version(ours.issue(folder), ssl.TLSVersion.TLSv1_1),
    "keys by RSA": lambda folder, ours, other: of_suites(ours.issue(folder), "AES256-GCM-SHA384:AES128-SHA"),
    "CBC": lambda folder, ours, other: of_suites(
        ours.issue(folder), "ECDHE-RSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA"
    ),
    "nothing encrypted": lambda folder, ours, other: of_suites(ours.issue(folder), "eNULL"),
    "plain text": lambda folder, ours, other: None,
}


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_no_bad_handshake_brings_a_message_in(engine, tmp_path, people) -> None:
    (ours, _), (other, _) = people
    port = engine.addresses["adt"][1]
    heard = {name: await answer(port, case(tmp_path, ours, other)) for name, case in BAD.items()}
    assert heard == dict.fromkeys(BAD, b""), "each ends without a word of HL7"
    assert kept_in(tmp_path) == [], "and nothing of it was read"
    # The same port, at the same time, for the one it is for: else all of the above would show nothing.
    good = await answer(port, believing(ours.issue(tmp_path)))
    assert b"MSA|AA" in good
    (kept,) = kept_in(tmp_path)
    assert kept.peer == "127.0.0.1 (his.example.org)", "whose certificate it was is in the record"


async def test_the_name_of_a_certificate_without_alternative_names_is_its_common_name(engine, tmp_path, people) -> None:
    (ours, _), _ = people
    port = engine.addresses["adt"][1]
    plain = ours.issue(tmp_path, has_alternative_name=False)
    assert b"MSA|AA" in await answer(port, believing(plain))


async def test_a_port_offers_nothing_but_what_bcp_195_has(engine, tmp_path, people) -> None:
    """By asking for each suite that this OpenSSL has, one at a time."""
    (ours, _), _ = people
    port = engine.addresses["adt"][1]
    certificate = ours.issue(tmp_path)
    every = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    every.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    taken = set()
    for suite in every.get_ciphers():
        name = suite["name"]
        if suite["protocol"] == "TLSv1.3":
            continue
        if b"MSA|AA" in await answer(port, of_suites(certificate, name)):
            taken.add(name)
    assert taken and taken <= ALLOWED_SUITES


async def test_of_a_list_that_has_run_out_nobody_is_believed(tmp_path, people) -> None:
    (ours, ca), _ = people
    server = trustme.CA().issue_cert("localhost")
    files = {
        "channel.yaml": CHANNEL,
        "own.crt": server.cert_chain_pems[0].bytes(),
        "own.key": server.private_key_pem.bytes(),
        "ca.crt": ca,
        "revoked.crl": ours.revoke(REVOKED, ends=NOW - timedelta(days=1)),
    }
    engine = Engine(load(make_site(tmp_path / "site", {"adt": files}, "admin: off\n"), {}))
    await engine.start()
    try:
        assert await answer(engine.addresses["adt"][1], believing(ours.issue(tmp_path))) == b""
    finally:
        await engine.stop(deadline_s=5)
