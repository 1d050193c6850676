"""What a stream entry says: flat fields that a person can read with ``XRANGE``, and the models they are read into."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

import orjson
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from broker.errors import MalformedEntryError, NewerSchemaError
from broker.streams import PredictionId, Tag

SCHEMA_VERSION = 1
MAX_FIELDS = 64  # an entry with more was not written by Observa
MAX_TEXT_CHARACTERS = 10_000
EVALUATION = "evaluation"  # the tag of an evaluation run, which is reported apart

Role = Literal["live", "canary", "shadow"]


def _from_json(value: object) -> object:
    return orjson.loads(value) if isinstance(value, str) else value


Tags = Annotated[dict[str, str], BeforeValidator(_from_json), Field(max_length=4)]
Probabilities = Annotated[dict[str, Annotated[float, Field(ge=0, le=1)]], BeforeValidator(_from_json)]
KeyId = Annotated[str, Field(pattern=r"^(-|[0-9a-f]{12})$")]  # of the API key that asked, "-" without keys
Count = Annotated[int, Field(ge=0)]
Ratio = Annotated[float, Field(ge=0, le=1)]  # no NaN: it is not within
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Embedding = Annotated[tuple[float, ...], BeforeValidator(_from_json), Field(max_length=16)]
Evidence = Annotated[dict[str, Any], BeforeValidator(_from_json)]


class Event(BaseModel):
    """One entry of one stream. Fields are strings on the wire; ``None`` and empty mappings are left out."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    on_bad_bytes: ClassVar[str] = "strict"

    schema_version: int = SCHEMA_VERSION

    def to_fields(self) -> dict[str, str]:
        """Return the flat fields of the entry, in the order of the model."""
        # From where pydantic keeps the values: its own iteration takes as long as all the rest.
        return {
            name: _TO_FIELD.get(type(value), str)(value)
            for name, value in self.__dict__.items()
            if value is not None and value != {}
        }

    @classmethod
    def from_fields(cls, fields: Mapping[bytes, bytes]) -> Self:
        """Read an entry's fields as Redis returns them.

        Raises:
            NewerSchemaError: written by a newer Observa; leave it for a newer reader.
            MalformedEntryError: not an event of this kind; the message holds no field's value.

        """
        if len(fields) > MAX_FIELDS:
            raise MalformedEntryError(f"{len(fields)} fields, at most {MAX_FIELDS} are read")
        try:
            text = {name.decode(): value.decode(errors=cls.on_bad_bytes) for name, value in fields.items()}
        except UnicodeDecodeError as error:
            raise MalformedEntryError("a field is not UTF-8") from error
        version = text.get("schema_version", str(SCHEMA_VERSION))
        if version.isascii() and version.isdigit() and int(version[:9]) > SCHEMA_VERSION:
            raise NewerSchemaError(f"schema_version {version[:9]}, this reader knows {SCHEMA_VERSION}")
        try:
            return cls.model_validate(text)
        except ValidationError as error:
            named = {str(e["loc"][0]) for e in error.errors(include_input=False) if e["loc"]}
            where = sorted(name if name in cls.model_fields else "a field of another name" for name in named)
            raise MalformedEntryError(f"cannot read: {', '.join(dict.fromkeys(where))}") from None


class Request(Event):
    """One text to classify. Only ``text`` is needed, so ``XADD observa:{sentiment}:requests * text hello`` works."""

    id: str = ""  # MODEL.SHARD.UUIDv7; empty: derived from the entry's own id
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)]
    version: str | None = None  # wanted version, stamped when the request was accepted
    pinned: bool = False  # the caller named that version: no other may answer
    deadline_ms: Annotated[int, Field(ge=1)] = 30_000  # counted from the entry's own time
    reply_to: str | None = None  # the gateway process that waits
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None
    truncate: bool = True  # false: a text longer than the model reads is an error
    tags: Tags = Field(default_factory=dict)
    subject: str | None = None
    true_label: str | None = None  # becomes feedback beside the result; no model sees it
    traceparent: str | None = None
    key: KeyId | None = None  # what came of it belongs to that key's caller; None: written by hand, or before keys were

    @classmethod
    def from_entry(cls, tag: Tag, entry_id: str, fields: Mapping[bytes, bytes]) -> Self:
        """Read a request and make sure that its id belongs to the stream it was found in.

        Raises:
            NewerSchemaError, MalformedEntryError: as `from_fields`.

        """
        request = cls.from_fields(fields)
        if not request.id:
            return request.model_copy(update={"id": str(PredictionId.of_entry(tag, entry_id))})
        try:
            belongs = PredictionId.parse(request.id).tag == tag
        except ValueError:
            belongs = False
        if not belongs:
            raise MalformedEntryError("cannot read: id")
        return request


class Result(Event):
    """One prediction, or one error, of one model version. Holds no text."""

    id: str
    version: str
    role: Role = "live"
    status: Literal["ok", "error"]
    code: str | None = None  # of an error; see broker/answers.py
    label: str | None = None
    label_id: Count | None = None
    confidence: Ratio | None = None
    probabilities: Probabilities = Field(default_factory=dict)  # label to probability, in label id order
    abstained: bool | None = None
    truncated: bool | None = None
    characters: Count | None = None
    words: Count | None = None
    tokens: Count | None = None  # before truncation
    oov_ratio: Ratio | None = None
    non_latin_ratio: Ratio | None = None  # share of letters outside the Latin script
    embedding: Embedding | None = None  # coordinates of the text in the version's own projection
    queue_ms: Milliseconds  # from the entry's own time to the start of inference
    inference_ms: Milliseconds | None = None  # of the batch it was part of
    batch_size: Count | None = None
    worker: str
    deliveries: int = 1
    tags: Tags = Field(default_factory=dict)
    key: KeyId | None = None  # as in the request

    @field_validator("probabilities")
    @classmethod
    def _has_the_label(cls, probabilities: dict[str, float], info: ValidationInfo) -> dict[str, float]:
        """A label that the version does not have is nobody's answer: an entry like that was written by hand."""
        label = info.data.get("label")
        if probabilities and label is not None and label not in probabilities:
            raise ValueError("lacks the label")
        return probabilities


class Feedback(Event):
    """One true label beside the prediction it judges. Holds no text."""

    id: str
    label: str
    predicted: str
    confidence: Ratio
    version: str
    previous_label: str | None = None  # this label replaces it
    source: Literal["request", "caller"]  # sent with the text, or later
    made_ms: Annotated[int, Field(ge=0)] | None = None  # Redis time of the prediction; older entries do not say it
    tags: Tags = Field(default_factory=dict)


class DeadLetter(Event):
    """An entry that could not be processed: why, how often tried, and its fields as they were."""

    on_bad_bytes: ClassVar[str] = "backslashreplace"  # what is buried here may be no text at all

    id: str | None = None
    entry_id: str
    reason: str
    detail: str
    deliveries: int
    worker: str
    entry: str  # JSON array of the original field names and values


class Alert(Event):
    """An alarm began or ended."""

    alert_id: str  # the same however often it is written
    state: Literal["firing", "resolved"]
    detector: str
    feature: str
    severity: Literal["page", "ticket"]
    version: str
    statistic: float
    threshold: float
    summary: str  # one sentence for a person
    evidence: Evidence = {}
    at_ms: int  # Redis time of the entry that decided it


class ExplainRequest(Event):
    """One text whose prediction is to be explained. Deleted once it is explained."""

    id: str  # of the prediction, or of nothing but this explanation
    text: Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)]
    version: str  # whose prediction it is


class Explained(Event):
    """What came of one explanation. Holds no word of the text."""

    id: str
    version: str
    status: Literal["done", "failed"]
    code: str | None = None  # of a failed one
    label: str | None = None
    method: str | None = None
    words: int | None = None
    evaluations: int | None = None  # texts that the model was asked about
    elapsed_ms: float | None = None


def _to_json(value: object) -> str:
    return orjson.dumps(value).decode()


_TO_FIELD: Final[dict[type, Callable[[Any], str]]] = {  # of what is not written as Python writes it
    bool: {True: "true", False: "false"}.__getitem__,
    dict: _to_json,
    tuple: _to_json,
}
