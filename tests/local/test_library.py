"""The library against a real server: pictures of every kind, in order, by both protocols, as files and as pixels."""

import asyncio
import json
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from services.client import AsyncClassifier, Classifier, Named, Result
from services.core.errors import ImageError, ServerError
from services.core.names import image_name
from services.core.published import CONFIG
from tests.conftest import wait_for
from tests.local.stack import SAMPLES, Stack
from tests.local.test_chain import CATS, ESPRESSO

CAT, COFFEE, ROCKET = (SAMPLES / f"{name}.jpg" for name in ("chelsea", "coffee", "rocket"))
MISSILE = 657


@pytest.fixture(params=["http", "grpc"])
def address(request, lite0: Stack) -> str:
    return f"127.0.0.1:{lite0.http}" if request.param == "http" else f"grpc://127.0.0.1:{lite0.grpc}"


@pytest.fixture(params=["file", "pixels"])
def classifier(request, address: str) -> Iterator[Classifier]:
    with Classifier(address, send=request.param, in_flight=3, batch=4) as made:
        yield made


def bests(results: Iterator[Result]) -> list[int | str]:
    return [result.error or result.top[0].index for result in results]


def test_every_kind_of_picture_has_its_answer_in_order(classifier: Classifier, lite0: Stack, tmp_path: Path) -> None:
    shutil.copy(CAT, tmp_path)
    data = COFFEE.read_bytes()
    with Image.open(COFFEE) as image:
        image.load()
    kinds: list[Any] = [str(ROCKET), COFFEE, data, bytearray(data), image, np.asarray(image), tmp_path, Named("mine", lambda: data)]
    results = list(classifier.classify(kinds, top=2))
    assert [result.file for result in results] == [
        str(ROCKET), str(COFFEE), "picture 3", "picture 4", "picture 5", "picture 6", str(tmp_path / "chelsea.jpg"), "mine",
    ]  # fmt: skip
    assert [result.top[0].index for result in results[:6]] == [MISSILE, *[ESPRESSO] * 5]
    assert results[6].top[0].index in CATS
    assert results[1].top[0].label == "espresso"
    assert {(result.model, result.version, len(result.top)) for result in results} == {(lite0.name, lite0.live_version(), 2)}


def test_a_file_has_the_same_answer_whoever_decodes_it(address: str) -> None:
    with Classifier(address, send="file") as there, Classifier(address, send="pixels") as here:
        for one, other in zip(there.classify(SAMPLES, top=1000), here.classify(SAMPLES, top=1000), strict=True):
            assert len(one.top) == len(other.top) == 1000
            np.testing.assert_allclose([best.score for best in one.top], [best.score for best in other.top], atol=1e-4)


def test_many_stay_in_order_and_the_bad_ones_are_bad_alone(classifier: Classifier, tmp_path: Path) -> None:
    kinds: list[tuple[Any, int | str]] = [
        (COFFEE, ESPRESSO),
        (ROCKET, MISSILE),
        (b"hello", "found a text file"),
        (b"", "found an empty file"),
    ]
    kinds += [
        (tmp_path / "missing.jpg", "No such file"),
        (COFFEE.read_bytes()[:3000], "found a damaged"),
        (np.zeros((4, 4)), "found an array"),
    ]
    chosen = [kinds[index] for index in np.random.default_rng(3).integers(0, len(kinds), 80)]
    found = bests(classifier.classify((content for content, _ in chosen), top=1))
    assert len(found) == len(chosen)
    for best, (_, expected) in zip(found, chosen, strict=True):
        assert best.startswith(expected) if isinstance(best, str) and isinstance(expected, str) else best == expected


def test_one_picture(classifier: Classifier) -> None:
    assert classifier.classify_one(COFFEE).top[0].index == ESPRESSO
    assert len(classifier.classify_one(COFFEE, top=3).top) == 3
    with pytest.raises(ImageError, match=r"^picture 1: found a text file"):
        classifier.classify_one(b"hello")


def test_an_endless_source_is_taken_a_little_ahead(classifier: Classifier) -> None:
    taken = 0

    def camera() -> Iterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield COFFEE.read_bytes()

    results = classifier.classify(camera(), top=1)
    assert bests(next(results) for _ in range(20)) == [ESPRESSO] * 20
    assert taken <= 20 + (2 * 3 + 2) * 4
    results.close()  # type: ignore[attr-defined]
    assert classifier.classify_one(COFFEE).top[0].index == ESPRESSO


def test_threads_share_one(classifier: Classifier) -> None:
    found: dict[int, list[int | str]] = {}

    def run(number: int) -> None:
        found[number] = bests(classifier.classify([COFFEE, ROCKET][number % 2] for _ in range(10)))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: [(ESPRESSO, MISSILE)[number % 2]] * 10 for number in range(4)}


def test_the_same_in_an_event_loop(address: str) -> None:
    async def run() -> None:
        async with AsyncClassifier(address, in_flight=2, batch=2) as classifier:
            found = [result async for result in classifier.classify([COFFEE, b"hello", ROCKET, np.asarray(Image.open(COFFEE))], top=1)]
            assert [result.error[:12] or result.top[0].index for result in found] == [ESPRESSO, "found a text", MISSILE, ESPRESSO]
            several = await asyncio.gather(*(classifier.classify_one(picture) for picture in (CAT, COFFEE, ROCKET)))
            assert [several[0].top[0].index in CATS, *(one.top[0].index for one in several[1:])] == [True, ESPRESSO, MISSILE]
            with pytest.raises(ImageError):
                await classifier.classify_one(b"hello")
            async for result in classifier.classify(COFFEE for _ in range(100)):
                assert result.top[0].index == ESPRESSO
                break

    asyncio.run(run())


def test_closing_leaves_neither_threads_nor_files(address: str) -> None:
    def held() -> int:
        return threading.active_count() + len(list(Path("/proc/self/fd").iterdir()))

    def use() -> None:
        with Classifier(address, in_flight=4, batch=1) as classifier:
            assert bests(classifier.classify([COFFEE] * 8)) == [ESPRESSO] * 8

    use()  # what the libraries keep for good
    before = held()
    for _ in range(3):
        use()
    wait_for(lambda: held() <= before)  # gRPC takes its time


@pytest.mark.parametrize("more", ["", "; raise SystemExit"])
def test_a_program_that_does_not_close_ends_well(run_python, address: str, more: str) -> None:
    code = f"""
from services.client import Classifier
results = Classifier({address!r}, batch=1).classify(["{COFFEE}"] * 100)
print(next(results).top[0].label){more}
"""
    done = run_python(code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "espresso\n", "")


def test_a_run_goes_on_after_the_server_was_away(tiny: Stack) -> None:
    """As when its supervisor starts it again, or a new release of it is rolled out."""
    tiny.run("builder")
    tiny.serve()
    with Classifier(f"127.0.0.1:{tiny.http}", in_flight=2, batch=2, timeout=60, wait=30) as classifier:
        results = classifier.classify(COFFEE for _ in range(60))
        before = [next(results) for _ in range(10)]
        tiny.stop()
        back = threading.Thread(target=tiny.serve)
        back.start()
        after = list(results)
        back.join()
    assert len(before + after) == 60
    assert not any(result.error for result in before + after)


def test_files_are_demanded_of_a_server_that_takes_none(tiny: Stack) -> None:
    """As one of an earlier release of this stack."""
    tiny.run("builder")
    (tiny.folders.repository / image_name(tiny.name) / CONFIG).unlink()
    tiny.serve()
    for address in (f"127.0.0.1:{tiny.http}", f"grpc://127.0.0.1:{tiny.grpc}"):
        with pytest.raises(ServerError, match=r"does not serve .*_image"):
            Classifier(address, send="file").classify_one(COFFEE)
        with Classifier(address) as classifier:
            assert not classifier.classify_one(COFFEE).error


def test_the_command_goes_on_where_it_ended(lite0: Stack, tmp_path: Path) -> None:
    photos, answers = tmp_path / "photos", tmp_path / "answers.jsonl"
    photos.mkdir()
    for index in range(12):
        shutil.copy((COFFEE, ROCKET)[index % 2], photos / f"{index:02}.jpg")
    (photos / "05.jpg").write_text("hello")
    done = lite0.run("client", "--json", str(photos), "--batch", "3", "--in-flight", "2", "--top", "1", code=9)
    lines = done.stdout.splitlines(keepends=True)
    assert [json.loads(line)["file"] for line in lines] == [str(photos / f"{index:02}.jpg") for index in range(12)]
    assert json.loads(lines[5])["error"].startswith("found a text file")
    assert "1 of 12 could not be read" in done.stderr
    shutil.copy(ROCKET, photos / "05.jpg")
    answers.write_text("".join(lines[:8]) + lines[8][:20])
    again = lite0.run("client", "--json", str(photos), "--top", "1", "--skip-done", str(answers))
    asked = {Path(answer["file"]).name: answer["top"][0]["index"] for answer in map(json.loads, again.stdout.splitlines())}
    assert asked == {"05.jpg": MISSILE, "08.jpg": ESPRESSO, "09.jpg": MISSILE, "10.jpg": ESPRESSO, "11.jpg": MISSILE}
    assert "line 9 cut off or damaged; asking again" in again.stderr
    assert "7 of 12 left out" in again.stderr


@pytest.mark.parametrize("send", ["file", "pixels"])
def test_ctrl_c_ends_the_command_at_once(lite0: Stack, tmp_path: Path, send: str) -> None:
    for index in range(2000):
        (tmp_path / f"{index:04}.jpg").symlink_to(COFFEE)
    with lite0.start("client", "--json", str(tmp_path), "--send", send) as running:
        assert running.stdout
        while b'"top"' not in (line := running.stdout.readline()):
            assert line
        running.send_signal(signal.SIGINT)
        rest = running.stdout.read()
    assert running.returncode == 130
    assert b"Traceback" not in rest
    assert b"interrupted" in rest
    assert rest.count(b'"top"') < 1000
