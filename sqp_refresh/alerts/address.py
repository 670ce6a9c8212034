"""Let webhooks go to addresses of the public internet only, unless a setting allows others.

Whoever may write a URL into a table could otherwise make this machine post to services that only it
can reach. A name is resolved once, and the connection is made to the very address that was checked.
"""

import ipaddress
import socket
import time
from collections.abc import Iterable
from ssl import SSLContext
from typing import Any

import httpcore

# What Python knows of special networks depends on its release, so they are listed here, as the
# registries of IANA have them.
_SPECIAL_IPV4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",  # Azure's own services, as seen from its machines
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/3",
    )
)
_IPV6_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The only part of IPv6 from which public addresses are given out."""
_SPECIAL_IPV6 = tuple(
    ipaddress.IPv6Network(network)
    for network in ("2001::/23", "2001:db8::/32", "3ffe::/16", "3fff::/20")
)
# An IPv6 address in one of these leads to the IPv4 address in the 32 bits that begin at this one.
_LEADING_TO_IPV4 = (
    (ipaddress.IPv6Network("::ffff:0:0/96"), 96),
    (ipaddress.IPv6Network("64:ff9b::/96"), 96),
    (ipaddress.IPv6Network("2002::/16"), 16),
)
# So does one whose interface has this number, in any network: ISATAP. One bit says whether the
# IPv4 address is thought to be unique.
_ISATAP, _ISATAP_UNIQUE = 0x00005EFE, 0x02000000


class PrivateAddress(Exception):
    """A receiver's address is not public, and the setting does not allow it."""


def is_public(address: str) -> bool:
    """Return whether an IP address means the same machine to the whole internet."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _SPECIAL_IPV4)
    is_isatap = int(_ipv4_in(ip, 64)) & ~_ISATAP_UNIQUE == _ISATAP
    if is_isatap and not is_public(str(_ipv4_in(ip, 96))):
        return False
    for network, first_bit in _LEADING_TO_IPV4:
        if ip in network:
            return is_public(str(_ipv4_in(ip, first_bit)))
    return ip in _IPV6_UNICAST and not any(ip in network for network in _SPECIAL_IPV6)


def _ipv4_in(address: ipaddress.IPv6Address, first_bit: int) -> ipaddress.IPv4Address:
    """Return the 32 bits of an address that begin at one, counted from its left."""
    return ipaddress.IPv4Address(int(address) >> (96 - first_bit) & 0xFFFFFFFF)


def resolve(host: str, port: int, *, allow_private: bool) -> list[str]:
    """Look up the addresses of a host, the preferred one first.

    Args:
        host: Its name, or an address in any notation.
        port: The port to connect to.
        allow_private: Whether an address that is not public is allowed.

    Raises:
        PrivateAddress: one of them is not public.
        httpcore.ConnectError: it has none.
    """
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # The latter for a label that is empty or too long.
        raise httpcore.ConnectError(f"no address of {host} is known") from None
    addresses = list(dict.fromkeys(str(address[0]) for *_, address in entries))
    for address in addresses:
        if not allow_private and not is_public(address):
            subject = host if host == address else f"{host} is at {address}, which"
            raise PrivateAddress(
                f"{subject} is not a public address; "
                "set REFRESH_WEBHOOK_ALLOW_PRIVATE=true to allow it"
            )
    return addresses


class GuardedNetwork(httpcore.NetworkBackend):
    """Connections to checked addresses only, and to none for longer than until a deadline."""

    def __init__(self, *, allow_private: bool, deadline: float) -> None:
        """Connect to public addresses, or to any, until a deadline.

        Args:
            allow_private: Whether an address that is not public is allowed.
            deadline: When every connection ends, in seconds of `time.monotonic`.
        """
        self._allow_private = allow_private
        self._deadline = deadline
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first address that accepts a connection.

        Raises:
            PrivateAddress: the host has an address that is not public.
        """
        failure: Exception = httpcore.ConnectError(f"no address of {host} is known")
        for address in resolve(host, port, allow_private=self._allow_private):
            try:
                limit = _remaining(timeout, self._deadline, httpcore.ConnectTimeout)
                stream = self._network.connect_tcp(
                    address, port, limit, local_address, socket_options
                )
                return _DeadlineStream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _DeadlineStream(httpcore.NetworkStream):
    """A connection that ends at a deadline: a byte now and then does not put it off."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(
            max_bytes, _remaining(timeout, self._deadline, httpcore.ReadTimeout)
        )

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _remaining(timeout, self._deadline, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        limit = _remaining(timeout, self._deadline, httpcore.ConnectTimeout)
        return _DeadlineStream(
            self._stream.start_tls(ssl_context, server_hostname, limit), self._deadline
        )

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401, as the interface has it
        return self._stream.get_extra_info(info)


def _remaining(timeout: float | None, deadline: float, late: type[Exception]) -> float:
    """Return the seconds that a call may take; raise `late` where the deadline has passed."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise late
    return seconds if timeout is None else min(timeout, seconds)
