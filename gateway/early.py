"""What the gateway does before a request is read: it refuses what would be refused anyway, and as a problem."""

from collections.abc import Callable, Iterable

from broker.http_protocol import PatientProtocol, Refusal
from gateway.guard import NOTHING, SECURITY
from gateway.intake import WHOLE
from gateway.problems import CODES, Problem
from gateway.settings import GatewaySettings

Headers = Iterable[tuple[bytes, bytes]]
Door = Callable[[bytes, bytes, Headers], Problem | None]


class EarlyProblem(Refusal):
    """A refusal as every problem of the gateway looks."""

    def raw(self, path: str) -> bytes:
        """Return the whole answer."""
        problem = Problem(self.code, headers=self.headers)
        answer = problem.response(path)
        lines = [
            f"HTTP/1.1 {problem.status} {CODES[problem.code][1]}".encode(),
            *(b"%b: %b" % header for header in (*answer.raw_headers, *SECURITY, NOTHING)),
        ]
        return b"\r\n".join([*lines, b"", bytes(answer.body)])


class GatewayProtocol(PatientProtocol):
    """Asks the door at a request's headers, and tells the application when its body came whole."""

    door: Door
    told = EarlyProblem

    def refusal(self) -> Refusal | None:
        """Say why a call would be refused whatever its body says."""
        problem = self.door(self.parser.get_method(), self.url, self.headers)
        return EarlyProblem(problem.code, problem.headers) if problem else None

    def on_message_complete(self) -> None:
        """The next bytes are another request's."""
        if not self._turned_away:
            self.scope["state"][WHOLE] = True
        super().on_message_complete()


def gateway_protocol(settings: GatewaySettings, door: Door) -> type[GatewayProtocol]:
    """Return the protocol as it is set; it asks *door* before it reads a body."""
    patience, prefix = settings.gateway_header_timeout_s, settings.path_prefix.encode()
    members = {"header_timeout_s": patience, "prefix": prefix, "door": staticmethod(door)}
    return type("GatewayProtocol", (GatewayProtocol,), members)
