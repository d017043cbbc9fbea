"""What a level of safe search says: its thresholds and its treatment of everything unusual."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from saferank.mappings.float32 import as_float32, shortest
from saferank.ranker.level.curves import CurveName


class Treatment(StrEnum):
    """What happens to a document, from mildest to hardest."""

    SHOW = "show"
    BLUR = "blur"
    DEMOTE = "demote"
    HIDE = "hide"


Threshold = Annotated[
    float, Field(strict=True, ge=0, le=1, allow_inf_nan=False), AfterValidator(as_float32)
]


def _no_default(schema: JsonDict) -> None:
    """What holds without the key depends on another key, which a schema cannot say."""
    schema.pop("default", None)


class Level(BaseModel):
    """One level: hides from probability ``hide_from`` on, demotes and blurs from lower ones on.

    Thresholds are probabilities in 0..1, kept as float32 values, because the engine compares
    float32. The treatments say what happens to documents that thresholds cannot judge.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    blur_from: Annotated[
        Threshold | None,
        Field(
            description="documents with this probability or a higher one are marked to be blurred, "
            "and stay where they are; below `hide_from`, and on either side of `demote_from`"
        ),
    ] = None
    demote_from: Annotated[
        Threshold | None,
        Field(
            description="documents with this probability or a higher one are demoted; below "
            "`hide_from`"
        ),
    ] = None
    hide_from: Annotated[
        Threshold | None,
        Field(description="documents with this probability or a higher one are hidden"),
    ] = None
    unscored: Annotated[
        Treatment,
        Field(description="documents that have no probability; required beside a threshold"),
    ] = Treatment.SHOW
    failed: Annotated[
        Treatment,
        Field(
            description="documents with an image that could not be scored; as `unscored` unless "
            "given",
            json_schema_extra=_no_default,
        ),
    ] = Treatment.SHOW
    not_read: Annotated[
        Treatment,
        Field(
            description="documents with an image of a kind that is not read, such as a drawing or "
            "a film; as `failed` unless given",
            json_schema_extra=_no_default,
        ),
    ] = Treatment.SHOW
    no_image: Annotated[
        Treatment,
        Field(
            description="documents without an image; as `unscored` unless given",
            json_schema_extra=_no_default,
        ),
    ] = Treatment.SHOW
    blocked: Annotated[Treatment, Field(description="documents with `override: block`")] = (
        Treatment.HIDE
    )

    @model_validator(mode="before")
    @classmethod
    def _default_to_unscored(cls, data: Any) -> Any:
        """``failed`` and ``no_image`` follow ``unscored``, and ``not_read`` follows ``failed``."""
        if not isinstance(data, dict):
            return data
        has_threshold = any(data.get(key) is not None for key in _THRESHOLDS)
        if has_threshold and "unscored" not in data:
            raise PydanticCustomError(
                "unscored_missing",
                "a level with a threshold must say what happens to unscored documents; "
                "add 'unscored: show', 'blur', 'demote' or 'hide'",
            )
        for key, others in (("unscored", ("failed", "no_image")), ("failed", ("not_read",))):
            if (default := data.get(key)) in list(Treatment):
                data = {**dict.fromkeys(others, default), **data}
        return data

    @model_validator(mode="after")
    def _ordered(self) -> Level:
        for key, value in self.thresholds.items():
            if key != "hide_from" and self.hide_from is not None and value >= self.hide_from:
                raise PydanticCustomError(
                    "thresholds_out_of_order",
                    "{key} ({value}) must be below hide_from ({hide_from})",
                    {
                        "key": key,
                        "value": str(shortest(value)),
                        "hide_from": str(shortest(self.hide_from)),
                    },
                )
        return self

    @property
    def thresholds(self) -> dict[str, float]:
        """The thresholds that it has, by their keys: float32 values in 0..1."""
        values = {key: getattr(self, key) for key in _THRESHOLDS}
        return {key: value for key, value in values.items() if value is not None}

    @property
    def blurs(self) -> bool:
        """Whether it blurs any document."""
        return self.blur_from is not None or bool(self.treats(Treatment.BLUR))

    def treats(self, treatment: Treatment) -> tuple[str, ...]:
        """Names of the unusual states of a document (``unscored`` …) that get this treatment."""
        states = ("unscored", "failed", "not_read", "no_image", "blocked")
        return tuple(state for state in states if getattr(self, state) is treatment)

    def hides_less_than(self, looser: Level) -> str | None:
        """Name of a key by which this level shows what ``looser`` hides, or None."""
        if looser.hide_from is not None and (
            self.hide_from is None or self.hide_from > looser.hide_from
        ):
            return "hide_from"
        missing = set(looser.treats(Treatment.HIDE)) - set(self.treats(Treatment.HIDE))
        return min(missing, default=None)

    def blurs_less_than(self, looser: Level) -> str | None:
        """Name of a key by which this level neither blurs nor hides what ``looser`` blurs."""
        starts = [value for value in (self.blur_from, self.hide_from) if value is not None]
        if looser.blur_from is not None and min(starts, default=2) > looser.blur_from:
            return "blur_from"
        covered = {*self.treats(Treatment.BLUR), *self.treats(Treatment.HIDE)}
        return min(set(looser.treats(Treatment.BLUR)) - covered, default=None)


_THRESHOLDS = ("blur_from", "demote_from", "hide_from")


class Demotion(BaseModel):
    """How far a demoted document falls: its relevance is multiplied by a factor.

    ``floor`` is the factor at the end of the demoted band. Far smaller values would run into
    the smallest float32 and lose the order among demoted documents.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    curve: Annotated[
        CurveName, Field(description="how the factor falls from 1 to `floor` in the demoted band")
    ] = CurveName.EXPONENTIAL
    floor: Annotated[
        float,
        Field(
            strict=True,
            ge=1e-6,
            le=1,
            allow_inf_nan=False,
            description="the factor at the end of the demoted band",
        ),
    ] = 0.1
