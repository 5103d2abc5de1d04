"""TLS contexts: what they refuse to be made of, and what they offer (RFC 9325; reliability.md SEC7)."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from engine.adapters.errors import ConfigError
from engine.adapters.tls import client_context, server_context


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def write(tmp_path, authority):
    def make(stem: str, **options) -> tuple[Path, Path]:
        cert = authority.issue_cert("ris.local", **options)
        certificate, key = tmp_path / f"{stem}.crt", tmp_path / f"{stem}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in cert.cert_chain_pems))
        cert.private_key_pem.write_to_path(str(key))
        return certificate, key

    return make


@pytest.fixture
def ca(tmp_path, authority):
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    return tmp_path / "ca.crt"


def test_only_tls_1_2_and_later_with_forward_secrecy_and_aead_is_offered(write, ca):
    certificate, key = write("own")
    for context in (server_context(certificate=certificate, key=key), client_context(ca=ca)):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        for suite in context.get_ciphers():
            assert suite["aead"], suite["name"]
            assert suite["protocol"] == "TLSv1.3" or suite["name"].startswith("ECDHE")
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION


def test_a_client_authority_makes_a_senders_certificate_compulsory(write, ca):
    certificate, key = write("own")
    assert server_context(certificate=certificate, key=key).verify_mode == ssl.CERT_NONE
    assert server_context(certificate=certificate, key=key, client_ca=ca).verify_mode == ssl.CERT_REQUIRED


def test_a_receiver_is_checked_unless_told_otherwise(ca):
    assert client_context(ca=ca).verify_mode == ssl.CERT_REQUIRED
    assert client_context(ca=ca).check_hostname
    assert client_context().cert_store_stats()["x509_ca"] >= 0
    believing = client_context(verify=False)
    assert believing.verify_mode == ssl.CERT_NONE and not believing.check_hostname


def test_key_and_certificate_may_be_one_file(write, tmp_path):
    certificate, key = write("own")
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + certificate.read_bytes())
    server_context(certificate=both)


def test_an_idle_connection_does_not_cost_a_quarter_of_a_megabyte(write):
    certificate, key = write("own")
    server_context(certificate=certificate, key=key)
    assert asyncio.sslproto.SSLProtocol.max_size == 8 * 1024


def test_each_file_that_cannot_be_used_is_named_with_the_reason(write, ca, tmp_path):
    certificate, key = write("own")
    _, other_key = write("other")
    text = tmp_path / "text.crt"
    text.write_text("no certificate here")
    torn = tmp_path / "torn.crt"
    torn.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    missing = tmp_path / "missing.pem"
    for options, says in [
        ({"certificate": missing, "key": key}, r"missing\.pem does not exist"),
        ({"certificate": certificate, "key": missing}, r"key file .*missing\.pem does not exist"),
        (
            {"certificate": certificate, "key": other_key},
            r"other\.key does not belong to the certificate in .*own\.crt",
        ),
        ({"certificate": certificate, "key": text}, r"text\.crt holds no TLS key"),
        ({"certificate": certificate}, r"own\.crt holds no TLS key"),
        ({"certificate": text, "key": key}, r"text\.crt holds no certificate in PEM form"),
        ({"certificate": torn, "key": key}, r"torn\.crt holds a certificate that cannot be read"),
        ({"certificate": certificate, "key": key, "client_ca": missing}, r"missing\.pem does not exist"),
        ({"certificate": tmp_path, "key": key}, r"cannot be read"),
        ({"certificate": certificate, "key": key, "client_ca": ca, "client_crl": missing}, r"does not exist"),
        ({"certificate": certificate, "key": key, "client_ca": ca, "client_crl": text}, r"text\.crt holds no list"),
        ({"certificate": certificate, "key": key, "client_ca": ca, "client_crl": ca}, r"ca\.crt holds no list"),
        ({"certificate": certificate, "key": key, "client_ca": ca, "client_crl": tmp_path}, r"cannot be read"),
    ]:
        with pytest.raises(ConfigError, match=says):
            server_context(**options)
    with pytest.raises(ConfigError, match="without its certificate"):
        client_context(ca=ca, key=key)


def test_a_certificate_is_refused_out_of_its_time(write, ca):
    long_ago, yesterday = datetime.now(UTC) - timedelta(days=400), datetime.now(UTC) - timedelta(days=1)
    certificate, key = write("old", not_before=long_ago, not_after=yesterday)
    with pytest.raises(ConfigError, match=rf"old\.crt expired on {yesterday:%Y-%m-%d}"):
        server_context(certificate=certificate, key=key)
    server_context(certificate=certificate, key=key, now=yesterday - timedelta(days=1))
    with pytest.raises(ConfigError, match="not valid before"):
        server_context(certificate=certificate, key=key, now=long_ago - timedelta(days=1))
    with pytest.raises(ConfigError, match=r"every authority in .*ca\.crt has expired"):
        client_context(ca=ca, now=datetime(4000, 1, 1, tzinfo=UTC))


def test_an_encrypted_key_is_refused_instead_of_asking_on_the_terminal(write, tmp_path):
    from cryptography.hazmat.primitives import serialization

    certificate, key = write("own")
    plain = serialization.load_pem_private_key(key.read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(
        plain.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(ConfigError, match=r"locked\.key is encrypted"):
        server_context(certificate=certificate, key=locked)
