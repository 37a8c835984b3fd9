"""The partner's door: advice as GeoJSON, its ETag and its expiry."""

import hashlib
import json
import time
from dataclasses import replace
from datetime import datetime

import httpx
import pytest
from doors import (
    ADVICE,
    BEGIN_S,
    GEOJSON,
    FakeEngine,
    build_network,
    opened,
    wait_for_strategy,
    wait_until,
)
from jsonschema import Draft7Validator
from pyproj import Geod

# Advisories


def test_advice_is_geojson_along_the_detour(shared: httpx.Client) -> None:
    response = shared.get("/v1/advisories")
    assert response.headers["content-type"] == "application/geo+json"
    assert "max-age=15" in response.headers["cache-control"]
    collection = response.json()
    assert collection["type"] == "FeatureCollection"
    (feature,) = collection["features"]
    assert (feature["type"], feature["id"]) == ("Feature", "hill-1")
    properties = feature["properties"]
    assert (properties["from"], properties["to"], properties["share"]) == ("a", "c", 0.25)
    assert properties["issued"] == "2025-03-09T22:30:00Z"
    assert datetime.fromisoformat(properties["expires"]).utcoffset() is not None
    assert properties["text"]["zh"] == "请绕行山路"
    line = feature["geometry"]["coordinates"]
    assert len(line) == 5  # 2 + 3 + 2 points, joints once
    # The projection keeps distance and direction from the origin: 3 km east of it ends the line.
    azimuth, _, distance_m = Geod(ellps="WGS84").inv(106.6, 29.6, *line[-1])
    assert distance_m == pytest.approx(3000, abs=0.2)
    assert azimuth == pytest.approx(90, abs=0.01)


@pytest.mark.skipif(not GEOJSON.is_file(), reason="needs the official schema beside the project")
@pytest.mark.parametrize("origin", [(106.6, 29.6), None])
def test_advice_is_valid_by_the_official_schema(origin: tuple[float, float] | None) -> None:
    validator = Draft7Validator(json.loads(GEOJSON.read_text(encoding="utf-8")))
    with opened(FakeEngine(), network=build_network(origin)) as client:
        wait_for_strategy(client)
        collection = client.get("/v1/advisories").json()
    assert collection["features"]
    assert [error.message for error in validator.iter_errors(collection)] == []
    collection["features"][0]["geometry"] = {"type": "LineString", "coordinates": [[106.6, 29.6]]}
    assert not validator.is_valid(collection)  # the schema does look


def test_a_partner_that_knows_the_advice_gets_304(shared: httpx.Client) -> None:
    first = shared.get("/v1/advisories")
    etag = first.headers["etag"]
    assert etag == f'"{hashlib.sha256(first.content).hexdigest()[:32]}"'
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = shared.get("/v1/advisories", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
        assert "max-age" in again.headers["cache-control"]
    for unknown in ('"other"', etag.strip('"'), "", '"' * 5000, '"\xe9"'):
        again = shared.get(
            "/v1/advisories", headers=[(b"If-None-Match", unknown.encode("latin-1"))]
        )
        assert again.status_code == 200


def test_the_etag_changes_with_the_advice_and_expired_advice_is_gone() -> None:
    engine = FakeEngine()
    with opened(engine) as client:
        wait_for_strategy(client)
        etag = client.get("/v1/advisories").headers["etag"]
        engine.advisories = (replace(ADVICE, share=0.5, usual_time_s=float("nan")),)
        wait_until(lambda: client.get("/v1/advisories").headers["etag"] != etag)
        (feature,) = client.get("/v1/advisories").json()["features"]
        assert (feature["properties"]["share"], feature["properties"]["usual_time_s"]) == (
            0.5,
            None,
        )
        engine.advisories = (replace(ADVICE, expires_s=BEGIN_S),)
        wait_until(lambda: client.get("/v1/advisories").json()["features"] == [])


def test_advice_expires_by_the_clock_while_a_step_hangs() -> None:
    engine = FakeEngine()
    with opened(engine, speed=20.0) as client:
        wait_for_strategy(client)
        engine.go.clear()
        time.sleep(0.1)
        now_s = engine._now_s
        engine.advisories = (replace(ADVICE, expires_s=now_s + 14.0),)
        engine.go.set()
        wait_until(
            lambda: (
                client.get("/v1/advisories").json()["features"][0]["properties"]["expires"]
                < "2025-03-10"
            )
        )
        response = client.get("/v1/advisories")
        assert response.headers["cache-control"] == "public, max-age=0"  # 14 s are 0.7 s at x 20
        engine.go.clear()
        wait_until(lambda: client.get("/v1/advisories").json()["features"] == [], 3)
        engine.go.set()


def test_advice_of_a_network_nowhere_on_earth_has_no_geometry() -> None:
    with opened(FakeEngine(), network=build_network(origin=None)) as client:
        wait_for_strategy(client)
        (feature,) = client.get("/v1/advisories").json()["features"]
        assert feature["geometry"] is None
