"""What params.yaml may say of a data set: where it comes from, and what is done to its texts before they are split."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from broker.manifest import Label, ModelName, Sha256

ArchiveName = str
# hash: the hash of a text shares it out; published: test is what the source says, and valid is drawn from its train;
# test: all of it is for judging
Split = Literal["hash", "published", "test"]


class SourceParams(BaseModel):
    """What any data set may say. A further source is one class here and one reader in ``trainer.datasets``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    relabel: dict[Label, Label] | None = None  # its label to ours; a text of any other label is left out
    drop_words: tuple[str, ...] = ()  # that tell the source and not the topic
    excerpt: Annotated[tuple[int, int] | None, Field(description="fewest and most first words")] = None
    most_per_label: Annotated[int | None, Field(ge=1)] = None  # texts, drawn by the hash of the text
    split: Split = "hash"
    digest: Sha256 | None = None  # of labels and texts as read; another one is refused


class Ratings(SourceParams):
    """Texts with a mean human rating, from an archive of archives: tab-separated id, rating, text."""

    source: Literal["ratings"]
    archive: ArchiveName
    file: str
    least_rating: float  # closer to 0 than this, raters did not agree on a side


class Table(SourceParams):
    """Files of an archive with three header lines, then label and text, tab-separated."""

    source: Literal["tab"]
    archive: ArchiveName
    train: str
    test: str


class _Columns(SourceParams):
    """What a file of rows may say: which columns are read, and what becomes of wrong rows."""

    text: str = "text"  # column
    label: str = "label"  # column
    skip_bad: bool = False  # leave wrong rows out, and list them; otherwise one refuses the data set


class LocalFile(_Columns):
    """A file of anyone's, CSV, JSON or Parquet; the path is relative to the repository. What is not said is found."""

    source: Literal["file"]
    path: str
    encoding: str | None = None
    delimiter: Annotated[str, Field(pattern=r"^[^\"'\\\r\n\x00]$")] | None = None
    quotes: Literal["double", "backslash", "single", "none", "escaped"] | None = None
    header: bool = True  # the first row names the columns; otherwise they are "1", "2", "3"


class Hub(_Columns):
    """A data set of the Hugging Face hub, read from the Parquet form that the hub keeps of every public one."""

    source: Literal["hub"]
    name: str  # owner/name
    config: str = "default"
    train: str = "train"
    test: str | None = "test"
    names: tuple[Label, ...] = ()  # of labels that are kept as numbers, in order


class Feedback(SourceParams):
    """True labels that came to the running system, beside the texts they are of; from the log and the archive."""

    source: Literal["feedback"]
    model: ModelName
    since: Annotated[str, Field(pattern=r"^(\d+[hd]|\d{4}-\d{2}-\d{2}(T[\d:.]+(Z|[+-]\d{2}:\d{2})?)?)$")] = "3650d"


DatasetParams = Annotated[Ratings | Table | LocalFile | Hub | Feedback, Field(discriminator="source")]
