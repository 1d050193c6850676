"""What `just up` says at its end: where everything is, and what does not work yet."""

from broker.addresses import place
from deploy.local import alerting, probes
from deploy.local.settings import StackSettings


def print_what_is_not_ready(settings: StackSettings) -> None:
    """Name the processes that do not work yet, if there are any."""
    processes = probes.running(settings)
    names = [p.name for p in processes if probes.why_not_ready(settings, p.name) is not None]
    names += sorted(set(settings.services) - {p.service for p in processes})
    if names:
        print(f"\nNot ready: {', '.join(names)}. `just doctor` says why.")


def print_where(settings: StackSettings) -> None:
    """Say where everything is."""
    gateway = f"http://{place(settings.gateway_host, settings.gateway_port)}"
    documentation = f"http://{alerting.internal_address(settings)}/docs"
    say = '{"text": "a joy from start to finish"}'
    alerts = _where_the_rest_is(settings)
    redis_cli = f', `REDISCLI_AUTH="$(cat {settings.password_file})" redis-cli -p {settings.redis_port}`'
    print(f"""
  gateway   {gateway}   (documentation: {documentation})
  monitor   http://{place(settings.monitor_host, settings.monitor_port)}   (metrics: /metrics)
{alerts}  log       {settings.server_url}   (`just redis PING`{redis_cli if settings.embedded else ""})
  logs      {settings.run_dir}/logs   (`just logs`)

  curl -s {gateway}/predict -H 'content-type: application/json' -d '{say}'

  just status | just scale-workers 4 | just doctor | just down""")


def _where_the_rest_is(settings: StackSettings) -> str:
    running = {process.name for process in probes.running(settings)}
    shown = [service for service in ("console", "archive", *alerting.SERVICES) if service in running]
    return "".join(f"  {service:<13}http://{probes.place_of(settings, service)}\n" for service in shown)
