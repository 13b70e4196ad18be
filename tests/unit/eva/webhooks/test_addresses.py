"""Messages of webhooks go to public addresses alone, unless the operator allows a network, and URLs stay hidden."""

from __future__ import annotations

import ipaddress

import pytest

from eva.errors import ConfigError, InputError
from eva.webhooks.addresses import is_allowed, is_public, parse_networks, parse_receiver, shown_url


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),  # noqa: S104
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1"),
        *("::1", "::", "fe80::1", "fd00::1", "fec0::1", "ff02::1", "ff0e::1"),
        # another address inside: IPv4-mapped, IPv4-compatible, NAT64, 6to4, Teredo
        *("::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::a00:1", "64:ff9b:1::a00:1", "2002:a00:1::", "2001:0:a00:1::1"),
    ],
)
def test_an_address_of_a_machine_or_a_network_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def test_an_allowed_network_holds_its_addresses_alone() -> None:
    networks = parse_networks("10.1.0.0/16, fd00::/8")
    assert is_allowed(ipaddress.ip_address("10.1.2.3"), networks)
    assert is_allowed(ipaddress.ip_address("::ffff:10.1.2.3"), networks)
    assert is_allowed(ipaddress.ip_address("fd00::7"), networks)
    assert not is_allowed(ipaddress.ip_address("10.2.0.1"), networks)


def test_a_network_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="EVA_WEBHOOK_NETWORKS"):
        parse_networks("10.1.0.1/16")


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://a.example/", "a.example/x", "https:///x", "https://a.example:0/", "https://a.example:99999/"),
        *("https://me:pAsSwOrD@a.example/x", "https://a.example/x#y", "https://a.example/ x", "https://[::1/x"),
        *("https://a.example/\r\nX: y", f"https://a.example/{'x' * 2000}", "https://ä.example/"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InputError) as refused:
        parse_receiver(url)
    assert "example" not in str(refused.value).replace("https://HOST", "") and "pAsSwOrD" not in str(refused.value)


def test_a_url_is_shown_without_its_path() -> None:
    assert shown_url("https://hooks.slack.com/services/T0/B0/sEcReT") == "https://hooks.slack.com/***"
    assert shown_url("http://10.0.0.1:8080/?token=sEcReT") == "http://10.0.0.1:8080/***"
    assert shown_url("https://a.example/") == "https://a.example"
