"""A simulator of nvidia-smi, for the one query that this stack asks; everything else is refused as the real one does."""

import sys

from simulator.machine import Machine

_UNITS = {"memory.total": " MiB", "memory.used": " MiB", "memory.free": " MiB", "utilization.gpu": " %"}


def main(argv: list[str] | None = None) -> int:
    """``--query-gpu=a,b --format=csv[,noheader][,nounits]`` (``-L`` lists the GPUs), one row for each GPU in the order of the bus."""
    arguments = sys.argv[1:] if argv is None else argv
    machines = Machine.all_from_env()
    if arguments == ["-L"]:
        for index, machine in enumerate(machines):
            print(f"GPU {index}: {machine.gpu} (UUID: GPU-00000000-0000-0000-0000-{index:012})")  # noqa: T201
        return 0
    given = dict(argument.partition("=")[::2] for argument in arguments)
    known = {"--query-gpu", "--format", "--id", "-i"}
    unknown = [name for name in given if name not in known]
    if unknown or "--query-gpu" not in given:
        return _refuse(f"Invalid combination of input arguments. Please run 'nvidia-smi -h' for help: {' '.join(unknown)}", 1)
    formats = given.get("--format", "").split(",")
    if formats[0] != "csv" or set(formats) - {"csv", "noheader", "nounits"}:
        return _refuse('Option "--format" is not properly formatted: "csv" is mandatory.', 1)
    fields = [field.strip() for field in given["--query-gpu"].split(",")]
    answers = [_answers(index, machine, len(machines)) for index, machine in enumerate(machines)]
    for field in fields:
        if field not in answers[0]:
            return _refuse(f'Field "{field}" is not a valid field to query.\n', 2)
    if "noheader" not in formats:
        print(", ".join(fields))  # noqa: T201
    for row in answers:
        print(", ".join(row[field] + ("" if "nounits" in formats else _UNITS.get(field, "")) for field in fields))  # noqa: T201
    return 0


def _answers(index: int, machine: Machine, count: int) -> dict[str, str]:
    return {
        "name": machine.gpu,
        "gpu_name": machine.gpu,
        "compute_cap": machine.compute_capability,
        "driver_version": machine.driver,
        "memory.total": str(machine.memory_mib),
        "memory.used": "0",
        "memory.free": str(machine.memory_mib),
        "utilization.gpu": "0",
        "index": str(index),
        "count": str(count),
    }


def _refuse(text: str, code: int) -> int:
    print(text)  # noqa: T201
    return code


if __name__ == "__main__":
    sys.exit(main())
