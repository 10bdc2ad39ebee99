"""A file fetched from an address that a customer gave: from the public internet, bounded, and from nowhere else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from control_plane.errors import CloudError
from control_plane.moving.fetch import Fetcher
from tests.control_plane.conftest import Api, error_code
from tests.moved import PASSPHRASE

HOST = "files.example"
CONTENT = b"what lies there" * 1000
ANSWERS = {
    "/whole": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(CONTENT) + CONTENT,
    "/unsaid": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + CONTENT,
    "/elsewhere": b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1/secret\r\nContent-Length: 0\r\n\r\n",
    "/missing": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of `files.example` with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, HOST)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@asynccontextmanager
async def files(certificate: Path) -> AsyncIterator[tuple[int, list[str]]]:
    """A host that serves; its port, and the `Host` of each request."""
    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.partition("Host: ")[2].partition("\r\n")[0])
        writer.write(ANSWERS[head.split()[1]])
        writer.close()

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


async def loopback(host: str, port: int) -> list[str]:
    return ["127.0.0.1"]


def fetcher(certificate: Path, *allowed: str) -> Fetcher:
    return Fetcher(lambda address: address in allowed, loopback, ssl.create_default_context(cafile=str(certificate)))


async def refused(fetching: Fetcher, url: str, into: Path, most: int = 1 << 20) -> str:
    with pytest.raises(CloudError) as problem:
        await fetching.fetch(url, into, most)
    return problem.value.message


async def test_a_file_is_fetched_by_its_name_from_the_address_that_was_judged(
    certificate: Path, tmp_path: Path
) -> None:
    async with files(certificate) as (port, asked):
        for place in ("whole", "unsaid"):
            await fetcher(certificate, "127.0.0.1").fetch(f"https://{HOST}:{port}/{place}", tmp_path / place, 1 << 20)
            assert (tmp_path / place).read_bytes() == CONTENT
        assert asked == [f"{HOST}:{port}"] * 2


async def test_an_address_that_is_not_allowed_is_never_connected_to(certificate: Path, tmp_path: Path) -> None:
    async with files(certificate) as (port, asked):
        said = await refused(fetcher(certificate), f"https://{HOST}:{port}/whole", tmp_path / "file")
        assert ("public internet" in said, asked) == (True, [])


async def test_a_host_that_cannot_prove_its_name_is_refused(certificate: Path, tmp_path: Path) -> None:
    async with files(certificate) as (port, asked):
        await refused(fetcher(certificate, "127.0.0.1"), f"https://other.example:{port}/whole", tmp_path / "file")
        assert asked == []


@pytest.mark.parametrize(("place", "why"), [("elsewhere", "leads to"), ("missing", "404")])
async def test_an_answer_that_is_no_file_is_refused(certificate: Path, tmp_path: Path, place: str, why: str) -> None:
    async with files(certificate) as (port, _):
        assert why in await refused(
            fetcher(certificate, "127.0.0.1"), f"https://{HOST}:{port}/{place}", tmp_path / "file"
        )


@pytest.mark.parametrize("place", ["whole", "unsaid"])
async def test_a_file_that_is_too_large_is_refused_on_the_way(certificate: Path, tmp_path: Path, place: str) -> None:
    async with files(certificate) as (port, _):
        url = f"https://{HOST}:{port}/{place}"
        said = await refused(fetcher(certificate, "127.0.0.1"), url, tmp_path / "file", 1000)
        assert "larger than the plan" in said


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example/x",
        "file:///etc/passwd",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://10.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:169.254.169.254]/x",
        "https://user:password@127.0.0.1/x",
        "https://127.0.0.1:99999/x",
        "nonsense",
    ],
)
async def test_an_address_inside_is_refused(api: Api, url: str) -> None:
    answer = await api("POST", "/api/tenants", {"slug": "movers", "import_url": url, "passphrase": PASSPHRASE})
    assert (answer.status_code, error_code(answer)) == (422, "invalid_value"), answer.text
    assert answer.json()["error"]["param"] == "import_url"
    assert (await api("GET", "/api/tenants/movers")).status_code == 404


async def test_an_address_and_a_passphrase_go_together(api: Api) -> None:
    for body in ({"import_url": "https://files.example/x"}, {"passphrase": PASSPHRASE}):
        assert (await api("POST", "/api/tenants", {"slug": "movers"} | body)).status_code == 422
    both = {"import_url": "https://files.example/x", "passphrase": PASSPHRASE, "from_backup": {"tenant": "acme"}}
    assert (await api("POST", "/api/tenants", {"slug": "movers"} | both)).status_code == 422
