"""TLS to providers: the certificate and the host name are checked."""

import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from instance.chute.upstream import Upstream, UpstreamError
from instance.chute.upstream.dial import verifying_context
from tests.chute.upstream_calls import post
from tests.mock_upstream import MockUpstream

Key = ec.EllipticCurvePrivateKey


def _certificate(subject: str, key: Key, issuer: str, issuer_key: Key, *, is_ca: bool) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, Callable[[str], ssl.SSLContext]]:
    """The file of a certificate authority, and server contexts with certificates of it for a host name."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("Test CA", ca_key, "Test CA", ca_key, is_ca=True)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))

    def server_context(host: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(host, key, "Test CA", ca_key, is_ca=False)
        file = tmp_path / f"{host}.pem"
        file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    return ca_file, server_context


async def _loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def _trusting(ca_file: Path) -> ssl.SSLContext:
    context = verifying_context()
    context.load_verify_locations(ca_file)
    return context


async def _status(server: MockUpstream, host: str, tls: ssl.SSLContext | None) -> int:
    client = Upstream(tls=tls, resolver=_loopback)
    try:
        response = await post(client, f"https://{host}:{server.port}/v1")
        await response.read(1 << 20)
        again = await post(client, f"https://{host}:{server.port}/v1")
        return again.status
    finally:
        await client.close()


async def test_a_trusted_certificate_for_the_name_is_accepted_and_kept_alive(authority):
    ca_file, server_context = authority
    async with MockUpstream(tls=server_context("api.test.example")) as server:
        assert await _status(server, "api.test.example", _trusting(ca_file)) == 200
        assert server.connections == 1


async def test_a_certificate_of_an_unknown_authority_is_refused_before_anything_is_sent(authority):
    _, server_context = authority
    async with MockUpstream(tls=server_context("api.test.example")) as server:
        with pytest.raises(UpstreamError) as caught:
            await _status(server, "api.test.example", None)
        assert (caught.value.kind, caught.value.sent) == ("tls", False)
        assert not server.calls


async def test_a_certificate_for_another_name_is_refused(authority):
    ca_file, server_context = authority
    async with MockUpstream(tls=server_context("other.example")) as server:
        with pytest.raises(UpstreamError, match=r"api\.test\.example") as caught:
            await _status(server, "api.test.example", _trusting(ca_file))
        assert caught.value.kind == "tls"
        assert not server.calls


async def test_a_server_without_tls_is_no_https_server():
    async with MockUpstream() as server:
        with pytest.raises(UpstreamError) as caught:
            await _status(server, "api.test.example", None)
        assert caught.value.kind in ("tls", "connect")
