"""What can be chosen, the search over a made-up server, the rule that takes a gain, and the settings file."""

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from benchmarks import tune
from benchmarks.load import Load
from benchmarks.tuning.choice import Choice, Ladders, seconds_of, settings_file
from benchmarks.tuning.search import LEAST_GAIN, PROOF_ROUNDS, Duel, Point, Search, UnfitError, point_of
from services.core.errors import SettingsError
from services.core.settings import BuilderSettings
from services.core.settings.reference import keys
from services.local import dotenv

PUBLISHED = Choice(instance_count=1, image_instances=2, cpu_threads=0, decode_workers=0, preferred_batch=(), max_queue_delay_us=0)
LADDERS = Ladders(processors=8, gpu=0, files=True, max_batch=32, bound=0.02)
MODEL = """name: "m" max_batch_size: 32 instance_group { count: 1 kind: KIND_CPU } dynamic_batching {}
parameters { key: "card" value { string_value: "c" } }"""
IMAGE = 'name: "m_image" instance_group { count: 2 } parameters { key: "decode_workers" value { string_value: "0" } }'


def parsed(text):
    return text_format.Parse(text, pb.ModelConfig())


@pytest.mark.parametrize(("text", "seconds"), [("20ms", 0.02), ("0.02s", 0.02), (" 1.5 s ", 1.5), ("500us", 0.0005), (".5s", 0.5)])
def test_a_time_has_a_unit(text, seconds):
    assert seconds_of(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "20", "ms", "-3ms", "0ms", "20 minutes", "1e3ms", "20ms 3"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(SettingsError, match="expected a time"):
        seconds_of(text)


class TestChoice:
    def test_it_is_read_from_what_is_published(self):
        assert Choice.of(parsed(MODEL), parsed(IMAGE)) == PUBLISHED

    def test_it_is_read_back_from_what_it_writes(self):
        wanted = Choice(3, 4, 2, 5, (4, 8), 500)
        model, image = wanted.model(parsed(MODEL), "trial"), wanted.image(parsed(IMAGE), "trial_image", "trial")
        assert Choice.of(parsed(model), parsed(image)) == wanted
        assert parsed(model).name == parsed(image).parameters["model"].string_value == "trial"
        assert parsed(model).parameters["card"].string_value == "c"
        assert Choice.of(parsed(PUBLISHED.model(parsed(model), "m")), parsed(IMAGE)) == PUBLISHED

    def test_its_settings_are_settings_and_are_read_as_such(self):
        wanted = Choice(3, 4, 2, 5, (4, 8), 500)
        assert wanted.settings().keys() <= keys()
        settings = BuilderSettings.from_env(wanted.settings())
        assert {name: getattr(settings, name) for name in PUBLISHED.__dict__} == wanted.__dict__

    def test_a_change_is_told_in_the_words_of_the_settings(self):
        assert PUBLISHED.with_("preferred_batch", (4, 8)).against(PUBLISHED) == "PREFERRED_BATCH empty -> 4,8"
        assert PUBLISHED.against(PUBLISHED) == "nothing"

    def test_the_file_is_read_as_env_is(self, tmp_path):
        wanted = replace(PUBLISHED, instance_count=2, preferred_batch=(8, 16))
        (tmp_path / "tuned.env").write_text(settings_file(wanted, ["Found.", "", "x = $y"]))
        assert dotenv.read(tmp_path / "tuned.env", {}) == wanted.settings()
        assert all(len(line) <= 120 for line in (tmp_path / "tuned.env").read_text().splitlines())


class TestLadders:
    @pytest.mark.parametrize("processors", [1, 2, 6, 16])
    @pytest.mark.parametrize("gpu", [0, 2])
    def test_every_value_is_a_setting_and_the_present_one_is_among_them(self, processors, gpu):
        ladders = replace(LADDERS, processors=processors, gpu=gpu)
        for choice in (PUBLISHED, Choice(3, 5, 3, 7, (4,), 333)):
            for name in ladders.names():
                values = ladders.values(name, choice)
                assert values.count(getattr(choice, name)) == 1
                for value in values:
                    BuilderSettings.from_env(choice.with_(name, value).settings())

    def test_threads_go_up_by_what_they_are_and_zero_is_the_share(self):
        assert LADDERS.values("cpu_threads", PUBLISHED) == [1, 2, 4, 0]
        assert LADDERS.values("cpu_threads", replace(PUBLISHED, instance_count=4)) == [1, 0, 4, 8]

    def test_a_delay_is_a_small_part_of_the_latency(self):
        assert LADDERS.values("max_queue_delay_us", PUBLISHED) == [0, 100, 500, 1000, 2000, 5000]
        assert replace(LADDERS, bound=0.001).values("max_queue_delay_us", PUBLISHED) == [0, 100]

    def test_a_preferred_batch_is_one_that_the_model_takes_and_is_not_taken_back(self):
        assert replace(LADDERS, max_batch=8).values("preferred_batch", PUBLISHED) == [(), (4, 8)]
        assert () not in LADDERS.values("preferred_batch", replace(PUBLISHED, preferred_batch=(4, 8)))

    def test_the_defaults_are_what_the_policies_choose(self):
        odd = Choice(3, 1, 3, 7, (), 5000)
        assert LADDERS.defaults(odd) == PUBLISHED
        assert replace(LADDERS, processors=16).defaults(odd) == Choice(2, 4, 0, 0, (), 0)
        assert replace(LADDERS, processors=16, gpu=2).defaults(odd) == Choice(2, 8, 3, 0, (), 0)
        assert replace(LADDERS, only=("max_queue_delay_us",)).defaults(odd) == replace(odd, max_queue_delay_us=0)
        assert LADDERS.defaults(replace(odd, preferred_batch=(4, 8))).preferred_batch == (4, 8)

    def test_what_does_not_matter_is_left_alone(self):
        assert replace(LADDERS, only=("cpu_threads", "decode_workers"), files=False).names() == ["cpu_threads"]
        assert "cpu_threads" not in replace(LADDERS, gpu=1).names()
        assert not {"image_instances", "decode_workers"} & set(replace(LADDERS, files=False).names())


class Machine:
    """A server that is made up: pictures a second grow with clients to the capacity of a choice; its noise is seeded."""

    def __init__(self, capacity, noise=0.0, overhead=0.004):
        self.capacity, self.noise, self.overhead = capacity, noise, overhead
        self.random = np.random.default_rng(5)
        self.measured, self.said = [], []

    def measure(self, choice, clients):
        self.measured.append((choice, clients))
        capacity = self.capacity(choice) * self.random.normal(1, self.noise)
        latency = max(clients / capacity, self.overhead + 1 / capacity)
        return Load(np.full(100, latency), 100 * latency / clients, 0)

    def search(self, *, left=lambda: 1.0, most=64, **changes):
        return Search(self.measure, replace(LADDERS, **changes), most, left, self.said.append)


def flat(_choice):
    return 1000


def hilly(choice):
    """Best with 4 instances and a delay of 500 µs."""
    return 400 * {1: 1, 2: 1.3, 4: 1.6, 8: 1.2}[choice.instance_count] * {0: 1, 100: 1.1, 500: 1.25}.get(choice.max_queue_delay_us, 0.9)


class TestClients:
    def test_the_most_within_the_latency(self):
        found = Machine(flat, overhead=0).search(bound=0.0205).settle(PUBLISHED)
        assert found.within(0.0205)
        assert found.rate == pytest.approx(1000)
        assert found.clients == 1

    def test_more_clients_while_they_give_more(self):
        machine = Machine(flat, overhead=0.019)
        found = machine.search(bound=0.05).settle(PUBLISHED)
        assert 18 <= found.clients <= 32
        assert found.rate > 900

    def test_in_between_where_twice_as_many_are_too_many(self):
        found = Machine(flat, overhead=0.019).search(bound=0.0255).settle(PUBLISHED)
        assert found.within(0.0255)
        assert found.rate > 900

    def test_never_more_than_allowed(self):
        machine = Machine(flat, overhead=0.5)
        machine.search(bound=5, most=12).settle(PUBLISHED)
        assert max(clients for _, clients in machine.measured) == 12

    def test_it_comes_down_from_a_start_that_is_too_many(self):
        found = Machine(flat).search().settle(PUBLISHED, start=64)
        assert found.within(0.02)
        assert 4 <= found.clients <= 20

    def test_one_client_where_none_is_within(self):
        found = Machine(flat, overhead=0.5).search().settle(PUBLISHED)
        assert (found.clients, found.within(0.02)) == (1, False)


class TestSearch:
    @pytest.mark.parametrize("noise", [0, 0.03])
    def test_it_climbs_the_hill(self, noise):
        machine = Machine(hilly, noise)
        best = machine.search().run(PUBLISHED).choice
        assert (best.instance_count, best.max_queue_delay_us) == (4, 500)
        assert hilly(best) == pytest.approx(800)

    def test_it_begins_with_the_defaults(self):
        odd = replace(PUBLISHED, instance_count=8, max_queue_delay_us=5000, cpu_threads=1)
        machine = Machine(hilly)
        assert hilly(machine.search().run(odd).choice) == pytest.approx(800)
        assert "INSTANCE_COUNT 8 -> 1" in machine.said[1]
        assert "MAX_QUEUE_DELAY_US 5000 -> 0" in machine.said[1]

    def test_it_stays_where_nothing_is_better(self):
        machine = Machine(flat)
        search = machine.search()
        assert search.run(PUBLISHED).choice == PUBLISHED
        assert search.finished
        assert len(machine.said) == len(search.tried) > 6

    def test_noise_alone_is_hardly_ever_proven_to_be_a_gain(self):
        machine = Machine(flat, 0.2)
        search = machine.search(bound=1)
        points = [Point(choice, 4, 1000, 0.01) for choice in (PUBLISHED, replace(PUBLISHED, instance_count=2))]
        assert sum(search.duel(*points, PROOF_ROUNDS).won(1) for _ in range(300)) < 300 * 0.03

    def test_it_ends_when_the_time_is_over(self):
        left = iter([1.0, 1.0])
        machine = Machine(flat)
        search = machine.search(left=lambda: next(left, 0.0))
        search.run(PUBLISHED)
        assert not search.finished
        assert len(search.tried) == 3

    def test_a_choice_that_the_server_refuses_is_passed_over(self):
        machine = Machine(hilly)

        def measure(choice, clients):
            if choice.instance_count == 2:
                raise UnfitError("no memory")
            return machine.measure(choice, clients)

        best = Search(measure, LADDERS, 64, lambda: 1.0, machine.said.append).run(PUBLISHED)
        assert best.choice.instance_count == 1
        assert "INSTANCE_COUNT 1 -> 2: the server does not take it: no memory" in machine.said

    def test_a_gain_of_pictures_that_leaves_the_latency_is_none(self):
        def measure(choice, _clients):
            slow = choice.max_queue_delay_us > 0
            return Load(np.full(100, 0.05 if slow else 0.01), 0.5 if slow else 1.0, 0)

        best = Search(measure, LADDERS, 64, lambda: 1.0, lambda _: None).run(PUBLISHED)
        assert best.choice == PUBLISHED

    def test_out_of_reach_the_shortest_latency_is_looked_for(self):
        machine = Machine(hilly)
        best = machine.search(bound=0.0001).run(PUBLISHED)
        assert best.clients == 1
        assert not best.within(0.0001)
        assert best.choice.instance_count == 4


class TestDuel:
    POINT = Point(PUBLISHED, 4, 100, 0.01)

    def duel(self, *ratios, before=0.01, after=0.01, by_latency=False):
        return Duel(replace(self.POINT, p99=before), replace(self.POINT, p99=after), ratios, by_latency)

    @pytest.mark.parametrize(
        ("ratios", "won"),
        [
            ((1.2, 1.21, 1.19, 1.2), True),
            ((1.2, 1.5, 0.9, 1.2), False),
            ((1.001, 1.001, 1.001, 1.001), False),
            ((0.8, 0.8, 0.8, 0.8), False),
            ((1.2, 1.21, 1.19, 1.2, 1.2, 0.5), True),
        ],
    )
    def test_it_is_won_by_more_than_the_spread(self, ratios, won):
        assert self.duel(*ratios).won(0.02) == won

    def test_the_gain_and_its_spread(self):
        assert self.duel(1.1, 1.2, 1.3).gain == pytest.approx(0.2)
        assert self.duel(1.1, 1.2, 1.3).spread == pytest.approx(0.1)
        assert LEAST_GAIN < 0.05

    def test_it_is_not_won_beyond_the_bound(self):
        assert not self.duel(1.5, 1.5, after=0.03).won(0.02)
        assert self.duel(1.5, 1.5, before=0.03, after=0.01).won(0.02)
        assert not self.duel(1.5, 1.5, before=0.04, after=0.03).won(0.02)
        assert self.duel(1.5, 1.5, before=0.04, after=0.03, by_latency=True).won(0.02)
        assert not self.duel(1.5, 1.5, before=0.01, after=0.03, by_latency=True).won(0.02)

    def test_what_is_beyond_the_bound_gets_fewer_clients(self):
        found = Machine(flat).search(bound=0.01).duel(replace(self.POINT, clients=12), replace(self.POINT, clients=8), 4)
        assert (found.before.clients, found.after.clients) == (9, 8)
        assert found.before.within(0.01)
        assert not found.by_latency

    def test_what_is_in_force_gets_its_best_number_of_clients(self):
        """The made-up server does the same for both; the search was lucky with twelve clients."""
        duel = (
            Machine(flat, 0.02, overhead=0.02).search(bound=0.05).prove(PUBLISHED, Point(replace(PUBLISHED, cpu_threads=1), 12, 999, 0.01))
        )
        assert duel.before.clients >= 12
        assert not duel.won(0.05)

    def test_latencies_are_compared_where_one_client_is_too_many(self):
        slow = Machine(lambda choice: 100 if choice.instance_count == 2 else 50, overhead=0)
        duel = slow.search(bound=0.001).duel(replace(self.POINT, clients=1), Point(replace(PUBLISHED, instance_count=2), 1, 1, 1), 4)
        assert duel.by_latency
        assert duel.gain == pytest.approx(1)

    def test_both_are_measured_alternately(self):
        machine = Machine(flat)
        other = Point(replace(PUBLISHED, instance_count=2), 4, 100, 0.01)
        machine.search(bound=1).duel(self.POINT, other, 5)
        assert [choice.instance_count for choice, _ in machine.measured] == [1, 2, 2, 1, 1, 2, 2, 1, 1, 2]

    @pytest.mark.parametrize(("capacity", "rounds"), [(1000, 2), (900, 2), (1500, 4)])
    def test_a_search_gives_up_early_what_does_not_begin_well(self, capacity, rounds):
        machine = Machine(lambda choice: capacity if choice.instance_count == 2 else 1000, overhead=0)
        duel = machine.search(bound=1).duel(self.POINT, Point(replace(PUBLISHED, instance_count=2), 4, 100, 0.01), 4)
        assert len(duel.ratios) == rounds

    def test_a_point_is_the_median_rate_and_the_latency_of_all(self):
        loads = [Load(np.full(99, 0.01), 1, 0), Load(np.full(50, 0.01), 1, 0), Load(np.append(np.full(98, 0.01), [1, 1]), 1, 0)]
        point = point_of(PUBLISHED, 3, loads)
        assert point.rate == 99
        assert all(low <= high for low, high in pairwise((0.01, point.p99, 1)))


def result(*ratios, p99=0.01):
    before, after = Point(PUBLISHED, 1, 100, p99), Point(replace(PUBLISHED, instance_count=2), 4, 120, p99)
    published: Any = None
    target = tune.Target(published, parsed(IMAGE), True, "grpc", "127.0.0.1:1")
    proof = Duel(before, after, ratios, by_latency=False) if ratios else None
    return tune.Result(target, 0.02, PUBLISHED, after if ratios else before, proof, {PUBLISHED: "published"})


def test_a_result_tells_of_a_gain_and_of_none():
    gained = result(1.2, 1.21)
    assert gained.gained == replace(PUBLISHED, instance_count=2)
    assert "ratio   1.21 ±0.01" in gained.text() or "ratio   1.20 ±0.01" in gained.text()
    assert "No gain" not in gained.text()
    assert json.loads(json.dumps(gained.report()))["better"] is True
    for none in (result(), result(1.2, 0.8)):
        assert none.gained is None
        assert "No gain: the settings in force are the best that was found." in none.text()


def test_a_latency_that_cannot_be_had_is_told():
    assert "keeps within 20 ms, not even with one client" in result(p99=0.03).text()
    assert "not even" not in result().text()


def builder(tmp_path, plan):
    program = tmp_path / "builder"
    program.write_text(f"#!/bin/sh\necho noise\necho '{json.dumps(plan)}'\n")
    program.chmod(0o755)
    return tune.Builder((str(program),), {})


def test_it_demands_that_nothing_would_be_compiled(tmp_path):
    plan = {"model": "m", "live": 2, "engine": "live", "up_to_date": True}
    assert builder(tmp_path, plan).demand_live_engine() == "m"
    for engine in ("other", "none"):
        with pytest.raises(SettingsError, match="another engine of m than version 2, which is served"):
            builder(tmp_path, {**plan, "engine": engine}).demand_live_engine()


@pytest.mark.parametrize("words", [["--clients", "0"], ["--minutes", "0"], ["--what", "film"], ["--p9", "1ms"], ["--only", "PRECISION"]])
def test_a_wrong_word_shows_the_usage(words, capsys):
    with pytest.raises(SystemExit) as end:
        tune.parse_arguments(words)
    assert end.value.code == 2
    assert "usage: scripts/tune" in capsys.readouterr().err


def test_pictures_are_taken_from_a_folder(tmp_path):
    with pytest.raises(SettingsError, match="there is no picture in it"):
        tune._pictures(tmp_path)
    (tmp_path / "a.jpg").write_bytes(b"a")
    assert tune._pictures(tmp_path) == [b"a"]
