"""Observa as a system under load: its own server with an append-only file, gateway, workers and monitor."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.serving.systems import Running
from tests.live.services import Services, make_model
from tests.servers import RedisServer


@contextmanager
def observa(model: str, folder: Path, *, workers: int = 2) -> Iterator[Running]:
    """Run Observa with every guarantee on; *model* is a shipped one, or ``echo``."""
    server = RedisServer(folder)
    server.start()
    services = Services(server, folder, model=model, worker_models=model)
    module = "worker"
    try:
        if model == "echo":
            make_model(services.models, "echo", kind="echo")
            module = "bench.serving.echo_worker"
        else:
            services.ship(model)
        started = [services.worker(module, wait=False) for _ in range(workers)]
        for process in started:
            process.wait("/healthz")
        services.monitor()
        gateway = services.gateway()
        yield Running(
            port=gateway.port,
            path="/predict",
            parts={
                "gateway": (gateway.popen.pid,),
                "log": (server.pid,),
                "worker": tuple(process.popen.pid for process in started),
                "monitor": (services.processes[-2].popen.pid,),
            },
        )
    finally:
        services.stop()
        server.stop()
