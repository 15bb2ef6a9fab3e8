"""The port of HTTP, reserved before there is anything that listens on it."""

import errno
import socket

from lading.errors import EngineError


def reserve(host: str, port: int) -> socket.socket:
    """A socket bound to the address, which does not listen: until it does, connections are refused.

    Raises:
        EngineError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind((host, port))
    except OSError as error:
        reserved.close()
        raise cannot_listen(host, port, error) from error
    return reserved


def cannot_listen(host: str, port: int, error: OSError) -> EngineError:
    """The error that says why an address cannot be used."""
    if error.errno == errno.EADDRINUSE:
        return EngineError(
            f"port {port} on {host} is in use by another process: stop that one, or choose another port with --port"
        )
    return EngineError(f"cannot listen on {host}, port {port}: {error.strerror or error}")
