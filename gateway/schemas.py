"""The bodies that callers send, and what is wrong with one that does not fit."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Annotated, Any, Final, Self, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from broker.events import MAX_TEXT_CHARACTERS
from gateway.problems import CODES, Problem

MAX_TEXTS: Final = 64

# pydantic's error type: our code, and its context that is worth repeating
_CODES: Final = {
    "missing": "missing_field",
    "extra_forbidden": "unknown_field",
    "string_too_long": "too_long",
    "string_too_short": "too_short",
    "too_long": "too_many_items",
    "too_short": "too_short",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
    "string_unicode": "invalid_unicode",
    "finite_number": "out_of_range",
}
# What a caller's program calls its fields, and no text, number or id of anybody: it may be repeated.
_FIELD_NAME: Final = re.compile(r"[A-Za-z]+(?:_[A-Za-z]+)*")
_LONGEST_FIELD_NAME: Final = 32
_LIMITS: Final = {"max_length": "max", "min_length": "min", "le": "max", "ge": "min"}


def is_blank(text: str) -> bool:
    """Tell whether *text* shows nothing: only spaces, controls and zero-width characters."""
    return all(unicodedata.category(character) in {"Cc", "Cf", "Zl", "Zp", "Zs"} for character in text)


def _visible(text: str) -> str:
    if is_blank(text):
        raise PydanticCustomError("blank_text", "has no visible character")
    return text


Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARACTERS), AfterValidator(_visible)]
_TEXT: Final = TypeAdapter(Text, config=ConfigDict(strict=True))
_TEXTS: Final = TypeAdapter(Annotated[tuple[Text, ...], Field(min_length=1, max_length=MAX_TEXTS)])
LabelText = Annotated[str, StringConstraints(min_length=1, max_length=64)]
_LABEL: Final = TypeAdapter(LabelText | None, config=ConfigDict(strict=True))
TagName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,31}$")]
TagValue = Annotated[str, StringConstraints(min_length=1, max_length=64)]
# Told apart by what came, or there would be errors of both branches; which one is meant depends on `texts`.
TrueLabel = Annotated[
    Annotated[LabelText, Tag("one")] | Annotated[list[LabelText | None], Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list) else "one"),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": ["string", "null"]}}]}),
]


class Body(BaseModel):
    """A JSON object whose every field is known and has the right type."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PredictBody(Body):
    """One text, or several, to classify."""

    text: Text | None = None
    texts: Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)] | None = None
    model: Annotated[str, Field(max_length=64, description="default: the server's default model")] | None = None
    true_label: TrueLabel | None = Field(
        None,
        validation_alias=AliasChoices("true_label", "true_sentiment"),
        description="the label that is right, if known (also as true_sentiment); for texts a list with nulls",
    )
    threshold: Annotated[float, Field(ge=0, le=1, description="below this confidence: abstained")] | None = None
    tags: Annotated[dict[TagName, TagValue], Field(max_length=4)] = Field(default_factory=dict)
    subject: (
        Annotated[str, Field(min_length=1, max_length=128, description="opaque: whom the text is about")] | None
    ) = None
    truncate: Annotated[bool, Field(description="false: a text longer than the model reads is an error")] = True
    partial: Annotated[
        bool,
        Field(description="for texts: what is not valid is an error in its place, the others are answered"),
    ] = False

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if (self.text is None) == (self.texts is None):
            raise PydanticCustomError("missing_field", "exactly one of text and texts")
        if self.partial and self.texts is None:
            raise PydanticCustomError("invalid_value", "partial is for texts", {"field": "partial"})
        if self.true_label is None:
            return self
        if isinstance(self.true_label, str) != (self.texts is None):
            raise PydanticCustomError("wrong_type", "one label for text, a list for texts", {"field": "true_label"})
        if self.texts is not None and len(self.true_label) != len(self.texts):
            raise PydanticCustomError("invalid_value", "as many labels as texts", {"field": "true_label"})
        return self

    @property
    def all_texts(self) -> tuple[str, ...]:
        """The texts, be it one or several."""
        return (self.text,) if self.text is not None else tuple(self.texts or ())

    @property
    def all_labels(self) -> tuple[str | None, ...]:
        """The true label of each text."""
        if isinstance(self.true_label, list):
            return tuple(self.true_label)
        return (self.true_label,) * len(self.all_texts)


class FeedbackBody(Body):
    """The true label of a prediction made before."""

    id: Annotated[str, Field(max_length=128)]
    label: LabelText


class ExplainBody(Body):
    """A prediction made before, or a text, to explain."""

    id: Annotated[str, Field(max_length=128, description="of a prediction whose text is still kept")] | None = None
    text: Text | None = None
    model: Annotated[str, Field(max_length=64, description="for text; default: the server's default model")] | None = (
        None
    )
    version: Annotated[str, Field(max_length=64, description="for text; default: the live one")] | None = None

    @model_validator(mode="after")
    def _prediction_or_text(self) -> Self:
        if (self.id is None) == (self.text is None):
            raise PydanticCustomError("missing_field", "exactly one of id and text")
        if self.id is not None and (self.model is not None or self.version is not None):
            raise PydanticCustomError("invalid_value", "an id names its model and version")
        return self


BodyT = TypeVar("BodyT", bound=BaseModel)


def read_body(schema: type[BodyT], value: Any) -> BodyT:
    """Read *value* as *schema*.

    Raises:
        Problem: 422 with a pointer and a code per error, and nothing of the input.

    """
    if not isinstance(value, dict):
        raise Problem.of_field("", "wrong_type")
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        found = explained(schema, error.errors(include_input=False, include_url=False))
        if label_field(value) == "true_sentiment":
            found = [one | {"pointer": "/true_sentiment"} if one["pointer"] == "/true_label" else one for one in found]
        raise Problem.invalid(found) from None


def label_field(value: Mapping[str, Any]) -> str:
    """Return by which of its two names a body has its true labels."""
    return "true_sentiment" if "true_sentiment" in value and "true_label" not in value else "true_label"


def read_items(value: Any) -> tuple[PredictBody, dict[int, dict[str, Any]]]:
    """Read the body of a prediction; with `partial` without the items that do not fit: place to what is wrong.

    Raises:
        Problem: as `read_body`; so, too, where no item fits.

    """
    if not isinstance(value, dict) or value.get("partial") is not True:
        return read_body(PredictBody, value), {}
    field = label_field(value)
    texts: Any = value.get("texts")
    labels: Any = value.get(field)
    lists = {"texts": texts} if labels is None else {"texts": texts, field: labels}
    if not all(isinstance(items, list) and len(items) <= MAX_TEXTS for items in lists.values()):
        return read_body(PredictBody, value), {}
    if labels is not None and len(labels) != len(texts):  # which belongs to which is not known
        raise Problem.of_field(f"/{field}", "invalid_value")
    faults: dict[int, dict[str, Any]] = {}
    for name, items in lists.items():
        adapter = _TEXT if name == "texts" else _LABEL
        found = ((place, _fault(adapter, item, f"/{name}/{place}")) for place, item in enumerate(items))
        faults = {place: fault for place, fault in found if fault} | faults
    if len(faults) < len(texts):
        value |= {name: [item for at, item in enumerate(items) if at not in faults] for name, items in lists.items()}
    return read_body(PredictBody, value), faults


def _fault(adapter: TypeAdapter[Any], item: Any, pointer: str) -> dict[str, Any] | None:
    try:
        adapter.validate_python(item)
    except ValidationError as error:
        return explained(PredictBody, error.errors(include_input=False, include_url=False), pointer)[0]
    return None


def read_texts(texts: Sequence[str], pointer: str) -> tuple[str, ...]:
    """Read the texts that a call of another protocol has at *pointer*.

    Raises:
        Problem: as `read_body`.

    """
    try:
        return _TEXTS.validate_python(texts)
    except ValidationError as error:
        found = explained(PredictBody, error.errors(include_input=False, include_url=False), pointer)
        raise Problem.invalid(found) from None


def explained(schema: type[BaseModel], errors: Sequence[Any], pointer: str = "") -> list[dict[str, Any]]:
    """Return the first of pydantic's *errors* as a problem names them: pointer, code, limits; nothing of the input.

    *pointer*: of the value that was read.
    """
    return [_explain(schema, entry, pointer) for entry in errors[:8]]


def _code_of(kind: str) -> str:
    if kind in CODES:  # our own validators
        return kind
    return "wrong_type" if kind.endswith("_type") else "invalid_value"


def _explain(schema: type[BaseModel], error: Any, pointer: str) -> dict[str, Any]:
    kind = error["type"]
    code = _CODES.get(kind) or _code_of(kind)
    limits = {_LIMITS[name]: limit for name, limit in error.get("ctx", {}).items() if name in _LIMITS}
    # Only our own names and positions: a tag's name is the caller's input.
    known = _fields(schema)
    path = (*error["loc"], *filter(None, [error.get("ctx", {}).get("field")]))
    pointer += "".join(f"/{part}" for part in path if isinstance(part, int) or part in known)
    if code == "unknown_field" and len(path) == 1:
        limits = {"known": sorted(schema.model_fields)}
        if path[0] not in known and len(path[0]) <= _LONGEST_FIELD_NAME and _FIELD_NAME.fullmatch(path[0]):
            pointer += f"/{path[0]}"
    return {"pointer": pointer, "code": code, **limits}


@cache
def _fields(schema: type[BaseModel]) -> set[str]:
    """Return the names of all fields of *schema*, and of the objects in it."""
    document = schema.model_json_schema()
    objects = [document, *document.get("$defs", {}).values()]
    return {"true_sentiment", *chain.from_iterable(one.get("properties", ()) for one in objects)}
