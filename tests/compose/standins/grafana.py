"""In place of Grafana: reads its files as the same user at the same places, and asks the source what the panels ask.

``/api/health`` answers once every file is there. ``/panels`` gives each expression of the dashboard with the number of
series that the provisioned source has for it. How Grafana itself shows them is not tried.
"""

import configparser
import json
import os
import re
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PROVISIONING = Path("/etc/grafana/provisioning")
VARIABLES = {"$__rate_interval": "1m", "$__interval": "1m", "$__range": "1h"}


def provisioned(kind, name):
    """The value of *name* in the files of *kind*, with variables put in as Grafana does."""
    for file in (PROVISIONING / kind).glob("*.yaml"):
        if found := re.search(rf"^\s*-?\s*{name}:\s*(\S+)", file.read_text(), re.MULTILINE):
            return os.path.expandvars(found[1])
    raise SystemExit(f"{PROVISIONING / kind} names no {name}")


def expressions():
    """Every expression of every panel, of the dashboards in the folder that is provisioned."""
    for file in Path(provisioned("dashboards", "path")).glob("*.json"):
        dashboard = json.loads(file.read_text())
        assert file.samefile(HOME), f"{file} is not what is shown first"
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                assert target["datasource"]["uid"] == UID, panel["title"]
                yield panel["title"], target["expr"], dashboard["templating"]["list"]


def series(expression, variables):
    """How many series the source gives for *expression*, with every variable at "all"."""
    for name, value in VARIABLES.items():
        expression = expression.replace(name, value)
    for variable in variables:
        expression = re.sub(rf"\$\{{?{variable['name']}(:\w+)?\}}?", ".*", expression)
    asked = urllib.parse.urlencode({"query": expression}).encode()
    with urllib.request.urlopen(f"{SOURCE}/api/v1/query", asked, timeout=10) as answer:
        return len(json.load(answer)["data"]["result"])


class Handler(BaseHTTPRequestHandler):
    """Two answers."""

    def do_GET(self):
        """Say that all is there, or what each panel would show."""
        if self.path == "/panels":
            body = [[title, expression, series(expression, some)] for title, expression, some in expressions()]
        else:
            body = {"database": "a stand-in"}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_):
        """Say nothing."""


settings = configparser.ConfigParser()
settings.read("/etc/grafana/grafana.ini")
HOME = settings["dashboards"]["default_home_dashboard_path"]
assert settings["auth.anonymous"]["enabled"] == "true", "whoever looks must log in"
SOURCE, UID = provisioned("datasources", "url"), provisioned("datasources", "uid")
assert list(expressions()), "no panel"
assert "observa-" in provisioned("alerting", "uid"), "no alert rule"
(Path("/var/lib/grafana") / "written").write_text("the volume may be written")
ThreadingHTTPServer(("0.0.0.0", 3000), Handler).serve_forever()
