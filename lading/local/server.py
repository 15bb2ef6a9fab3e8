"""The server process: store, controller, router and API together."""

import logging
import os
import secrets
import subprocess
import sys
import threading
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from urllib.parse import urlsplit

from lading.errors import LadingError
from lading.local import logs
from lading.local.access import write_access
from lading.local.api import Api
from lading.local.controller import Controller
from lading.local.images import Host
from lading.local.listener import make_server
from lading.local.locks import FileLock
from lading.local.router import Router
from lading.local.state import Layout, read_endpoint, write_endpoint
from lading.local.stopping import StopSignal
from lading.local.store import Store
from lading.results import LocalEndpoint
from lading.wait import Deadline

_LOG = logging.getLogger(__name__)

# What the processes of revisions need of the caller's environment; nothing else of it reaches them.
_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "SSL_CERT_FILE",
    "GOOGLE_APPLICATION_CREDENTIALS",
)
_TICK_SECONDS = 0.5
_LOCK_SECONDS = 1.0  # whoever asks who holds the lock has it for a moment


def serve(layout: Layout, *, environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM, and return the exit code.

    Args:
        layout: The state directory; it must exist.
        environ: Where the environment of revisions comes from.

    Raises:
        LadingError: another server holds the state directory, or no port can be had.
    """
    lock = FileLock(layout.server_lock)
    if not lock.acquire(Deadline.after(_LOCK_SECONDS)):
        raise LadingError(f"another server already serves {layout.root}")
    stop = StopSignal()
    router = Router()
    store = Store(layout.objects)
    env = {name: environ[name] for name in _PASSED_ON if name in environ}
    controller = Controller(store, router, Host(layout, env, environ))
    controller.start()
    api = _listen(Api(store, router), layout)
    threading.Thread(target=api.serve_forever, name="api", daemon=True).start()
    _LOG.info("serving %s on port %s", layout.root, api.server_port)
    parent = os.getppid()
    while not stop.wait(_TICK_SECONDS):
        logs.bound(layout.server_log)
        if os.getppid() != parent:  # the supervisor was killed: make another, which waits for this server to end
            parent = os.getppid()
            spawn_detached(layout, "supervise")
    api.shutdown()
    controller.stop()
    router.stop()
    _LOG.info("stopped")
    return 0


def _listen(api: Api, layout: Layout) -> ThreadingHTTPServer:
    """Listen where the last server did, with its token, so that whoever read the endpoint file can go on."""
    before = read_endpoint(layout)
    token = before.token if before else secrets.token_urlsafe(32)
    port = (urlsplit(before.url).port or 0) if before else 0
    try:
        server = make_server(api, token=token, port=port)
    except OSError:
        server = make_server(api, token=token, port=0)
    endpoint = LocalEndpoint(f"http://127.0.0.1:{server.server_port}", token, os.getpid())
    write_access(layout, endpoint)
    write_endpoint(layout, endpoint)
    return server


def spawn_detached(layout: Layout, role: str) -> None:
    """Start ``python -m lading.local ROLE`` so that it holds nothing of the caller's: no terminal, no pipes, no parent.

    The shell ends at once and leaves the process to init, so that it never becomes a zombie of a caller that lives
    long.
    """
    with layout.server_log.open("ab") as log:
        subprocess.run(
            ["/bin/sh", "-c", '"$@" &', "sh", sys.executable, "-P", "-m", "lading.local", role, str(layout.root)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
            check=True,
        )
