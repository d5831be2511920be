"""The sender against real sockets that misbehave: it never raises, never follows, never waits too long, never keeps too much."""

import asyncio
import contextlib
import os
import resource
import socket
import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from runtime.http import Sender
from runtime.resolver import OwnFaultError, Resolver
from tests.name_server import a_name_server
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


@contextlib.asynccontextmanager
async def names(answers, allowed=OPEN):
    async with a_name_server(answers) as server:
        yield Sender(allowed, resolver=Resolver([f"127.0.0.1:{server.port}"])), server


async def test_a_name_without_an_address_is_a_dns_fault():
    async with names(lambda _: []) as (sender, _):
        assert (await send("http://no-such-host.example/", sender=sender)).error == "dns"
        assert not await sender.is_blocked("http://no-such-host.example/"), "a name that does not resolve now is accepted"


async def test_a_name_is_reached_by_its_address():
    async with a_partner(200) as partner, names(lambda _: ["127.0.0.1"]) as (sender, _):
        assert (await send(f"http://partner.example:{partner.port}/", sender=sender)).status == 200
    assert partner.received[0].headers["host"] == f"partner.example:{partner.port}"


async def test_names_in_the_hosts_file_need_no_name_server(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1\tlocalhost Partner # ours\nno address here\n::1 six\n")
    async with a_partner(200) as partner, a_name_server(lambda _: []) as server:
        resolver = Resolver([f"127.0.0.1:{server.port}"], hosts)
        for host in ("localhost", "LOCALHOST", "partner", "Partner."):
            assert (await send(f"http://{host}:{partner.port}/", sender=Sender(OPEN, resolver=resolver))).status == 200, host
        hosts.write_text("127.0.0.1 another-name\n")
        assert (await send(f"http://another-name:{partner.port}/", sender=Sender(OPEN, resolver=resolver))).status == 200
    assert server.asked == []


async def test_names_that_are_never_answered_wait_in_front_of_nobody_else():
    def silent(name):
        return None if name.startswith("silent") else ["127.0.0.1"]

    async with a_partner(200) as partner, names(silent) as (sender, server):
        waiting = [asyncio.create_task(send(f"http://silent{number}.example/", 3.0, sender=sender)) for number in range(100)]
        async with asyncio.timeout(60):
            while len({name for name in server.asked if name.startswith("silent")}) < 100:
                await asyncio.sleep(0.01)
        good = await send(f"http://good.example:{partner.port}/", 3.0, sender=sender)
        assert good.status == 200
        assert not any(each.done() for each in waiting), "it was answered while all the others still waited"
        assert {(await each).error for each in waiting} <= {"dns", "timeout"}


async def test_what_we_have_run_out_of_is_no_attempt():
    limits, sender = resource.getrlimit(resource.RLIMIT_NOFILE), Sender(OPEN)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, limits[1]))
    try:
        with pytest.raises(OwnFaultError):
            await send("http://127.0.0.1:9/", sender=sender)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert (await send("http://127.0.0.1:9/", sender=sender)).error == "refused"


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


async def test_a_name_with_one_address_that_is_not_public_is_blocked():
    async with names(lambda _: ["8.8.8.8", "127.0.0.1"], ()) as (sender, _):
        assert (await send("http://two-faced.example/", sender=sender)).error == "blocked_address"
        assert await sender.is_blocked("http://two-faced.example/")


async def test_a_name_that_points_elsewhere_when_asked_again_leads_nowhere():
    asked = []

    def first_public_then_local(name):
        asked.append(name)
        return ["203.0.113.7" if len(asked) <= 2 else "127.0.0.1"]  # it is asked for both kinds of address

    async with a_partner(200) as partner, names(first_public_then_local, ["203.0.113.0/24"]) as (sender, _):
        outcome = await send(f"http://rebinding.example:{partner.port}/", 0.5, sender=sender)
    assert len(asked) == 2, "what was checked is dialled: there is no second look-up"
    assert outcome.status is None
    assert outcome.remote_address == "203.0.113.7"
    assert partner.received == []


ENDLESS = {
    "interim answers": b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 500,
    "a head": b"x-padding: " + b"a" * 60_000 + b"\r\n",
    "one header": b"a" * 65536,
    "chunk extensions": b"1;" + b"e" * 20_000 + b"\r\nx\r\n",
}


@pytest.mark.parametrize("kind", ENDLESS)
async def test_an_answer_without_an_end_is_left(kind):
    sent = 0

    async def flood(reader, writer):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        if kind != "interim answers":
            writer.write(b"HTTP/1.1 200 OK\r\n" + (b"transfer-encoding: chunked\r\n\r\n" if kind == "chunk extensions" else b""))
        while True:
            writer.write(ENDLESS[kind])
            sent += len(ENDLESS[kind])
            await writer.drain()

    async with a_server(flood) as port:
        outcome = await send(f"http://127.0.0.1:{port}/", 30.0)
    assert outcome.error == "reset"
    assert sent < 32_000_000, "what the sockets hold, and no more"


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
