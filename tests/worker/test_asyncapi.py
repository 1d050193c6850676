import json
import subprocess
import sys
from pathlib import Path

from broker.streams import CHANGES, Tag
from worker.asyncapi import document

EVENTS = {
    "Request",
    "Result",
    "Feedback",
    "DeadLetter",
    "Alert",
    "Reply",
    "VersionChanged",
    "ExplainRequest",
    "Explained",
}


def test_every_stream_is_documented_with_its_payload():
    found = document()
    tag = Tag("MODEL")
    assert found["asyncapi"] == "3.0.0"
    assert {channel["address"] for channel in found["channels"].values()} == {
        tag.requests,
        tag.results,
        tag.feedback,
        tag.dead,
        tag.alerts,
        tag.explain,
        tag.explanations,
        tag.replies("GATEWAY"),
        CHANGES,
    }
    assert found["components"]["schemas"].keys() == EVENTS
    payloads = {message["payload"]["$ref"].rpartition("/")[2] for message in found["components"]["messages"].values()}
    assert payloads == EVENTS
    assert "text" in found["components"]["schemas"]["Request"]["required"]


def test_the_command_prints_the_same_json_each_time():
    command = [sys.executable, "-m", "worker.asyncapi"]
    printed = subprocess.run(command, capture_output=True, check=True).stdout
    assert json.loads(printed) == document()


def test_the_committed_document_is_the_current_one():
    committed = Path(__file__).parents[2] / "docs" / "asyncapi.json"
    assert json.loads(committed.read_text()) == document(), "run: just asyncapi"
