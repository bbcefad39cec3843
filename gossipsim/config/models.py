"""What a configuration file may hold, as pydantic models: the check and the JSON Schema are one definition.

Types are strict (``"8"`` is not 8, ``true`` is not 1) and unknown keys are errors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError

from gossipsim.faults import Fault
from gossipsim.spec import Path, did_you_mean, show

DEFAULT_TRAINER = "gossipsim.trainers.SupervisedTrainer"
DEFAULT_STRATEGY = "gossipsim.strategies.LocalThenGossip"
DEFAULT_PARTITION = "gossipsim.data.IID"
DEFAULT_TOPOLOGY = "gossipsim.network.ring"
DEFAULT_WEIGHTS = "gossipsim.network.MetropolisHastings"
ONE_NODE_TOPOLOGY = "gossipsim.network.complete"

MAX_NODES = 1_000_000
"""More are a mistake: their graph alone would not fit in memory."""

_NAME = re.compile(r"[^\s/\\\x00-\x1f\x7f.][^/\\\x00-\x1f\x7f]{0,99}")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Spec(Strict):
    """A class path with its params; a bare string is a class path without params."""

    class_: str = Field(alias="class", description="Dotted path of an importable class or function.")
    params: dict[str, Any] = Field(default_factory=dict, description="Arguments by name; a spec inside is built first.")
    name: str | None = Field(None, min_length=1, max_length=100, description="Display name.")

    @model_validator(mode="before")
    @classmethod
    def _from_string(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"class": value}
        if not isinstance(value, dict):
            raise PydanticCustomError("spec", "expected a class path (a string) or an object with a 'class'")
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        fields = handler.resolve_ref_schema(handler(core))
        return {"anyOf": [{"type": "string", "description": "Class path."}, fields]}


class ScheduleSpec(Spec):
    """A torch learning-rate scheduler and when it is stepped."""

    every: Literal["epoch", "step"] = Field("epoch", description="When the scheduler is stepped.")


Values = Annotated[list[Any], Field(min_length=1)]


class OptimizerSpec(Spec):
    """A torch optimizer; its params come from the node's model."""

    schedule: ScheduleSpec | None = Field(None, description="A torch lr_scheduler.")
    clip_grad_norm: float | None = Field(None, gt=0, description="Clips each node's gradient to this norm.")
    tune: Annotated[dict[str, Values], Field(min_length=1)] | None = Field(
        None, description="Param -> values to try, all combinations; the best by `selection` stands for the optimizer."
    )


class Network(Strict):
    """Who talks to whom, and with which weights."""

    nodes: int | None = Field(None, ge=1, le=MAX_NODES, description="Number of nodes.")
    topology: Spec = Field(
        Spec.model_validate(DEFAULT_TOPOLOGY),
        validate_default=False,
        description="Who is joined to whom: a function that returns a networkx graph, or a class with graph(round).",
    )
    weights: Spec = Field(
        Spec.model_validate(DEFAULT_WEIGHTS), validate_default=False, description="The mixing matrix W of the graph."
    )
    links: Spec | None = Field(None, description="Lost messages, absent nodes, simulated time; absent: a perfect one.")
    compression: Spec | None = Field(None, description="What every exchange of rows is compressed with.")


class InlineTask(Strict):
    """A task with its models and optimizers, written in place instead of in a task directory."""

    task: Spec = Field(description="Data, loss and metrics.")
    models: list[Spec] = Field(min_length=1, description="Each is crossed with each optimizer.")
    optimizers: list[OptimizerSpec] = Field(min_length=1, description="Each is crossed with each model.")


class Gate(Strict):
    """What the runs of an experiment must reach; `gossipsim check` judges it.

    `threshold` is one number, or two for "between".
    """

    name: str | None = Field(None, min_length=1, max_length=100, description="Display name.")
    metric: str = Field(description="A field of history.jsonl.")
    comparison: Literal["<", "<=", ">", ">=", "between"] = Field("<=", description="The metric against the threshold.")
    threshold: float | list[float] = Field(description='A number; two for "between".')
    value: Literal["last", "best"] = Field("last", description="Which value of a run: at its end, or its best.")
    aggregate: Literal["every", "mean", "median"] = Field(
        "every", description="Over the selected runs: each of them, or their mean or median."
    )
    where: dict[str, str | int | float] = Field(
        default_factory=dict, description='Selects runs, e.g. {"strategy": "GradientTracking", "network.nodes": 8}.'
    )

    @model_validator(mode="after")
    def _threshold_fits(self) -> Gate:
        numbers = len(self.threshold) if isinstance(self.threshold, list) else 1
        wanted = 2 if self.comparison == "between" else 1
        if numbers != wanted or isinstance(self.threshold, list) != (wanted == 2):
            context = {"op": self.comparison, "wanted": "two numbers" if wanted == 2 else "one number"}
            raise PydanticCustomError("gate", "'{op}' takes {wanted} as threshold", context)
        return self


def _numbers(value: Any) -> Any:
    """One number is a list of one."""
    numbers = value if isinstance(value, list) else [value]
    if not numbers or any(isinstance(each, bool) or not isinstance(each, int | float) for each in numbers):
        raise PydanticCustomError("target", "expected a number or a list of numbers")
    twice = next((each for i, each in enumerate(numbers) if each in numbers[:i]), None)
    if twice is not None:
        raise PydanticCustomError("target", "{twice} stands there twice", {"twice": twice})
    return [float(each) for each in numbers]


_NUMBER = {"type": "number"}
Target = Annotated[
    list[float],
    BeforeValidator(_numbers),
    WithJsonSchema({"anyOf": [_NUMBER, {"type": "array", "items": _NUMBER, "minItems": 1}]}),
]


class Selection(Strict):
    """How the best candidate of a tuned optimizer is chosen."""

    metric: str | None = Field(
        None,
        description="A field of history.jsonl, at the end of a run, mean over seeds; "
        "null: the first of val_accuracy, val_loss, suboptimality, train_loss that is recorded.",
    )

    @field_validator("metric")
    @classmethod
    def _not_the_test_set(cls, metric: str | None) -> str | None:
        if metric is not None and re.match(r"(local_)?test_", metric):
            raise PydanticCustomError("selection", "the test set is not for choosing; use e.g. val_accuracy")
        return metric


Seed = Annotated[int, Field(ge=0)]


class Sections(Strict):
    """What a grid can sweep of an experiment, beside its tasks, models and optimizers."""

    trainer: Spec = Field(Spec.model_validate(DEFAULT_TRAINER), description="The training loop: epochs, batches, logs.")
    network: Network | None = Field(None, description="Absent: one node, supervised training.")
    strategy: Spec = Field(Spec.model_validate(DEFAULT_STRATEGY), description="The decentralized algorithm.")
    partition: Spec = Field(Spec.model_validate(DEFAULT_PARTITION), description="Which samples each node owns.")


class Experiment(Sections):
    """An experiment of gossipsim."""

    schema_: str | None = Field(None, alias="$schema", description="For editors; not read.")
    description: str | None = Field(None, description="For people; not read.")
    name: str = Field(description="Names the default result folder, workflow/<name>.")
    workflow: str | None = Field(None, min_length=1, description="Result folder, relative to the working directory.")
    task_dirs: list[str] = Field(
        default_factory=list, description="Folders with task.json, models.json, optimizers.json."
    )
    tasks: list[InlineTask] = Field(default_factory=list, description="Tasks written in place.")
    gates: list[Gate] = Field(default_factory=list, description="What `gossipsim check` judges.")
    targets: dict[str, Target] = Field(
        default_factory=dict, description="Metric -> values; results say when each was reached first."
    )
    selection: Selection = Field(Selection(metric=None), description="How tuned optimizers are chosen.")
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(
        [0], description="One run per cell and seed; the same seeds in every cell, so that cells can be paired."
    )
    grid: dict[str, Values] = Field(
        default_factory=dict,
        description="Dotted path -> values; cross product. E.g. network.nodes, strategy, optimizer.params.lr.",
    )
    zip: dict[str, Values] = Field(default_factory=dict, description="Dotted path -> values; paired lists.")
    faults: list[Fault] = Field(default_factory=list, description="What goes wrong on purpose, in every run.")

    @field_validator("name")
    @classmethod
    def _name_is_a_folder(cls, name: str) -> str:
        if not _NAME.fullmatch(name) or not name.isprintable():
            raise PydanticCustomError(
                "name", "expected up to 100 characters that a folder name can hold (no '/', no leading dot)"
            )
        return name

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            raise PydanticCustomError("seeds", "{twice} stands there twice", {"twice": str(twice)[1:-1]})
        return seeds

    @field_validator("zip")
    @classmethod
    def _zip_is_paired(cls, lists: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if len({len(values) for values in lists.values()}) > 1:
            lengths = ", ".join(f"{key}: {len(values)}" for key, values in lists.items())
            raise PydanticCustomError("zip", "lists differ in length ({lengths})", {"lengths": lengths})
        return lists


TASK: TypeAdapter[Any] = TypeAdapter(Spec)
MODELS: TypeAdapter[Any] = TypeAdapter(Annotated[list[Spec], Field(min_length=1)])
OPTIMIZERS: TypeAdapter[Any] = TypeAdapter(Annotated[list[OptimizerSpec], Field(min_length=1)])
EXPERIMENT: TypeAdapter[Any] = TypeAdapter(Experiment)
SECTIONS: dict[str, TypeAdapter[Any]] = {
    "trainer": TASK,
    "network": TypeAdapter(Network),
    "strategy": TASK,
    "partition": TASK,
}
CROSSED: dict[str, TypeAdapter[Any]] = {"task": TASK, "model": TASK, "optimizer": TypeAdapter(OptimizerSpec)}
"""What an experiment lists and crosses; a path such as `optimizer.params.lr` is about all that are listed."""


def shape_errors(adapter: TypeAdapter[Any], value: Any) -> list[tuple[Path, str]]:
    """What pydantic finds, in our words: (path, message)."""
    try:
        adapter.validate_python(value)
    except ValidationError as error:
        return [_in_our_words(adapter, details["loc"], details) for details in error.errors(include_url=False)]
    return []


_EXPECTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}


def _in_our_words(adapter: TypeAdapter[Any], path: Path, details: Any) -> tuple[Path, str]:  # noqa: PLR0911
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "missing":
        return path, "missing"
    if kind == "extra_forbidden":
        keys = _keys_at(adapter, path[:-1])
        return path, f"unknown key{did_you_mean(str(path[-1]), keys)}; allowed: {', '.join(keys)}"
    if kind in _EXPECTED:
        return path, f"expected {_EXPECTED[kind]}, got {show(value)}"
    bounds = {"greater_than_equal": ("ge", ">="), "greater_than": ("gt", ">"), "less_than_equal": ("le", "<=")}
    if kind in bounds:
        name, sign = bounds[kind]
        noun = "a number" if sign == ">" else "an integer"
        return path, f"expected {noun} {sign} {context[name]:,.15g}, got {show(value)}"
    if kind == "too_short":
        return path, f"expected at least one entry, got an empty {'list' if isinstance(value, list) else 'object'}"
    if kind in ("string_too_short", "string_too_long"):
        return path, f"expected 1 to 100 characters, got {show(value)}"
    if kind == "literal_error":
        return path, f"expected {context['expected']}, got {show(value)}"
    shown = "" if kind in ("zip", "seeds", "gate", "selection", "fault") else f", got {show(value)}"
    return path, f"{details['msg']}{shown}"


def _keys_at(adapter: TypeAdapter[Any], path: Path) -> list[str]:
    """The keys of the object at a path, read off the models."""
    annotation: Any = adapter._type
    for part in path:
        model = _model_in(annotation)
        if isinstance(part, int) or model is None:
            continue
        fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        annotation = fields.get(part)
    found = _model_in(annotation)
    return [field.alias or name for name, field in found.model_fields.items()] if found else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found: Sequence[type[BaseModel] | None] = [_model_in(argument) for argument in get_args(annotation)]
    return next((model for model in found if model), None)
