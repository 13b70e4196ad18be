"""Which URLs and network addresses may receive a webhook's messages.

A service can reach machines that the owner of a webhook cannot: its own loopback, its network, a cloud's metadata. So
messages go to public addresses alone, unless the operator of the service allows a network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import SplitResult, urlsplit

from eva.errors import ConfigError, InputError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NETWORKS = "EVA_WEBHOOK_NETWORKS"
LONGEST_URL = 2000
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def parse_networks(text: str) -> tuple[Network, ...]:
    """Parses networks that are separated by commas. Raises ConfigError."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ConfigError(
            f"{NETWORKS} is {text[:200]!r}: {error}",
            expected="networks such as 10.0.0.0/8, separated by commas",
            next_move="Correct it or unset it",
        ) from error


def parse_receiver(url: str) -> SplitResult:
    """Parses the URL of a receiver. Raises InputError, whose message does not show the URL: it may hold a secret."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        parts, usable = None, False
    printable = url.isascii() and url.isprintable() and " " not in url
    if parts is None or not usable or not printable or len(url) > LONGEST_URL or parts.fragment:
        raise InputError(
            "the webhook's URL cannot be used",
            expected=f"https://HOST/PATH in ASCII, without a fragment, at most {LONGEST_URL} characters",
            next_move="Correct it; it is not shown here, because it may hold a secret",
        )
    if parts.username is not None or parts.password is not None:
        raise InputError(
            "the webhook's URL holds a user name or a password",
            expected="a URL without credentials: messages are signed instead",
            next_move="Leave them out, and check the signature at the receiver (docs/reference/webhooks.md)",
        )
    return parts


def shown_url(url: str) -> str:
    """Returns what people may see of a receiver's URL: where it leads, without its path, which is often a secret."""
    parts = urlsplit(url)
    hidden = "/***" if parts.path.strip("/") or parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{hidden}"


def real_address(address: Address) -> Address:
    """Returns the IPv4 address that an IPv6 address stands for, if it does (mapped, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Returns whether an address is one of the public internet: not private, loopback, link-local, shared, reserved."""
    address = real_address(address)
    if isinstance(address, ipaddress.IPv6Address) and (address.is_site_local or address.sixtofour or address.teredo):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def is_allowed(address: Address, networks: Sequence[Network]) -> bool:
    """Returns whether the operator has allowed an address that is not public, or one without TLS."""
    return any(real_address(address) in network for network in networks)
