"""The keys of ``train`` and of its choices: one table for checking and for the language reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tantra_dsl.semantics.recipe import RecipeKey
from tantra_dsl.semantics.recipe_kinds import MANY, Amount, Flag, Kind, Number, OrNone, Text, Two

BUNDLED = ("shakespeare",)


@dataclass(frozen=True)
class Key:
    """A key that holds a plain value."""

    name: str
    kind: Kind
    default: str
    doc: str


@dataclass(frozen=True)
class Choice:
    """One of the names that a key may hold, with its own keys.

    ``positional``: the keys that unnamed arguments fill. ``needs``: the key that must be given, what it is and an
    example. ``idle``: keys of sibling choices that would do nothing here, each with the reason and the fix.
    """

    name: str
    doc: str
    keys: tuple[Key, ...] = ()
    positional: tuple[str, ...] = ()
    needs: tuple[str, str, str] | None = None
    idle: Mapping[str, tuple[str, str]] | None = None


@dataclass(frozen=True)
class Menu:
    """A key that holds one of several choices."""

    name: str
    default: str
    doc: str
    choices: tuple[Choice, ...]


def _lr(default: str) -> Key:
    return Key("lr", Number(0, 1e3, open_low=True), default, "Peak learning rate.")


_BETA = Number(0, 1, open_high=True)
_BETAS = Key("betas", Two(_BETA), "[0.9, 0.99]", "Decay of the averages of the gradient and of its square.")
_EPS = Key("eps", Number(0, 1, open_low=True), "1e-8", "Added to the root of the averaged square.")
_DECAY = Key("weight_decay", Number(0, 10), "0.1", "Decoupled weight decay of matrices (none on norms and biases).")
_MOMENTUM = Key("momentum", _BETA, "0.95", "Decay of the averaged gradient.")
_ADAMW_LR = Key("adamw_lr", Number(0, 1e3, open_low=True), "3e-3", "Peak learning rate of what adamw trains.")

_NO_MOMENTUM = ("its first beta plays that part", "set betas: [momentum, 0.99], or use sgd or muon")
_NO_DECOUPLED = ("adam has no decoupled weight decay", "use adamw")
_ONE_RATE = ("only muon splits the weights between two optimizers", "set lr")
_NO_ADAM = ("sgd keeps no average of squares", "use adamw, or set momentum")

OPTIMIZER = Menu(
    "optimizer",
    "adamw",
    "How gradients change the weights.",
    (
        Choice("adamw", "Loshchilov & Hutter 2019.", (_lr("1e-3"), _BETAS, _EPS, _DECAY), ("lr",),
               idle={"momentum": _NO_MOMENTUM, "adamw_lr": _ONE_RATE}),
        Choice("adam", "Kingma & Ba 2015.", (_lr("1e-3"), _BETAS, _EPS), ("lr",),
               idle={"momentum": _NO_MOMENTUM, "weight_decay": _NO_DECOUPLED, "adamw_lr": _ONE_RATE}),
        Choice("sgd", "With Nesterov momentum where momentum is above 0.", (_lr("0.1"), _MOMENTUM, _DECAY), ("lr",),
               idle={"betas": _NO_ADAM, "eps": _NO_ADAM, "adamw_lr": _ONE_RATE}),
        Choice("muon", "Jordan et al. 2024: hidden matrices; adamw trains the rest.",
               (_lr("0.02"), _MOMENTUM, _DECAY, _ADAMW_LR, _BETAS, _EPS), ("lr",)),
    ),
)  # fmt: skip

_WARMUP = Key("warmup", Amount(), "0.05", "Steps, or share of all steps, of linear warm-up.")
_FLOOR = Key("floor", Number(0, 1), "0", "Last learning rate, as a share of the peak.")
_TAIL = Key("decay", Amount(), "0.3", "Steps, or share of all steps, of the final linear decay.")

_NEVER_FALLS = ("this schedule does not fall to a floor", "use cosine, linear or wsd")
_NO_TAIL = ("only wsd has a separate decay", "use wsd(decay: ...)")

SCHEDULE = Menu(
    "schedule",
    "cosine",
    "The learning rate over the steps.",
    (
        Choice("constant", "The peak, after warm-up.", (_WARMUP,), ("warmup",),
               idle={"floor": _NEVER_FALLS, "decay": _NO_TAIL}),
        Choice("cosine", "Half a cosine from the peak to the floor.", (_WARMUP, _FLOOR), ("warmup", "floor"),
               idle={"decay": _NO_TAIL}),
        Choice("linear", "A line from the peak to the floor.", (_WARMUP, _FLOOR), ("warmup", "floor"),
               idle={"decay": _NO_TAIL}),
        Choice("noam", "Inverse square root of the step (Vaswani et al. 2017).", (_WARMUP,), ("warmup",),
               idle={"floor": _NEVER_FALLS, "decay": _NO_TAIL}),
        Choice("wsd", "Warm-up, the peak, then a line to the floor (Hu et al. 2024).", (_WARMUP, _TAIL, _FLOOR),
               ("warmup", "decay", "floor")),
    ),
)  # fmt: skip

_VOCAB = Key("vocab", Number(2, 2**24, whole=True), "none", "How many tokens to learn.")
_FIXED_VOCAB = ("its vocabulary is fixed by the data", "use bpe(vocab)")

TOKENIZER = Menu(
    "tokenizer",
    "auto",
    "How text becomes tokens.",
    (
        Choice("auto", "bytes for a vocabulary of 256, characters below, a BPE above.",
               idle={"vocab": ("it takes the model's vocabulary", "use bpe(vocab)")}),
        Choice("bytes", "UTF-8 bytes.", idle={"vocab": _FIXED_VOCAB}),
        Choice("characters", "The characters of the data.", idle={"vocab": _FIXED_VOCAB}),
        Choice("bpe", "Byte-level byte-pair encoding, learned on the training part.", (_VOCAB,), ("vocab",),
               needs=("vocab", "the number of tokens", "bpe(4096)")),
    ),
)  # fmt: skip

_PATH = Key("path", Text(), "none", "A file of lines, each a source, a tab and a target.")

DATA = Menu(
    "data",
    "none",
    "A bundled text by name, a file or folder of text in quotes, or pairs from a file.",
    (
        *(Choice(name, "A text that ships with the package.") for name in BUNDLED),
        Choice("pairs", "Source and target per line, separated by a tab.", (_PATH,), ("path",),
               needs=("path", "a file", 'pairs("words.tsv")')),
    ),
)  # fmt: skip


def _names(name: str, default: str, doc: str, **choices: str) -> Menu:
    return Menu(name, default, doc, tuple(Choice(choice, text) for choice, text in choices.items()))


SPLIT = _names(
    "split", "position", "Where the validation part is cut.",
    position="The last part of the text.", document="Whole files, chosen by the seed.",
)  # fmt: skip
PRECISION = _names(
    "precision", "auto", "Arithmetic of the forward and backward pass; weights stay float32.",
    auto="bfloat16 where the chip has it, else float32.", float32="Everywhere float32.",
    bfloat16="Matrix products in bfloat16 (autocast).",
)  # fmt: skip

_COUNT = Number(1, MANY, whole=True)

TRAIN: tuple[Key | Menu, ...] = (
    DATA,
    TOKENIZER,
    SPLIT,
    Key("validation", Number(0, 1, open_high=True), "0.1", "Share of the data kept for validation."),
    Key("context", OrNone(Number(2, 2**24, whole=True)), "none", "Tokens per sequence; none: the model's context."),
    Key("batch", Number(1, 2**24, whole=True), "32", "Sequences per forward pass."),
    Key("accumulate", Number(1, 2**24, whole=True), "1", "Forward passes per step, their gradients averaged."),
    Key("steps", _COUNT, "1000", "Optimizer steps."),
    Key("epochs", Number(0, 1e6, open_low=True), "none", "Length as passes over the training part, instead of steps."),
    Key(
        "time_limit",
        OrNone(Number(0, 1e9, open_low=True)),
        "none",
        "Seconds after which a machine too slow for all steps stops; the schedule reaches its end by then.",
    ),
    OPTIMIZER,
    SCHEDULE,
    Key("label_smoothing", Number(0, 1, open_high=True), "0", "Share of the target spread over all classes."),
    Key("dropout", Number(0, 1, open_high=True), "0", "Rate of every dropout that sets none itself."),
    Key("clip", OrNone(Number(0, open_low=True)), "1", "Largest norm of the gradient."),
    PRECISION,
    Key("compile", Flag(), "false", "Whether to run the model through torch.compile."),
    Key("seed", Number(0, 2**63 - 1, whole=True), "0", "Of the initial weights, the data's order and dropout."),
    Key("eval_every", OrNone(_COUNT), "none", "Steps between validations; none: a tenth of all steps."),
    Key("eval_batches", _COUNT, "16", "Batches of a validation on the way; the last one takes the whole part."),
    Key("save_every", OrNone(_COUNT), "none", "Steps between checkpoints; none: as eval_every."),
    Key("keep", Number(1, 10**6, whole=True), "2", "Checkpoints kept, besides the best."),
    Key("log_every", _COUNT, "10", "Steps between entries of metrics.jsonl."),
    Key("prompt", OrNone(Text()), "none", "Text that a sample at the end continues."),
)


def reference() -> tuple[RecipeKey, ...]:
    """Every key with its choices and their keys, flat."""
    return tuple(row for entry in TRAIN for row in _rows(entry))


def _rows(entry: Key | Menu) -> Iterator[RecipeKey]:
    if isinstance(entry, Key):
        yield RecipeKey(entry.name, entry.kind.text, entry.default, entry.doc)
        return
    yield RecipeKey(entry.name, " | ".join(choice.name for choice in entry.choices), entry.default, entry.doc)
    for choice in entry.choices:
        yield RecipeKey(f"{entry.name}.{choice.name}", "choice", "", choice.doc)
        for key in choice.keys:
            yield RecipeKey(f"{entry.name}.{choice.name}.{key.name}", key.kind.text, key.default, key.doc)
