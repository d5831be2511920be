"""Names to addresses without a thread for each look-up: names that never answer wait in front of nobody else.

`getaddrinfo` holds one of a few threads until the system's resolver gives up, long after whoever asked went away, so the names of one
partner would stop everybody's webhooks. c-ares asks on one socket for all.
"""

import asyncio
import ipaddress
import socket
from functools import lru_cache
from pathlib import Path

import aiodns
import aiodns.error
from pycares import errno

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

ASK_SECONDS = 1.5
"""A name server has so long to answer the first time, twice as long the second time."""
ASKED_TIMES = 2
LOOK_UPS = 2000
"""So many are under way at most in a process. Sends to one endpoint and for one tenant are bounded long before that."""
OURS = frozenset({errno.ARES_ENOMEM, errno.ARES_EFILE, errno.ARES_EDESTRUCTION, errno.ARES_ECANCELLED, errno.ARES_ENOTINITIALIZED})


class NoSuchNameError(OSError):
    """The name has no address, or nobody could tell it in time."""


class OwnFaultError(Exception):
    """Something of ours is short or broken, which says nothing about the other side: nothing was sent."""


class Resolver:
    """Looks names up. `nameservers` are the system's unless a test gives its own, as `127.0.0.1:5353`; so is `hosts`."""

    def __init__(self, nameservers: list[str] | None = None, hosts: Path = Path("/etc/hosts")) -> None:
        self._nameservers, self._hosts = nameservers, hosts
        self._asked: aiodns.DNSResolver | None = None
        self._under_way = 0

    async def addresses(self, host: str, seconds: float | None = None) -> list[Address]:
        """Every address of the host: a number in any form that the system reads, a name in the hosts file, or what DNS says.

        Raises NoSuchNameError, also after so many seconds, and OwnFaultError.
        """
        if found := _numeric(host) or self._in_hosts(host):
            return found
        if self._under_way >= LOOK_UPS:
            raise OwnFaultError("too many names are being looked up")
        self._under_way += 1
        try:
            return await asyncio.wait_for(self._ask(host), seconds)
        except TimeoutError as late:
            raise NoSuchNameError(f"nobody told the address of {host} in time") from late
        finally:
            self._under_way -= 1
            if not self._under_way and self._asked is not None:
                self._asked.cancel()  # nobody waits for what is still unanswered

    def _in_hosts(self, host: str) -> list[Address]:
        try:
            changed = self._hosts.stat().st_mtime_ns
            return _hosts_file(self._hosts, changed).get(host.lower().removesuffix("."), [])
        except OSError:
            return []

    async def _ask(self, host: str) -> list[Address]:
        if self._asked is None:
            try:
                self._asked = aiodns.DNSResolver(self._nameservers, timeout=ASK_SECONDS, tries=ASKED_TIMES)
            except Exception as error:
                raise OwnFaultError("no look-up can be made") from error
        try:
            found = await self._asked.getaddrinfo(host, family=socket.AF_UNSPEC, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            if error.args and error.args[0] in OURS:
                raise OwnFaultError(f"{host} cannot be looked up") from error
            raise NoSuchNameError(f"{host} has no address") from error
        texts = (node.addr[0] for node in found.nodes)
        return list(dict.fromkeys(ipaddress.ip_address(text.decode() if isinstance(text, bytes) else text) for text in texts))


def _numeric(host: str) -> list[Address]:
    """The address that the text is, in the odd forms too that the system's dialling would take (`127.1`, `0x7f000001`)."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


@lru_cache(maxsize=4)
def _hosts_file(path: Path, _changed: int) -> dict[str, list[Address]]:
    """Names in lower case, with their addresses in the file's order."""
    found: dict[str, list[Address]] = {}
    for line in path.read_text("utf-8", "replace").splitlines():
        text, *names = line.partition("#")[0].split() or [""]
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        for name in names:
            found.setdefault(name.lower(), []).append(address)
    return found
