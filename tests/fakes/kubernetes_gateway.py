"""The data plane of a Gateway: sends requests to backends by host name and weight, as the HTTPRoutes say."""

import random
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from fakes.kubernetes_server import KubernetesServer, forward
from fakes.service import Refused, read_body


class GatewayServer:
    """Listens on loopback, and puts the Gateway ``infra/web`` for ``*.example.test`` into the cluster."""

    def __init__(self, cluster: KubernetesServer) -> None:
        handler = type("Handler", (_Handler,), {"cluster": cluster})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        listener = {"name": "http", "protocol": "HTTP", "port": self._server.server_port, "hostname": "*.example.test"}
        body = {
            "spec": {"gatewayClassName": "fake", "listeners": [listener]},
            "status": {"addresses": [{"type": "IPAddress", "value": "127.0.0.1"}]},
        }
        cluster.put("gateways", "web", body, namespace="infra")

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    cluster: KubernetesServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def any_method(self) -> None:
        raw = read_body(self)
        host = self.headers["Host"].partition(":")[0]
        routes = [one for one in self.cluster.all("httproutes") if host in one["spec"]["hostnames"]]
        backends = [one for route in routes for rule in route["spec"]["rules"] for one in rule.get("backendRefs", [])]
        try:
            if not backends:
                raise Refused(500, "no backend")
            (chosen,) = random.choices(backends, [one["weight"] for one in backends])
            ready = self.cluster.endpoints(chosen["name"])
            if not ready:
                raise Refused(503, "no endpoint is ready")
            headers = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
            code, content, said = forward(random.choice(ready).port, self.command, self.path, headers, raw)
        except Refused as error:
            code, content, said = error.code, str(error).encode(), {}
        with suppress(ConnectionError):
            self.send_response(code)
            for name, value in said.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    do_GET = do_POST = any_method

    def log_message(self, *args: object) -> None:
        pass
