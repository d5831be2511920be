"""Redis over TLS with a private authority: the client and the line trust the same, and nothing is said in the clear."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runtime.redis import Redis, RedisError, make_redis
from runtime.settings import SettingError, check_redis_url
from tests.conftest import PASSWORD, settings_for


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1, which is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = directory / "cert.pem", directory / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    key_file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return cert_file, key_file


@asynccontextmanager
async def in_front_of(redis_url: str, directory: Path) -> AsyncIterator[tuple[int, Path]]:
    """The port of a socket that ends TLS in front of the real server (which was built without), and its authority."""
    authority, key = certificate(directory)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority, key)
    behind = urlsplit(redis_url)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while more := await reader.read(65_536):
                writer.write(more)
                await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection(behind.hostname, behind.port)
        await asyncio.gather(pass_on(reader, questions), pass_on(answers, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], authority
    finally:
        server.close()


def client(postgres_url: str, address: str) -> Redis:
    return make_redis(settings_for(postgres_url, address, "127.0.0.1:1"))


@pytest.mark.parametrize("scheme", ["rediss", "valkeys"])
async def test_the_client_and_the_line_trust_the_private_authority(redis_url: str, tmp_path: Path, postgres_url: str, scheme: str) -> None:
    async with in_front_of(redis_url, tmp_path) as (port, authority):
        secure = client(postgres_url, f"{scheme}://:{PASSWORD}@127.0.0.1:{port}/0?ssl_ca_certs={authority}")
        assert await secure.ping()
        assert await secure.line.ask([("SET", "tls", "yes"), ("GET", "tls")]) == [b"OK", b"yes"]
        await secure.aclose()


async def test_who_is_not_trusted_gets_no_password_and_plain_text_is_never_spoken(
    redis_url: str, tmp_path: Path, postgres_url: str
) -> None:
    async with in_front_of(redis_url, tmp_path) as (port, _):
        stranger = client(postgres_url, f"rediss://:{PASSWORD}@127.0.0.1:{port}/0")
        with pytest.raises(RedisError):
            await stranger.line.ask([("PING",)])
        await stranger.aclose()

    heard = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while more := await reader.read(4096):
            heard.extend(more)
            writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        asked = client(postgres_url, f"rediss://:{PASSWORD}@127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        with pytest.raises(RedisError):
            await asked.line.ask([("PING",)])
        await asked.aclose()
    assert heard.startswith(b"\x16\x03")  # a TLS handshake
    assert PASSWORD.encode() not in heard


@pytest.mark.parametrize(
    "address",
    ["redis+sentinel://h:26379/primary", "redis+cluster://h:7000", "redis://a:6379,b:6379/0", "http://h", "h:6379", "memcached://h"],
)
def test_an_address_that_cannot_work_is_refused_at_the_start(address: str) -> None:
    with pytest.raises(SettingError, match="LAUREL_REDIS_URL"):
        check_redis_url(address)
