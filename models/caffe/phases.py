"""Which layers of a file belong to the net that runs: phase, level and stage rules."""

from __future__ import annotations

from saferank.errors import ModelFormatError
from saferank.models.caffe import caffe_pb2 as pb
from saferank.models.caffe.layer import Layer


def at_test_phase(layers: list[Layer], state: pb.NetState, file: str) -> list[Layer]:
    """Keep the layers that Caffe would keep at phase TEST and level 0.

    Stages are those that the file itself sets, as in pycaffe; a level that it sets does not count.

    Raises:
        ModelFormatError: a layer has rules of both kinds, or none is left.
    """
    state = pb.NetState(phase=pb.TEST, level=0, stage=state.stage)
    kept = [layer for layer in layers if _included(layer, state)]
    if not kept:
        raise ModelFormatError(
            f"{file}: no layer is left at phase TEST; the rules include all of them at TRAIN only"
        )
    return kept


def _included(layer: Layer, state: pb.NetState) -> bool:
    include, exclude = layer.proto.include, layer.proto.exclude
    layer.need(not (include and exclude), "give include or exclude rules, not both", "exclude")
    # One rule that holds is enough, for either kind.
    if include:
        return any(_holds(rule, state) for rule in include)
    return not any(_holds(rule, state) for rule in exclude)


def _holds(rule: pb.NetStateRule, state: pb.NetState) -> bool:
    return (
        (not rule.HasField("phase") or rule.phase == state.phase)
        and (not rule.HasField("min_level") or state.level >= rule.min_level)
        and (not rule.HasField("max_level") or state.level <= rule.max_level)
        and all(stage in state.stage for stage in rule.stage)
        and not any(stage in state.stage for stage in rule.not_stage)
    )
