"""The doors for trust, before an engine of real parts: loops, feeds and forecasts in doubt."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import httpx
import numpy as np
import pytest
from doors import (
    FakeEngine,
    build_settings,
    check_problem,
    listening,
    opened,
    read_events,
    wait_for_strategy,
    wait_until,
)
from real_engine import BEGIN_S, build_real_engine, build_road

from api.app import create_app
from api.service import EngineState, Published, Service
from api.trust import describe_changes
from traffic.engine import Engine
from traffic.feed import FeedFault
from traffic.readings import LoopBatch, Quality
from traffic.trouble import FeedTrouble, HealthReport, LoopTrouble

SILENT_S = BEGIN_S + 1800  # one loop falls silent
PERCENT_S = BEGIN_S + 6600  # then the feed changes its unit, and that lasts
HOURS = 2.0


def lie(batch: LoopBatch) -> Sequence[LoopBatch]:
    if batch.end_s > SILENT_S:
        i = batch.detectors.index("m2.1")
        count, occupancy, speed = (
            np.array(getattr(batch, name)) for name in ("count_veh", "occupancy", "speed_mps")
        )
        count[i], occupancy[i], speed[i] = 0.0, 0.0, np.nan
        batch = replace(batch, count_veh=count, occupancy=occupancy, speed_mps=speed)
    if batch.end_s > PERCENT_S:
        batch = replace(batch, occupancy=100 * batch.occupancy)
    return [batch]


@contextmanager
def open_engine() -> Iterator[Engine]:
    yield build_real_engine(lie, HOURS)


@pytest.fixture(scope="module")
def told() -> Iterator[httpx.Client]:
    """A server whose engine has come to the end of its feed."""
    service = Service(open_engine, build_road(), (), float("inf"))
    app = create_app(service, build_settings())
    with listening(app) as url, httpx.Client(base_url=url, timeout=5) as client:
        wait_until(lambda: client.get("/v1/health").json()["engine"] == "ended", 30)
        yield client


def test_the_loop_in_doubt_is_listed_with_link_reason_and_time(told: httpx.Client) -> None:
    answer = told.get("/v1/detectors").json()
    assert answer["watched"] == len(build_road().detectors)
    (loop,) = answer["loops"]
    assert (loop["loop"], loop["link"], loop["lane"], loop["fault"]) == ("m2.1", "m2", 1, "no_hits")
    assert loop["text"] == {"en": "counts nothing where traffic passes", "zh": "有车通过却无计数"}
    # 07:30 in Shanghai, and some minutes until it is noticed.
    assert "2025-03-09T23:30:00Z" < loop["since"] < "2025-03-09T23:45:00Z"


def test_a_feed_in_doubt_is_told_in_both_languages(told: httpx.Client) -> None:
    (feed,) = told.get("/v1/detectors").json()["feed"]
    assert (feed["fault"], feed["now"]) == ("occupancy_units", True)
    assert feed["since"] == "2025-03-10T00:50:30Z"
    assert feed["last"] > feed["since"]
    assert feed["batches"] == 19
    assert "percent" in feed["text"]["en"]
    assert "百分数" in feed["text"]["zh"]
    reasons = told.get("/v1/health").json()["reasons"]
    assert reasons == ["the engine is ended"]


def test_forecasts_tell_interval_model_and_whether_they_are_trusted(told: httpx.Client) -> None:
    answer = told.get("/v1/forecasts").json()
    assert answer["interval_s"] == 300
    assert answer["learning_since"] == "2025-03-09T23:00:00Z"
    assert {one["loop"] for one in answer["loops"]} == {"m2.0", "m2.1", "m2.2"}
    (sound,) = (o for o in answer["loops"] if (o["loop"], o["quantity"]) == ("m2.0", "speed_mps"))
    assert [lead["lead_s"] for lead in sound["leads"]] == [300.0 * (k + 1) for k in range(12)]
    first, last = sound["leads"][0], sound["leads"][-1]
    assert first["low"] < first["expected"] < first["high"]
    assert first["expected"] == pytest.approx(20, abs=1.5)
    assert first["model"] == "mixture"
    # An hour ahead has never been held against what came: no interval, no trust, and why.
    assert (last["low"], last["median"], last["high"], last["trusted"]) == (None, None, None, False)
    assert "0 of 12" in last["why"]["en"]
    assert "0/12" in last["why"]["zh"]


def test_a_forecast_of_a_loop_in_doubt_is_not_trusted_and_says_so(told: httpx.Client) -> None:
    loops = told.get("/v1/forecasts", params={"loop": "m2.1"}).json()["loops"]
    assert [one["quantity"] for one in loops] == ["speed_mps", "flow_vph", "occupancy"]
    for one in loops:
        assert one["estimated"]
        assert not any(lead["trusted"] for lead in one["leads"])
        assert one["leads"][0]["why"]["zh"] == "线圈有车通过却无计数"
        assert one["leads"][0]["expected"] > 0


def test_bottlenecks_tell_their_inflow_and_chance(told: httpx.Client) -> None:
    (end,) = told.get("/v1/forecasts").json()["bottlenecks"]
    assert (end["id"], end["capacity_vph"]) == ("end", 5000)
    assert [lead["lead_s"] for lead in end["leads"]] == [300.0 * (k + 1) for k in range(6)]
    for lead in end["leads"]:
        # The feed has told nothing that can be used for ten minutes.
        assert not lead["trusted"]
        assert lead["why"]["en"].startswith("too little is known")


def test_forecasts_may_be_asked_for_by_place(told: httpx.Client) -> None:
    by_link = told.get("/v1/forecasts", params={"link": "m0"}).json()["loops"]
    assert {one["link"] for one in by_link} == {"m0"}
    assert len(by_link) == 3 * 3
    both = told.get("/v1/forecasts", params={"loop": "m1.0", "bottleneck": "end"}).json()["loops"]
    assert {one["loop"] for one in both} == {"m1.0", "m2.0", "m2.1", "m2.2"}
    wrong = told.get("/v1/forecasts", params={"loop": "x", "link": "y", "bottleneck": "end"})
    problem = check_problem(wrong, 404, "unknown-place")
    assert problem["detail"] == "no loop 'x'; no link 'y'"
    check_problem(told.get("/v1/forecasts", params={"loop": "x" * 101}), 422, "invalid-request")


def test_before_anything_is_known_that_is_said(shared: httpx.Client) -> None:
    answer = shared.get("/v1/forecasts").json()
    assert (answer["made"], answer["loops"], answer["trusted_share"]) == (None, [], 0.0)
    assert answer["standing"].keys() == {"en", "zh"}
    assert shared.get("/v1/detectors").json()["loops"] == []
    engine = FakeEngine()
    engine.go.clear()
    with opened(engine) as client:
        for path in ("detectors", "forecasts"):
            check_problem(client.get(f"/v1/{path}"), 503, "not-ready")
        engine.go.set()


def test_a_change_of_trust_is_an_event_and_its_going_on_is_none() -> None:
    network, settings = build_road(), build_settings()
    engine = build_real_engine(lambda batch: [batch], 0.1)
    snapshot = engine.step()
    assert snapshot is not None

    def publish(report: HealthReport) -> Published:
        return Published(EngineState.RUNNING, 0.0, replace(snapshot, health=report))

    def names(before: HealthReport, after: HealthReport) -> list[str]:
        found = list(describe_changes(network, settings, publish(before), publish(after)))
        assert all(json.dumps(data) for _, data in found)
        return [name for name, _ in found]

    loop = LoopTrouble("m1.1", "m1", 1, Quality.CHATTER, BEGIN_S)
    feed = FeedTrouble(FeedFault.GAP, BEGIN_S, BEGIN_S, 1, 900.0, {"en": "gap", "zh": "中断"}, True)
    none, one, both = HealthReport(9), HealthReport(9, (loop,)), HealthReport(9, (loop,), (feed,))
    assert names(none, none) == []
    assert names(none, one) == names(one, both) == names(both, none) == ["detectors"]
    longer = replace(both, feed=(replace(feed, last_s=BEGIN_S + 30, batches=2),))
    assert names(both, longer) == []


def test_what_is_wrong_with_the_feed_now_degrades_the_service() -> None:
    engine = FakeEngine()
    text = {"en": "the feed's clock is off by +60 min", "zh": "数据源时钟偏差 +60 分钟"}
    trouble = FeedTrouble(FeedFault.CLOCK_OFFSET, BEGIN_S, BEGIN_S, 3, 3600.0, text, is_now=True)
    with opened(engine) as client:
        wait_for_strategy(client)
        assert client.get("/v1/health").json()["health"] == "ok"
        with client.stream("GET", "/v1/events") as response:
            events = read_events(response)
            next(events)
            engine.health = HealthReport(9, (), (trouble,))
            told = next(e for e in events if e["event"] == "detectors")
        assert json.loads(told["data"])["feed"][0]["text"] == text
        health = client.get("/v1/health").json()
        assert (health["health"], health["reasons"]) == ("degraded", [text["en"]])
        engine.health = HealthReport(9, (), (replace(trouble, is_now=False),))
        wait_until(lambda: client.get("/v1/health").json()["health"] == "ok")


def test_the_panel_speaks_both_languages(shared: httpx.Client) -> None:
    page = shared.get("/console").text
    for word in ("线圈与数据源", "Loops and feed", "预报", "Forecast"):
        assert word in page
    script = shared.get("/trust.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "default-src 'none'" in script.headers["content-security-policy"]
    words = {
        language: set(re.findall(r'(?:^|[,{\s])"?([a-z]+)"?: "', block))
        for language, block in re.findall(r"  (zh|en): \{(.*?)\n  \},", script.text, re.DOTALL)
    }
    assert words["zh"] == words["en"]
    asked = set(re.findall(r'say\("([a-z]+)"', script.text))
    assert asked == words["zh"]
