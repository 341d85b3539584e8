"""From trtexec's arguments to options: profiles by position, what is unknown, what does not go together."""

from typing import Any

from simulator.options import InvalidArgumentError, Options, shapes, split, value_of

_BOUNDS = ("--minShapes", "--optShapes", "--maxShapes")
_CONVERSION = " conversion failure: failed to parse minShapes/optShapes/maxShapes. Please double check your input string."
_NAMES = dict(zip(_BOUNDS, ("minShapes", "optShapes", "maxShapes"), strict=True))

Arguments = list[tuple[str, str]]
Profile = dict[str, tuple[list[int], list[int], list[int]]]


def parse(argv: list[str], table: dict[str, dict[str, Any]], major: int) -> Options:
    """Parse the arguments after the program's name.

    Raises:
        InvalidArgumentError: a value is refused, or options exclude each other.
    """
    arguments = split(argv)
    unknown = sorted((name, value) for name, value in arguments if name not in table)
    known = [(name, value) for name, value in arguments if name in table]
    warnings = [table[name]["deprecated"] for name, _ in known if "deprecated" in table[name]]
    profiles, rest = _profiles(known, warnings)
    values: dict[str, Any] = {}
    for name, text in rest:
        entry = table[name]
        value = value_of(name, text, entry, major)
        if entry.get("repeat"):
            values.setdefault(name, []).append(value)
        elif name in values:
            # getAndDelOption takes one occurrence; a second one is left over, and so unknown.
            unknown.append((name, text))
        else:
            values[name] = value
    options = Options(values, profiles, warnings, unknown)
    _check(options)
    return options


def _profiles(arguments: Arguments, warnings: list[str]) -> tuple[list[Profile], Arguments]:
    """Take the shape triples out of the arguments: one for each ``--profile``, or a single one without it."""
    indices = [at for at, (name, _) in enumerate(arguments) if name == "--profile"]
    if not indices:
        found = [(name, value) for name, value in arguments if name in _BOUNDS]
        if len({name for name, _ in found}) != len(found):
            raise InvalidArgumentError("Multiple --minShapes/--optShapes/--maxShapes without --profile are not allowed. ")
        rest = [(name, value) for name, value in arguments if name not in _BOUNDS]
        return [_triple(dict(found), warnings)], rest
    profiles: dict[int, Profile] = {}
    used: set[int] = set()
    for at in indices:
        given: dict[str, str] = {}
        used.add(at)
        for follower in range(at + 1, min(at + 4, len(arguments))):
            name, value = arguments[follower]
            if name not in _BOUNDS or name in given:
                break
            given[name] = value
            used.add(follower)
        index = int(arguments[at][1] or 0)
        if index in profiles:
            raise InvalidArgumentError("Optimization profile index cannot be the same.")
        profiles[index] = _triple(given, warnings)
    for index in range(max(profiles) + 1):
        if not profiles.get(index):
            raise InvalidArgumentError(f"Found invalid or missing shape spec at profile index {index}. ")
    rest = [argument for at, argument in enumerate(arguments) if at not in used]
    if any(name in _BOUNDS for name, _ in rest):
        raise InvalidArgumentError("Multiple --minShapes/--optShapes/--maxShapes without --profile are not allowed. ")
    return [profiles[index] for index in sorted(profiles)], rest


def _triple(given: dict[str, str], warnings: list[str]) -> Profile:
    """Minimum, optimum and maximum by input; a missing one is filled from its neighbour, with a warning."""
    if not given:
        return {}
    try:
        parsed = {name: shapes(text) for name, text in given.items()}
    except InvalidArgumentError as error:
        raise InvalidArgumentError(f"{error}{_CONVERSION}") from None
    source = {
        "--minShapes": ("--minShapes", "--optShapes", "--maxShapes"),
        "--optShapes": ("--optShapes", "--maxShapes", "--minShapes"),
        "--maxShapes": ("--maxShapes", "--optShapes", "--minShapes"),
    }
    profile: Profile = {}
    for tensor in sorted({tensor for bound in parsed.values() for tensor in bound}):
        bounds = []
        for bound in _BOUNDS:
            taken = next(name for name in source[bound] if name in parsed)
            if taken != bound:
                warnings.append(f"{_NAMES[taken]} is being broadcasted to {_NAMES[bound]} for tensor {tensor}")
            bounds.append(parsed[taken].get(tensor, []))
        profile[tensor] = (bounds[0], bounds[1], bounds[2])
    return profile


def _check(options: Options) -> None:
    """What sampleOptions.cpp refuses after parsing, as far as it concerns this stack."""
    get = options.get
    if get("--loadEngine") is not None and get("--saveEngine") is not None:
        raise InvalidArgumentError("Incompatible load and save engine options selected")
    if get("--saveAllEngines") and get("--saveEngine") is None:
        raise InvalidArgumentError("--saveAllEngines requires --saveEngine to be specified.")
    if get("--weightStreamingBudget") is not None and not get("--allowWeightStreaming"):
        raise InvalidArgumentError("The weight streaming budget can only be set with --allowWeightStreaming specified.")
    if get("--useRuntime", "full") not in ("", "full") and get("--loadEngine") is None:
        raise InvalidArgumentError("Building a TensorRT engine requires --useRuntime=full.")
    if get("--best") and get("--stronglyTyped"):
        raise InvalidArgumentError(
            "--best and --stronglyTyped cannot be both set. --best enables implicit precisions, "
            "while --stronglyTyped enforces explicit precisions."
        )
    if get("--loadRefOutputs") and not get("--loadInputs"):
        raise InvalidArgumentError("--loadRefOutputs requires --loadInputs to be specified.")
    if get("--loadRefOutputs") and not get("--accuracyThreshold"):
        raise InvalidArgumentError("--accuracyThreshold (with a positive value) is required when --loadRefOutputs or --refPair is set.")
    if not get("--help") and get("--loadEngine") is None and get("--onnx") is None:
        raise InvalidArgumentError("Model missing or format not recognized")


def wants_help(argv: list[str]) -> bool:
    """``--help`` and ``-h`` win over everything else; so does an empty command line."""
    return not argv or any(name in ("--help", "-h") for name, _ in split(argv))
