"""What the scores of a model are, and how they become what SCORES asks for: in the graph and, apart from it, in numpy."""

import logging
from collections.abc import Callable

import numpy as np
import onnx

from services.core.errors import SourceError
from services.exporter import graph as edit
from services.exporter.loaded import Array

log = logging.getLogger(__name__)

_SIGMOIDS = frozenset({"Sigmoid", "HardSigmoid"})
# Of the one score p of a binary model: [1 - p, p]; of its logit z: [0, z], of which a softmax makes [1 - sigmoid(z), sigmoid(z)].
_OF_A_PROBABILITY = ((-1.0, 1.0), (1.0, 0.0))
_OF_A_LOGIT = ((0.0, 1.0), (0.0, 0.0))

Finish = Callable[[Array], Array]


def probes(size: int) -> Array:
    """Inputs FP32 ``[5,3,size,size]`` unlike one another: nothing, noise, strong noise, all dark, all bright."""
    noise = np.random.default_rng(0).standard_normal((3, size, size), np.float32)
    return np.stack([np.zeros_like(noise), noise, 8 * noise, np.full_like(noise, -2), np.full_like(noise, 2.5)])


def ends_in_probabilities(model: onnx.ModelProto) -> bool:
    """Whether the last operator is a Softmax or a Sigmoid."""
    return edit.last_operator(model) in {"Softmax", *_SIGMOIDS}


def finished(model: onnx.ModelProto, tried: Array, wanted: str, origin: str) -> tuple[onnx.ModelProto, Finish]:
    """Make the scores of a graph ``probabilities`` or ``logits``.

    A model of several classes whose scores end in a sigmoid keeps them: each is a probability of its own. A model of one score is
    a binary one, and gets two classes, the second of which is the one that the score speaks for.

    Args:
        model: a graph whose output is named ``scores``; it is edited in place.
        tried: what it says of ``probes``, FP32 ``[N,classes]``.
        wanted: the setting SCORES.
        origin: what to call the model in an error.

    Returns:
        The graph, and a function that does in numpy, to the scores of the original model, what was added to the graph.

    Raises:
        SourceError: it cannot be told what the scores are, or they cannot become what is wanted.
    """
    shares, single = _are_shares(tried), tried.shape[1] == 1
    if shares and single:
        raise SourceError(
            f"{origin}: its one score is always 1, as after a softmax over one class",
            hint="end a binary model in a sigmoid, or in two classes",
        )
    sigmoid = not shares and edit.last_operator(model) in _SIGMOIDS
    if not shares and not sigmoid and tried.any() and tried.min() >= 0 and tried.max() <= 1:
        raise SourceError(
            f"{origin}: its scores lie in 0..1 and do not add up to 1, and its last operator is {edit.last_operator(model) or 'none'}",
            hint="expected logits, or a last operator Softmax or Sigmoid; return the scores before whatever maps them to 0..1",
        )
    if (shares or sigmoid) and wanted == "logits":
        raise SourceError(f"SCORES=logits, but {origin} gives probabilities", hint="set SCORES=probabilities, or return the logits")
    steps: list[Finish] = []
    if single:
        factors, terms = _OF_A_PROBABILITY if sigmoid else _OF_A_LOGIT
        log.info("the model gives one score: it is served as two classes, and the score is that of the second")
        model = edit.with_two_columns(model, factors, terms)
        steps.append(lambda scores: scores * np.array(factors, np.float32) + np.array(terms, np.float32))
    elif sigmoid:
        log.info("the scores end in a sigmoid: each class has a probability of its own, and they do not add up to 1")
    if wanted == "probabilities" and not shares and not sigmoid:
        model = edit.with_softmax(model)
        steps.append(_softmax)

    def finish(scores: Array) -> Array:
        for step in steps:
            scores = step(scores)
        return scores.astype(np.float32)

    return model, finish


def _are_shares(scores: Array) -> bool:
    """Whether scores ``[N,classes]`` are shares of 1, as after a softmax."""
    return bool((scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, atol=1e-3))


def _softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: Array = powers / powers.sum(axis=1, keepdims=True)
    return shares
