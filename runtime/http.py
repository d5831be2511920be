"""The one place where Laurel calls an address that a partner chose.

Every resolved address is checked and a checked one is dialled, so a name that changes between look-ups cannot lead inside
(contract 5). No redirects, no proxy variables, no decompression, one hard limit over the whole exchange.
"""

import asyncio
import errno
import ipaddress
import logging
import ssl
import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

import certifi
import httpcore
import msgspec

from runtime import tracing
from runtime.resolver import Address, NoSuchNameError, OwnFaultError, Resolver

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
ANSWER_BYTES = 8 * 1024
READ_BYTES = 512 * 1024
"""So much of an answer is read at most, heads, interim answers and framing included; what is still no answer then is none."""
SHORT_OF = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EAGAIN})
"""What the system says when we have run out of something."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

DENIED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fc00::/7", "fe80::/10", "fec0::/10",
        "ff00::/8",
    )
)  # fmt: skip
"""Ranges that are not the public internet; `is_global` alone lets several of them through."""

NAT64 = ipaddress.ip_network("64:ff9b::/96")


class BlockedAddressError(httpcore.ConnectError):
    """A resolved address is not public: nothing was sent."""


class NoAddressError(httpcore.ConnectError):
    """The host's name has no address."""


class ExchangeOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one exchange gave. `error` is one of `dns refused reset timeout tls blocked_address bad_url`, or None with a status."""

    status: int | None
    error: str | None
    head: bytes
    duration_ms: float
    remote_address: str | None
    retry_after: str | None


def embedded(address: Address) -> list[Address]:
    """The address, and the IPv4 addresses hidden in it: mapped, 6to4, Teredo (both ends), NAT64."""
    found: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        inner: list[Address | None] = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
        if address in NAT64:
            inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        found += [each for each in inner if each is not None]
    return found


def is_allowed(address: Address, opened: Sequence[Network] = ()) -> bool:
    """Whether a webhook may go to this address; `opened` are the networks that development allows."""
    forms = embedded(address)
    if any(form in network for form in forms for network in opened):
        return True
    # A mapped or NAT64 form is judged by what is inside: the outer range itself is never global.
    judged = forms[1:] if len(forms) > 1 and (address in NAT64 or _is_mapped(address)) else forms
    return all(_is_public(form) for form in judged)


def _is_mapped(address: Address) -> bool:
    return isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None


def _is_public(address: Address) -> bool:
    if any(address in network for network in DENIED):
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_link_local or address.is_unspecified)


class _BoundedStream(httpcore.AsyncNetworkStream):
    """A connection from which at most `READ_BYTES` are read: a partner that never comes to an end costs time only, and little of it."""

    def __init__(self, inner: httpcore.AsyncNetworkStream, left: int = READ_BYTES) -> None:
        self._inner, self._left = inner, left

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's signature
        if self._left <= 0:
            raise httpcore.ReadError("the answer has no end")
        part = await self._inner.read(min(max_bytes, self._left), timeout)
        self._left -= len(part)
        return part

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _BoundedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout), self._left)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _CheckedBackend(httpcore.AsyncNetworkBackend):
    """Resolves, checks all addresses, dials one that was checked, and remembers how far it came. One for each exchange."""

    def __init__(self, opened: Sequence[Network], resolver: Resolver) -> None:
        self._opened, self._resolver = opened, resolver
        self._inner = httpcore.AnyIOBackend()
        self.remote_address: str | None = None
        self.connected = False

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to a checked address of the host."""
        try:
            addresses = await self._resolver.addresses(host, timeout)
        except NoSuchNameError as error:
            raise NoAddressError(f"{host} has no address") from error
        if not all(is_allowed(address, self._opened) for address in addresses):
            raise BlockedAddressError(f"{host} resolves to an address that is not public")
        last: Exception = NoAddressError(f"{host} has no address")
        for address in addresses[:4]:
            self.remote_address = str(address)
            try:
                stream = await self._inner.connect_tcp(str(address), port, timeout, local_address, socket_options)
            except httpcore.ConnectError as error:
                last = error
            else:
                self.connected = True
                return _BoundedStream(stream)
        raise last

    async def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Any = None) -> Any:  # noqa: ASYNC109
        """Never: partners live on the internet."""
        raise BlockedAddressError("a webhook never goes to a local socket")

    async def sleep(self, seconds: float) -> None:
        """Let time pass, for httpcore's own retries (which are off)."""
        await asyncio.sleep(seconds)


class Sender:
    """Sends webhooks. `allow_cidrs` opens networks for development; tests have an authority (`context`) and names of their own."""

    def __init__(self, allow_cidrs: Iterable[str] = (), context: ssl.SSLContext | None = None, resolver: Resolver | None = None) -> None:
        self._resolver = resolver or Resolver()
        self._opened: list[Network] = [ipaddress.ip_network(text) for text in allow_cidrs]
        if context is None:
            context = ssl.create_default_context()
            context.load_verify_locations(certifi.where())
        self._context = context

    async def is_blocked(self, url: str) -> bool:
        """Whether the URL's host resolves, now, to an address that webhooks may not reach; a name that does not resolve is not blocked."""
        parts = urlsplit(url)
        try:
            addresses = await self._resolver.addresses(parts.hostname or "", CONNECT_SECONDS)
        except (NoSuchNameError, OwnFaultError):
            return False
        return not all(is_allowed(address, self._opened) for address in addresses)

    async def post(self, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout_seconds: float) -> ExchangeOutcome:
        """Send one request and keep the first 8 KB of the answer. Never raises for what the other side does.

        Raises OwnFaultError, before anything was sent, when we have run out of something: that is not an attempt.
        """
        backend = _CheckedBackend(self._opened, self._resolver)
        started = time.monotonic()
        answer = _Answer()
        error: str | None = None
        try:
            with tracing.sending(url, dict(headers)):
                async with asyncio.timeout(timeout_seconds):
                    await self._exchange(backend, url, (headers, body), answer)
        except httpcore.UnsupportedProtocol:
            error = "bad_url"
        except OwnFaultError:
            raise
        except Exception as raised:
            if not backend.connected and _is_short(raised):
                raise OwnFaultError("no connection can be made") from raised
            if not isinstance(raised, KNOWN):  # whatever the other side sends ends in an answer or an error of the attempt
                log.exception("the exchange with %s ended in an unknown way", backend.remote_address)
            error = _error_class(raised, backend.connected)
        return ExchangeOutcome(
            status=answer.status,
            error=error,
            head=bytes(answer.head),
            duration_ms=round((time.monotonic() - started) * 1000, 3),
            remote_address=backend.remote_address,
            retry_after=answer.retry_after,
        )

    async def _exchange(
        self, backend: _CheckedBackend, url: str, content: tuple[Sequence[tuple[str, str]], bytes], answer: "_Answer"
    ) -> None:
        headers, body = content
        host = urlsplit(url).netloc
        sent = [("Host", host), *headers, ("Content-Length", str(len(body))), ("Accept-Encoding", "identity"), ("Connection", "close")]
        encoded = [(name.encode("ascii"), value.encode("latin-1")) for name, value in sent]
        pool = httpcore.AsyncConnectionPool(ssl_context=self._context, max_connections=1, network_backend=backend)
        limits = {"connect": CONNECT_SECONDS}
        async with (
            pool,
            pool.stream("POST", url, headers=encoded, content=body, extensions={"timeout": limits}) as response,
        ):
            answer.status = response.status
            answer.retry_after = next((value.decode("latin-1") for name, value in response.headers if name.lower() == b"retry-after"), None)
            async for part in response.aiter_stream():
                answer.head += part[: ANSWER_BYTES - len(answer.head)]
                if len(answer.head) >= ANSWER_BYTES:
                    break


class _Answer:
    """What has arrived so far: it outlives a time-out in mid-body."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.retry_after: str | None = None
        self.head = bytearray()


KNOWN = (OSError, ValueError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError)


def _is_short(error: BaseException | None) -> bool:
    """Whether the system refused a connection because we have run out of files, ports or memory."""
    for _ in range(10):
        if error is None:
            return False
        if isinstance(error, OSError) and error.errno in SHORT_OF:
            return True
        error = error.__cause__ or error.__context__
    return False


def _error_class(error: Exception, connected: bool) -> str:
    if isinstance(error, BlockedAddressError):
        return "blocked_address"
    if isinstance(error, NoAddressError):
        return "dns"
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return "timeout"
    if _has_cause(error, ssl.SSLError):
        return "tls"
    if isinstance(error, httpcore.ConnectError):
        return "tls" if connected else "refused"
    if isinstance(error, ValueError | httpcore.LocalProtocolError):
        return "bad_url"
    return "reset"


def _has_cause(error: BaseException | None, kind: type[BaseException]) -> bool:
    for _ in range(10):
        if error is None:
            return False
        if isinstance(error, kind):
            return True
        error = error.__cause__ or error.__context__
    return False
