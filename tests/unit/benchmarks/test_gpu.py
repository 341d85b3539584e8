"""The benchmark on a GPU, without one: its command line, its figures and table, questions of several pictures, and whose engine runs."""

import struct
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import bare, gpu
from benchmarks.bench.engine import Engine
from benchmarks.load import Load, repeat
from benchmarks.published import Published
from benchmarks.report import Cell
from services.core.errors import AccuracyError, SettingsError, ToolError
from services.numerics.agreement import Limits
from services.numerics.golden import Golden


def load(requests, seconds=1.0, cpu=0.5):
    return Load(np.linspace(0.001, 0.003, requests), seconds, cpu)


@pytest.fixture
def published(tmp_path):
    inputs = np.arange(3 * 2, dtype=np.uint8).reshape(3, 2)
    config = SimpleNamespace(
        name="m",
        input=[SimpleNamespace(name="images", data_type=2)],  # TYPE_UINT8
        output=[SimpleNamespace(name="scores")],
        version_policy=SimpleNamespace(specific=SimpleNamespace(versions=[1])),
    )
    card: Any = None
    return Published(tmp_path, config, card, Golden(inputs, np.eye(3, dtype=np.float32)), Limits(1.0, 0.1, 0.01))


class TestCommandLine:
    def test_without_a_word_it_fits_in_eight_minutes(self):
        options = gpu.parse_arguments(["model_repository/m"])
        assert (options.batches, options.clients, options.per_request) == ([1, 8, 32], [1, 8, 32], [1, 8, 32])
        assert (options.variant, options.sizes, options.protocols, options.torch) == ([""], ["640x427"], ["grpc"], None)
        assert options.limit < 480

    def test_lists_have_commas(self):
        words = "m --sizes 640x427,4032x3024 --per-request 1,4 --protocols http,grpc --variant image=4 --variant instances=2"
        options = gpu.parse_arguments(words.split())
        assert (options.sizes, options.per_request) == (["640x427", "4032x3024"], [1, 4])
        assert (options.protocols, options.variant) == (["http", "grpc"], ["image=4", "instances=2"])

    @pytest.mark.parametrize("words", ["--batches 0", "--clients 1,,2", "--per-request x", "--protocols smtp", "--sizes 640"])
    def test_what_is_no_such_list_is_refused(self, words):
        with pytest.raises(SettingsError, match=words.split()[0]):
            gpu.parse_arguments(["m", *words.split()])


class TestFigures:
    def test_a_rate_is_of_pictures_and_a_time_of_a_batch(self):
        found = gpu.summary(Cell([load(100), load(200), load(150)]), 8)
        assert (found["rate"], found["rates"]) == (1200, [800, 1600, 1200])
        assert found["p50_ms"] == 2

    def test_the_ratio_is_to_the_best_of_its_own_round(self):
        found = gpu.against(Cell([load(100), load(200), load(100)], [1.0, 2.0, 3.0]), 4, [800, 800, 500])
        assert (found["ratio"], found["ratios"]) == (0.8, [0.5, 1.0, 0.8])
        assert (found["server_cores"], found["client_cores"], found["stalls"]) == (2, 0.5, 0)

    def test_work_is_repeated_until_the_time_is_over(self):
        done = []
        seen = repeat(lambda: done.append(1), 0.01)
        assert len(seen.times) == len(done) > 1
        assert seen.seconds >= 0.01

    def test_the_table_has_a_row_each(self):
        alone = [
            {"what": what, "batch": batch, **gpu.summary(Cell([load(100), load(120)]), batch)}
            for what in (gpu.ENGINE, "PyTorch")
            for batch in (1, 8)
        ]
        cell = Cell([load(100), load(120)], [1.5, 1.5])
        way = {"variant": "", "sent": gpu.PIXELS, "protocol": "grpc", "clients": 8, "per_request": 4}
        report = {
            "command": "c",
            "machine": {"vector_units": [], "cores": 16, "processor": "p", "memory_gib": 1, "load_before": 0},
            "versions": {},
            "gpu": "NVIDIA H100",
            "engine": "m fp16 alone",
            "compiler": "onnxruntime-gpu 1",
            "rounds": 2,
            "seconds": 1,
            "notes": ["PyTorch is odd."],
            "alone": alone,
            "served": [{**way, **gpu.summary(cell, 4), **gpu.against(cell, 4, [800, 960])}],
        }
        table = gpu.table(report)
        assert "| engine alone | 110; 100-120 (2.00 ms) | 880; 800-960 (2.00 ms) |" in table
        assert "| as published | pixels | grpc | 8 | 4 | 440; 400-480 | **0.50**; 0.50-0.50 | 2.0 / 3.0 | 1.5, 0.5 |" in table
        assert "against m fp16 alone in the same runtime" in table
        assert "PyTorch is odd." in table


class TestQuestionsOfSeveralPictures:
    def test_pixels_go_round_in_circles(self, published):
        question = published.question(2, 4)
        assert question.shape == (4, 2)
        assert question.data == bytes([4, 5, 0, 1, 2, 3, 4, 5])
        question.check(np.eye(3, dtype=np.float32)[[2, 0, 1, 2]].tobytes())

    def test_each_file_has_its_length_before_it(self, published):
        question = published.files_question([b"abc", b"d"], np.eye(3, dtype=np.float32)[:2])
        assert (question.shape, question.model) == ((2, 1), "m_image")
        assert question.data == struct.pack("<I", 3) + b"abc" + struct.pack("<I", 1) + b"d"
        assert question.data.startswith(published.file_question(b"abc", np.eye(3, dtype=np.float32)[:1]).data)

    @pytest.mark.parametrize("count", [1, 3, 8])
    def test_one_wrong_row_is_found(self, published, count):
        question = published.question(0, count)
        wrong = question.scores.copy()
        wrong[-1] = np.roll(wrong[-1], 1)
        with pytest.raises(AccuracyError, match="top-1"):
            question.check(wrong.tobytes())


class TestEngine:
    @pytest.fixture
    def record(self):
        return SimpleNamespace(compiler=SimpleNamespace(name=bare.ON_GPU), engine_file="model.onnx", max_batch=4)

    def test_one_for_a_gpu_runs_there(self, published, record, monkeypatch):
        made = []

        class CudaRunner:
            def __init__(self, model, *, max_batch):
                made.append((model, max_batch))

            def __call__(self, batch):
                return np.eye(3, dtype=np.float32)[: len(batch)]

        monkeypatch.setattr(bare, "CudaRunner", CudaRunner)
        monkeypatch.setattr(bare, "demand_gpu", lambda: None)
        monkeypatch.setattr("benchmarks.bench.engine.demand_gpu", lambda: None)
        monkeypatch.setattr(Published, "record", record)
        engine = Engine(published, record, published.folder)
        assert len(engine.measure(3, 0.01).times) > 0
        assert len(engine.measure(1, 0.01).times) > 0
        assert made == [(published.folder / "1" / "model.onnx", 4)]  # kept, with its graphs

    def test_where_there_is_none_the_report_says_so(self, published, record, monkeypatch):
        def refuse():
            raise ToolError("there is no NVIDIA GPU")

        monkeypatch.setattr("benchmarks.bench.engine.demand_gpu", refuse)
        engine = Engine(published, record, published.folder)
        assert engine.source == ""
        assert "no NVIDIA GPU" in engine.note

    def test_a_gpu_is_looked_for(self, monkeypatch):
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
        with pytest.raises(ToolError, match="no CUDA"):
            bare.demand_gpu()
        monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
        monkeypatch.setattr("benchmarks.machine.gpus", lambda: "")
        with pytest.raises(ToolError, match="no NVIDIA GPU"):
            bare.demand_gpu()
