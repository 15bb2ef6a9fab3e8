"""An HTTP proxy on loopback before a registry that loses connections, stumbles and dawdles, as a seed says."""

import http.client
import random
import threading
import time
from collections import Counter
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAULTS = ("cut request", "cut answer", "lose answer", "429", "500", "503", "slow")
_PIECE = 1 << 16


class FaultProxy:
    """Forwards to ``host``; of the requests the share ``faulty`` gets one of ``FAULTS``.

    The same seed gives the same faults in the same order; which request meets which hangs on the client's threads.
    """

    def __init__(self, host: str, *, seed: int, faulty: float, retry_after: str = "0") -> None:
        self.target, self.faulty, self.retry_after = host, faulty, retry_after
        self.met: Counter[str] = Counter()
        """How often each fault happened."""
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def next_fault(self) -> tuple[str, float]:
        """What happens to the next request, and where: a share of its bytes."""
        with self._lock:
            fault = self._random.choice(FAULTS) if self._random.random() < self.faulty else ""
            self.met[fault] += 1
            return fault, self._random.random()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultProxy
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.connection.settimeout(30)

    def handle(self) -> None:
        with suppress(OSError):  # a connection that was cut, by us or by the client
            super().handle()

    def answer(self) -> None:
        fault, share = self.proxy.next_fault()
        size = int(self.headers.get("Content-Length") or 0)
        if fault.isdecimal():
            self._refuse(int(fault), size)
        elif fault == "cut request":
            self.rfile.read(int(size * share))
            self._cut()
        else:
            if fault == "slow":
                time.sleep(0.05 + 0.1 * share)
            self._forward(size, fault, share)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def _forward(self, size: int, fault: str, share: float) -> None:
        upstream = http.client.HTTPConnection(self.proxy.target, timeout=30)
        try:
            upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():  # Host too: the registry shall send the client back to us
                if name.lower() != "connection":
                    upstream.putheader(name, value)
            upstream.endheaders()
            left = size
            while left:
                piece = self.rfile.read(min(_PIECE, left))
                if not piece:
                    return
                left -= len(piece)
                upstream.send(piece)
            self._hand_back(upstream.getresponse(), fault, share)
        finally:
            upstream.close()

    def _hand_back(self, answer: http.client.HTTPResponse, fault: str, share: float) -> None:
        if fault == "lose answer":
            answer.read()
            self._cut()
            return
        body = answer.read() if self.command != "HEAD" else b""
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length") or str(len(body)))
        self.end_headers()
        self.wfile.write(body[: int(len(body) * share)] if fault == "cut answer" else body)
        if fault == "cut answer":
            self._cut()

    def _refuse(self, code: int, size: int) -> None:
        self.rfile.read(size)
        self.send_response(code)
        if code == 429:
            self.send_header("Retry-After", self.proxy.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        with suppress(OSError):
            self.connection.shutdown(2)

    def log_message(self, *args: object) -> None:
        pass
