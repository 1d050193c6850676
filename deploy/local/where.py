"""What `just up` says at its end: where everything is, and what does not work yet."""

import shlex

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
    alerts = _where_the_rest_is(settings)
    password = shlex.quote(str(settings.embedded_password_file))
    redis_cli = f', `REDISCLI_AUTH="$(cat {password})" redis-cli -p {settings.redis_port}`'
    print(f"""
  gateway   {gateway}   (documentation: {documentation})
  monitor   http://{place(settings.monitor_host, settings.monitor_port)}   (metrics: /metrics)
{alerts}  log       {settings.server_url}   (`just redis PING`{redis_cli if settings.embedded else ""})
  logs      {settings.logs}   (`just logs`)

{_first_call(settings, gateway)}

  just status | just scale-workers 4 | just doctor | just down""")


def _first_call(settings: StackSettings, gateway: str) -> str:
    """Return a call as it works when it is pasted: with a key where one is asked for."""
    url = shlex.quote(f"{gateway}/predict")  # a shell may take the brackets of an address for a pattern
    say = '{"text": "a joy from start to finish"}'
    call = f"  curl -s {url} -H 'content-type: application/json' -d '{say}'"
    if not settings.asks_for_keys:
        return call
    made = settings.data_dir.resolve() / "caller.key"
    key = shlex.quote(str(settings.api_key_file or made))
    first = (
        "" if settings.api_key_file else f"  (umask 077 && just keys create me > {key})   # a key of your own, once\n"
    )
    return f'{first}{call} -H "authorization: Bearer $(cat {key})"'


def _where_the_rest_is(settings: StackSettings) -> str:
    running = {process.name for process in probes.running(settings)}
    shown = [service for service in ("console", "archive", *alerting.SERVICES) if service in running]
    return "".join(f"  {service:<13}http://{probes.place_of(settings, service)}\n" for service in shown)
