"""Which addresses a webhook may reach: every range of contract 5, in every disguise."""

import ipaddress

import pytest

from runtime.http import is_allowed

BLOCKED = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.8",
    "192.0.0.9", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
    "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2001:0:7f00:1::", "2001:0:102:304:0:0:80ff:fffe", "100::1", "2001:db8::1",
    "3fff::1", "5f00::1", "fc00::1", "fd12::1", "fe80::1", "fec0::1", "ff02::1",
    "192.0.0.192", "::ffff:0:7f00:1", "::ffff:a9fe:a9fe", "2002:0a00:0001::", "2002:c0a8:0101::1", "64:ff9b::0a00:0001", "64:ff9b:1:7f00::",
    "2001:0:4136:e378:8000:63bf:80ff:fffe", "fe80::1%eth0", "ff0e::1", "::a9fe:a9fe",
]  # fmt: skip
PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("text", BLOCKED)
def test_an_address_that_is_not_public_is_blocked(text):
    assert not is_allowed(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_a_public_address_is_allowed(text):
    assert is_allowed(ipaddress.ip_address(text))


def test_development_opens_networks_by_name_and_nothing_else():
    opened = [ipaddress.ip_network("127.0.0.0/8")]
    assert is_allowed(ipaddress.ip_address("127.0.0.1"), opened)
    assert is_allowed(ipaddress.ip_address("::ffff:127.0.0.1"), opened)
    assert not is_allowed(ipaddress.ip_address("10.0.0.1"), opened)
    assert not is_allowed(ipaddress.ip_address("::1"), opened)
