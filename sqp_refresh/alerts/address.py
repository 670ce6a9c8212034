"""Where a webhook may go: to addresses of the public internet, unless a switch allows others.

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

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class PrivateAddress(Exception):
    """A receiver's address is not public, and the switch does not allow it."""


def is_public(address: str) -> bool:
    """Whether an IP address is one that the whole internet reaches the same machine by."""
    found = ipaddress.ip_address(address)
    if isinstance(found, ipaddress.IPv6Address):
        found = _embedded(found) or found
    return found.is_global and not found.is_multicast and not found.is_reserved


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to, if it does."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def resolved(host: str, port: int, *, allow_private: bool) -> list[str]:
    """The addresses of a host, the preferred one first.

    Raises:
        PrivateAddress: one of them is not public.
        httpcore.ConnectError: it has none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise httpcore.ConnectError(f"no address of {host} is known") from None
    addresses = list(dict.fromkeys(str(at[0]) for *_, at in found))
    for address in addresses:
        if not allow_private and not is_public(address):
            where = host if host == address else f"{host} is at {address}, which"
            raise PrivateAddress(
                f"{where} is not a public address; "
                "set REFRESH_WEBHOOK_ALLOW_PRIVATE=true to allow it"
            )
    return addresses


class GuardedNetwork(httpcore.NetworkBackend):
    """Connects to checked addresses only, and to none for longer than until a deadline."""

    def __init__(self, *, allow_private: bool, ends: float) -> None:
        """Connect until `ends`, in seconds of `time.monotonic`."""
        self._allow_private = allow_private
        self._ends = ends
        self._network = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address that accepts one.

        Raises:
            PrivateAddress: the host has an address that is not public.
        """
        failure: Exception = httpcore.ConnectError(f"no address of {host} is known")
        for address in resolved(host, port, allow_private=self._allow_private):
            try:
                limit = _limited(timeout, self._ends, httpcore.ConnectTimeout)
                stream = self._network.connect_tcp(
                    address, port, limit, local_address, socket_options
                )
                return _Hurried(stream, self._ends)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure


class _Hurried(httpcore.NetworkStream):
    """A connection that ends at a deadline: a byte now and then does not put it off."""

    def __init__(self, stream: httpcore.NetworkStream, ends: float) -> None:
        self._stream = stream
        self._ends = ends

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _limited(timeout, self._ends, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _limited(timeout, self._ends, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        limit = _limited(timeout, self._ends, httpcore.ConnectTimeout)
        return _Hurried(self._stream.start_tls(ssl_context, server_hostname, limit), self._ends)

    def get_extra_info(self, info: str) -> Any:  # noqa: ANN401, as the interface has it
        return self._stream.get_extra_info(info)


def _limited(timeout: float | None, ends: float, late: type[Exception]) -> float:
    left = ends - time.monotonic()
    if left <= 0:
        raise late
    return left if timeout is None else min(timeout, left)
