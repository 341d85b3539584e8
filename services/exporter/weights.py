"""The weights of a PyTorch network: loaded from a file, made random, hashed."""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from services.core.errors import SourceError
from services.core.files import open_regular

log = logging.getLogger(__name__)

State = dict[str, torch.Tensor]
_SHOWN = 3


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Load a state_dict file, also one that a training loop has wrapped (whatever it calls it), or that DataParallel has prefixed.

    Raises:
        SourceError: it is no state_dict, or its keys or shapes are not those of the network.
    """
    try:
        with open_regular(path) as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # A file that is none shows as whatever the unpickler or the zip reader trips over.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(f"WEIGHTS={path} is no state_dict: {reason}", hint="save it with torch.save(model.state_dict(), path)") from error
    own = network.state_dict()
    states = [(name, _without_prefix(state, own)) for name, state in _states(content)]
    if not states:
        found = f"a dict of {', '.join(map(str, list(content)[:5]))}" if isinstance(content, dict) and content else type(content).__name__
        raise SourceError(f"WEIGHTS={path} holds {found}, expected a state_dict", hint="save model.state_dict(), not the model")
    # The first of those that fit best: a checkpoint may hold an average of the weights, or an optimizer, beside them.
    name, state = max(states, key=lambda one: len(own.keys() & one[1].keys()))
    if len(states) > 1:
        log.info("%s holds %s; %s is loaded", path, ", ".join(other or "weights" for other, _ in states), name or "weights")
    if problem := _difference(state, own):
        raise SourceError(f"WEIGHTS={path} does not fit the model: {problem}", hint=_hint(state, own))
    network.load_state_dict(state, strict=False)  # what may be missing, _difference knows


def _states(content: Any, name: str = "", depth: int = 3) -> Iterator[tuple[str, State]]:
    """Every dict of tensors in a checkpoint, with its key."""
    if not isinstance(content, dict) or not depth:
        return
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    if tensors and len(tensors) == len(content):
        yield name, tensors
    for key, value in content.items():
        yield from _states(value, f"{name}.{key}" if name else str(key), depth - 1)


def _without_prefix(state: State, own: State) -> State:
    """Take away what wrappers put before every key (``module.``, ``model.``, ``_orig_mod.``): whatever lets most keys fit."""
    first = next(iter(own), "")
    prefixes = {key.removesuffix(first) for key in state if key.endswith(f".{first}")} | {""}
    best = max(sorted(prefixes, key=len), key=lambda prefix: sum(key.removeprefix(prefix) in own for key in state))
    return {key.removeprefix(best): value for key, value in state.items()}


def _difference(state: State, own: State) -> str:
    """In words, which keys and shapes differ; empty where none do."""
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    shapes = [f"{key} {list(state[key].shape)} instead of {list(own[key].shape)}" for key in _unlike(state, own)]
    parts = (("keys that are missing", missing), ("keys that the model does not have", unknown), ("other shapes", shapes))
    return "; ".join(f"{what}: {_some(found)}" for what, found in parts if found)


def _hint(state: State, own: State) -> str:
    unlike = _unlike(state, own)
    if state.keys() >= own.keys() and all(state[key].shape[1:] == own[key].shape[1:] for key in unlike):
        classes = state[unlike[-1]].shape[0] if unlike else 0
        return f"the weights are of {classes} classes: set LABELS to the file with their {classes} names, one a line"
    return "set MODEL to the network that the weights were trained with"


def _unlike(state: State, own: State) -> list[str]:
    return [key for key in own if key in state and state[key].shape != own[key].shape]


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more


def randomise(network: torch.nn.Module, size: int) -> None:
    """Make random weights give telling answers: as initialised, some networks give zeros, others overflow.

    BatchNorm takes its statistics from noise, and the last linear layer is scaled so that logits spread by about 3.
    """
    # Smooth, as photographs are, with a little grain.
    noise = torch.nn.functional.interpolate(torch.randn(8, 3, 8, 8), size=(size, size), mode="bicubic") + 0.2 * torch.randn(
        8, 3, size, size
    )
    network.train()
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # a plain mean over the passes below
            module.reset_running_stats()
    with torch.no_grad():
        network(noise)
    network.eval()
    last = [module for module in network.modules() if isinstance(module, torch.nn.Linear)][-1:]
    for layer in last:
        torch.nn.init.normal_(layer.weight, std=0.02)
    with torch.no_grad():
        spread = network(noise).std().clamp_min(1e-12)
        for layer in last:
            layer.weight.mul_(3 / spread)


def hash_of(network: torch.nn.Module) -> str:
    """Hex SHA-256 over the names and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
