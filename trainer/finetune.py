"""Fine-tune a DistilBERT on labelled texts and keep the epoch of the lowest validation loss."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import rich.progress

from trainer.params import TransformerParams
from trainer.splits import Example, Splits

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import DistilBertForSequenceClassification

EVALUATION_ROWS = 64
NEIGHBOURS = 16  # batches; texts of like length share a batch, drawn from as many batches' worth at random


class EpochReport(NamedTuple):
    """What one pass over the training texts came to."""

    epoch: int
    train_loss: float
    train_accuracy: float  # while learning, so before the end of the pass
    valid_loss: float
    valid_accuracy: float


class Progress(NamedTuple):
    """Where training stands between two epochs: all that is needed to go on as if nothing had happened."""

    reports: list[EpochReport]
    best: "dict[str, torch.Tensor]"  # weights of the epoch of the lowest validation loss
    state: dict[str, Any]  # of model, optimiser, schedule and both random generators


def finetune(  # noqa: PLR0913 by name from here on
    model: "DistilBertForSequenceClassification",
    tokenizer: "Tokenizer",
    splits: Splits,
    params: TransformerParams,
    report: Callable[[EpochReport], None],
    *,
    keep: Callable[[Progress], None] = lambda _: None,
    resumed: Progress | None = None,
) -> list[EpochReport]:
    """Train *model* in place; it ends with the weights of the epoch of the lowest validation loss.

    Loss is steadier than accuracy on a thousand texts, and it rewards honest probabilities. After every epoch *keep*
    gets what a later call takes as *resumed*: it then ends with the weights that an uninterrupted one would have.
    """
    import torch  # noqa: PLC0415 it loads in seconds: only those who train wait for it

    torch.manual_seed(params.seed)
    shuffle = np.random.default_rng(params.seed)
    train = encode(splits.train, tokenizer, params.train_length)
    valid = encode(splits.valid, tokenizer, params.max_length)
    steps = params.epochs * -(-len(train) // params.batch_size)
    school = _School(model, params, steps, shuffle, class_weights([label for _, label in train], params))
    reports, best = ([], {}) if resumed is None else (list(resumed.reports), resumed.best)
    if resumed is not None:
        school.restore(resumed.state)
    with rich.progress.Progress() as progress:
        bar = progress.add_task("fine-tuning", total=steps, completed=school.schedule.last_epoch)
        while len(reports) < params.epochs and not _gave_up(reports, params.patience):
            loss, right = school.epoch(train, lambda loss: progress.update(bar, advance=1, description=_said(loss)))
            reports.append(EpochReport(len(reports) + 1, loss, right, *evaluate(model, valid)))
            report(reports[-1])
            if _best_epoch(reports) == len(reports):
                best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            keep(Progress(reports, best, school.state()))
    model.load_state_dict(best, strict=True)
    model.train(mode=False)
    return reports


class _School:
    """The model while it learns: optimiser, learning rate, order of texts."""

    def __init__(
        self,
        model: "DistilBertForSequenceClassification",
        params: TransformerParams,
        steps: int,
        shuffle: np.random.Generator,
        weights: "torch.Tensor | None",
    ) -> None:
        import torch  # noqa: PLC0415

        self._model, self._params, self._shuffle, self._weights = model, params, shuffle, weights
        self._optimiser = torch.optim.AdamW(
            model.parameters(), lr=params.learning_rate, weight_decay=params.weight_decay
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self._optimiser, _slope(steps, params.warmup_share))

    def epoch(self, train: "list[Encoded]", learnt: Callable[[float], None]) -> tuple[float, float]:
        """Learn from every text once; return the mean loss and the share of right answers while learning."""
        losses: list[float] = []
        right = 0
        for batch in _batches(train, self._params.batch_size, self._shuffle):
            loss, hits = self._step(batch)
            losses.append(loss)
            right += hits
            self.schedule.step()
            learnt(float(np.mean(losses[-50:])))
        return float(np.mean(losses)), right / len(train)

    def state(self) -> dict[str, Any]:
        """Return everything that the next epoch depends on."""
        import torch  # noqa: PLC0415

        return {
            "model": self._model.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "torch": torch.get_rng_state(),
            "shuffle": self._shuffle.bit_generator.state,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go back to *state*."""
        import torch  # noqa: PLC0415

        self._model.load_state_dict(state["model"], strict=True)
        self._optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        torch.set_rng_state(state["torch"])
        self._shuffle.bit_generator.state = state["shuffle"]

    def _step(self, batch: "list[Encoded]") -> tuple[float, int]:
        """Learn from one batch; return its loss and right answers before that."""
        import torch  # noqa: PLC0415

        self._model.train()
        logits = self._model(*_padded([ids for ids, _ in batch])).logits
        labels = torch.tensor([label for _, label in batch])
        loss = torch.nn.functional.cross_entropy(
            logits, labels, weight=self._weights, label_smoothing=self._params.label_smoothing
        )
        self._optimiser.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), 1.0)
        self._optimiser.step()
        return float(loss.detach()), int((logits.argmax(-1) == labels).sum())


def class_weights(labels: Sequence[int], params: TransformerParams) -> "torch.Tensor | None":
    """Return a weight for each label id, the rarer the larger and 1 on average over the texts; None without weights."""
    import torch  # noqa: PLC0415

    if params.class_weights is None:
        return None
    counts = np.bincount(labels, minlength=len(params.labels))
    return torch.tensor(len(labels) / (len(counts) * counts), dtype=torch.float32)


def _best_epoch(reports: Sequence[EpochReport]) -> int:
    return min(reports, key=lambda report: report.valid_loss).epoch


def _gave_up(reports: Sequence[EpochReport], patience: int) -> bool:
    return bool(reports) and len(reports) - _best_epoch(reports) >= patience


def _said(loss: float) -> str:
    return f"fine-tuning, loss {loss:.3f}"


Encoded = tuple[list[int], int]  # token ids, special ones included, and the label id


def encode(examples: Sequence[Example], tokenizer: "Tokenizer", length: int) -> list[Encoded]:
    """Tokenise *examples*, cut to *length* tokens, unpadded."""
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    encodings = tokenizer.encode_batch([example.text for example in examples])
    return [(encoding.ids, example.label) for encoding, example in zip(encodings, examples, strict=True)]


def evaluate(model: "DistilBertForSequenceClassification", encoded: Sequence[Encoded]) -> tuple[float, float]:
    """Return the mean cross-entropy and the share of right answers."""
    import torch  # noqa: PLC0415

    logits = logits_of(model, [ids for ids, _ in encoded])
    labels = torch.tensor([label for _, label in encoded])
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    return loss, (logits.argmax(-1) == labels).float().mean().item()


def logits_of(model: "DistilBertForSequenceClassification", encoded: Sequence[list[int]]) -> "torch.Tensor":
    """Return the logits [texts, labels] in the order of *encoded*; rows of like length are computed together."""
    import torch  # noqa: PLC0415

    model.train(mode=False)
    order = sorted(range(len(encoded)), key=lambda position: len(encoded[position]))
    rows = torch.empty(len(encoded), model.config.num_labels)
    with torch.inference_mode():
        for start in range(0, len(order), EVALUATION_ROWS):
            chosen = order[start : start + EVALUATION_ROWS]
            rows[chosen] = model(*_padded([encoded[position] for position in chosen])).logits
    return rows


def _batches(encoded: list[Encoded], size: int, shuffle: np.random.Generator) -> Iterator[list[Encoded]]:
    """Yield *encoded* once, in random batches of texts of like length: half the padding of plain random ones."""
    order = shuffle.permutation(len(encoded))
    batches = []
    for start in range(0, len(order), size * NEIGHBOURS):
        near = sorted(order[start : start + size * NEIGHBOURS], key=lambda position: len(encoded[position][0]))
        batches += [near[first : first + size] for first in range(0, len(near), size)]
    for position in shuffle.permutation(len(batches)):
        yield [encoded[row] for row in batches[position]]


def _padded(rows: Sequence[list[int]]) -> "tuple[torch.Tensor, torch.Tensor]":
    """Return token ids and attention mask [rows, longest]."""
    import torch  # noqa: PLC0415

    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long()


def _slope(steps: int, warmup_share: float) -> Callable[[int], float]:
    """Return the learning rate's factor by step: up in a line, then down in a line to 0."""
    warmup = max(1, round(steps * warmup_share))
    return lambda step: min((step + 1) / warmup, max(0.0, (steps - step) / max(1, steps - warmup)))
