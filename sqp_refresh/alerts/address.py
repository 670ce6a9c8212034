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

# An IPv6 address in this network leads to the IPv4 address in its last four bytes.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class PrivateAddress(Exception):
    """A receiver's address is not public, and the setting does not allow it."""


def is_public(address: str) -> bool:
    """Return whether an IP address means the same machine to the whole internet."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        ip = _embedded_ipv4(ip) or ip
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to, if it does."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


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
    except OSError:
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
