"""A gRPC server for tests, in this process, on a port that the system chooses."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from lading.predict.protos import message
from lading.serving.config import ModelConfig, ServeConfig
from lading.serving.gate import Gate
from lading.serving.grpc import GrpcServer, start_grpc
from lading.serving.models import Models
from lading.serving.records import Records


@dataclass
class Running:
    server: GrpcServer
    models: Models
    records: Records
    gate: Gate
    channel: grpc.Channel

    def call(self, path: str, request: Any, answer: str, *, timeout: float = 20.0, **more: Any) -> Any:
        """The answer to a call; ``answer`` names its message."""
        rpc = self.channel.unary_unary(
            path, request_serializer=lambda m: m.SerializeToString(), response_deserializer=message(answer).FromString
        )
        return rpc(request, timeout=timeout, **more)


@contextmanager
def serving(*configs: ModelConfig, threads: int = 2, max_queue: int = 8, **settings: Any) -> Iterator[Running]:
    config = ServeConfig(models=configs, host="127.0.0.1", grpc_port=0, poll_seconds=0, max_queue=max_queue, **settings)
    records = Records(config)
    models = Models(config, metrics=records.metrics)
    models.load()
    try:
        with Gate(threads, max_queue, config.max_held_bytes) as gate:
            records.watch(models, gate)
            server = start_grpc(models, config, records, gate)
            try:
                with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                    yield Running(server, models, records, gate, channel)
            finally:
                server.stop(0)
    finally:
        models.close()
        records.close()
