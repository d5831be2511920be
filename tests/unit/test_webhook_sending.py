"""The sender against real sockets that misbehave: it never raises, never follows, never waits too long, never keeps too much."""

import asyncio
import contextlib
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runtime.http import Sender
from tests.partner import a_partner

OPEN = ["127.0.0.0/8"]


@contextlib.asynccontextmanager
async def a_server(serve, context=None):
    async def handle(reader, writer):
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def send(url, timeout_seconds=60.0, sender=None, body=b"{}"):
    return await (sender or Sender(OPEN)).post(url, [("Content-Type", "application/json")], body, timeout_seconds)


async def test_an_answer_is_kept_with_its_facts():
    async with a_partner(503, headers={"Retry-After": "7"}) as partner:
        outcome = await send(partner.url, body='{"a":"đ"}'.encode())
    assert (outcome.status, outcome.error, outcome.retry_after, outcome.remote_address) == (503, None, "7", "127.0.0.1")
    assert outcome.duration_ms > 0
    (received,) = partner.received
    assert received.body == '{"a":"đ"}'.encode()
    assert received.headers["accept-encoding"] == "identity"
    assert received.headers["host"] == f"127.0.0.1:{partner.port}"


async def test_a_redirect_is_not_followed():
    async with a_partner(200) as target, a_partner(302, headers={"Location": target.url}) as partner:
        assert (await send(partner.url)).status == 302
    assert target.received == []


async def test_a_proxy_variable_is_ignored(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with a_partner(200) as partner:
        assert (await send(partner.url)).status == 200


async def test_a_dripping_server_is_cut_off():
    async def drip(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with a_server(drip) as port:
        async with asyncio.timeout(60):  # it drips for ever
            outcome = await send(f"http://127.0.0.1:{port}/", 0.4)
    assert outcome.error == "timeout"


async def test_only_the_head_of_a_huge_answer_is_kept():
    async def flood(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        while True:
            writer.write(b"y" * 65536)
            await writer.drain()

    async with a_server(flood) as port:
        outcome = await send(f"http://127.0.0.1:{port}/")
    assert (outcome.status, outcome.error, len(outcome.head)) == (200, None, 8192)


async def test_a_connection_that_breaks_off_is_a_reset():
    async def slam(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    async with a_server(slam) as port:
        assert (await send(f"http://127.0.0.1:{port}/")).error == "reset"


async def test_a_server_that_speaks_no_http_is_a_reset():
    async def babble(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"hello?\r\n\r\n")

    async with a_server(babble) as port:
        assert (await send(f"http://127.0.0.1:{port}/")).error == "reset"


async def test_a_closed_port_is_refused():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        assert (await send(f"http://127.0.0.1:{held.getsockname()[1]}/")).error == "refused"


async def test_a_name_without_an_address_is_a_dns_fault(monkeypatch):
    async def unknown(self, host, port, **_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")  # a resolver that is away would take its time

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", unknown)
    assert (await send("http://no-such-host.invalid/")).error == "dns"


HIDDEN = [
    "127.0.0.1", "localhost", "LOCALHOST", "127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "017700000001", "0177.0.0.1", "0",
    "0.0.0.0", "[::]", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:7f00:0001]", "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "127.0.0.1.", "169.254.169.254", "[fe80::1]",
]  # fmt: skip


@pytest.mark.parametrize("host", HIDDEN)
async def test_nothing_is_sent_to_an_address_that_is_not_public(host):
    async with a_partner(200) as partner:
        outcome = await send(f"http://{host}:{partner.port}/hook", sender=Sender())
        # Where the system takes the text for a name, the name has no address: nothing is sent either way.
        blocked = await Sender().is_blocked(f"http://{host}:{partner.port}/hook")
        assert (outcome.status, outcome.error) == (None, "blocked_address" if blocked else "dns")
        assert blocked or host.endswith("."), host
    assert partner.received == []


async def test_a_name_with_one_address_that_is_not_public_is_blocked(monkeypatch):
    async def both(self, host, port, **_):
        return [(0, 0, 0, "", ("8.8.8.8", port)), (0, 0, 0, "", ("127.0.0.1", port))]

    monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", both)
    assert (await send("http://two-faced.example/", sender=Sender())).error == "blocked_address"


async def test_a_name_that_points_elsewhere_when_asked_again_leads_nowhere(monkeypatch):
    asked = []

    async def first_public_then_local(self, host, port, **_):
        asked.append(host)
        return [(0, 0, 0, "", ("203.0.113.7" if len(asked) == 1 else "127.0.0.1", port))]

    async with a_partner(200) as partner:
        monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", first_public_then_local)
        opened = Sender(["203.0.113.0/24"])
        outcome = await send(f"http://rebinding.example:{partner.port}/", 0.5, sender=opened)
    assert len(asked) == 1, "what was checked is dialled: there is no second look-up"
    assert outcome.status is None
    assert outcome.remote_address == "203.0.113.7"
    assert partner.received == []


def a_certificate(directory, name):
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = directory / f"{name}.pem"
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + secret)
    return path


@pytest.mark.parametrize(("name", "trusted", "error"), [("localhost", True, None), ("localhost", False, "tls"), ("elsewhere", True, "tls")])
async def test_the_certificate_must_be_trusted_and_name_the_host(tmp_path, name, trusted, error):
    async def answer(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    path = a_certificate(tmp_path, name)
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(path)
    client_context = ssl.create_default_context(cafile=path if trusted else None)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    async with a_server(answer, server_context) as port:
        outcome = await send(f"https://localhost:{port}/", sender=Sender([*OPEN, "::1/128"], client_context))
    assert outcome.error == error
    assert outcome.status == (None if error else 204)
