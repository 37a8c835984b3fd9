"""The operator's doors: state, alerts, orders, and what hostile hands send."""

import socket
from typing import Any

import httpx
import pytest
from doors import (
    AUTH,
    OTHER,
    PLAN,
    TOKEN,
    FakeEngine,
    build_service,
    build_settings,
    check_problem,
    listening,
    opened,
    wait_for_strategy,
    wait_until,
)

from api.app import create_app

# State, alerts, responses


def test_the_state_tells_utc_and_nulls_for_what_is_not_known(shared: httpx.Client) -> None:
    state = shared.get("/v1/state").json()
    assert state["time"].startswith("2025-03-09T22:3")
    assert state["time"].endswith("Z")
    assert state["health"]["engine"] == "running"
    first, second = state["links"]
    assert (first["id"], first["name"], first["speed_mps"]) == ("a", "road a", None)
    assert first["density_vpkm"] == 20.0
    assert (second["speed_mps"], second["density_vpkm"]) == (5.0, None)


def test_alerts_and_plans_are_listed_in_both_languages(shared: httpx.Client) -> None:
    (alert,) = shared.get("/v1/alerts").json()["alerts"]
    assert alert["level"] == "warning"
    assert alert["expected_onset"] == "2025-03-09T22:45:00Z"
    assert alert["text"] == {"en": "Breakdown expected", "zh": "预计拥堵"}
    plans = {p["id"]: p for p in shared.get("/v1/responses").json()["responses"]}
    assert plans[PLAN.id]["state"] == "standby"
    assert plans[PLAN.id]["steps"] == ["advice", "emergency_lane", "gating", "timing"]
    assert plans[PLAN.id]["title"]["zh"] == "联动"


def test_before_the_first_step_there_is_nothing_to_show_and_nothing_to_order() -> None:
    engine = FakeEngine()
    engine.go.clear()
    with opened(engine) as client:
        response = client.get("/v1/state")
        check_problem(response, 503, "not-ready")
        assert response.headers["retry-after"] == "1"
        assert client.get("/v1/health").json()["reasons"] == ["the engine is starting"]
        assert client.get("/v1/advisories").json()["features"] == []
        order = client.post(f"/v1/responses/{PLAN.id}/activate", headers=AUTH)
        check_problem(order, 409, "order-impossible")
        engine.go.set()


# Orders


def test_an_order_given_twice_reaches_the_engine_once() -> None:
    engine = FakeEngine()
    with opened(engine) as client:
        wait_for_strategy(client)
        url = f"/v1/responses/{PLAN.id}"

        def read_plan() -> dict[str, Any]:
            plans = client.get("/v1/responses").json()["responses"]
            return next(p for p in plans if p["id"] == PLAN.id)

        engine.go.clear()  # so that the first order is still pending when it is repeated
        body = {"who": "李伟", "why": "queue reaches the exit"}
        first = client.post(f"{url}/activate", headers=AUTH, json=body)
        again = client.post(f"{url}/activate", headers=AUTH, json={"who": "someone else"})
        assert (first.status_code, again.status_code) == (202, 200)
        assert first.json()["pending"]["kind"] == "activate"
        assert again.json()["pending"]["by"] == "李伟"
        engine.go.set()
        wait_until(lambda: read_plan()["state"] == "active")
        assert client.post(f"{url}/activate", headers=AUTH).status_code == 200
        assert (read_plan()["by"], read_plan()["pending"]) == ("李伟", None)

        assert client.post(f"{url}/stop", headers=AUTH).status_code == 202
        assert client.post(f"{url}/stop", headers=AUTH).status_code == 200
        wait_until(lambda: read_plan()["state"] == "recovering")
        assert client.post(f"{url}/stop", headers=AUTH).status_code == 200
        assert [(o.kind, o.by) for o in engine.heeded] == [
            ("activate", "李伟"),
            ("stop", "operator"),
        ]


def test_a_plan_that_stands_by_cannot_be_stopped(shared: httpx.Client) -> None:
    problem = check_problem(
        shared.post(f"/v1/responses/{PLAN.id}/stop", headers=AUTH), 409, "order-impossible"
    )
    assert PLAN.id in problem["detail"]


def test_an_unknown_plan_is_named_with_those_that_exist(shared: httpx.Client) -> None:
    problem = check_problem(
        shared.post("/v1/responses/moat:full/activate", headers=AUTH), 404, "unknown-plan"
    )
    assert "moat:full" in problem["detail"]
    assert PLAN.id in problem["detail"]
    assert problem["instance"] == "/v1/responses/moat%3Afull/activate"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer \xff\xfe",
        "Bearer " + "A" * 8000,
    ],
)
def test_an_order_without_the_token_is_refused(shared: httpx.Client, header: str | None) -> None:
    headers = [] if header is None else [(b"Authorization", header.encode("latin-1"))]
    response = shared.post(f"/v1/responses/{OTHER.id}/activate", headers=headers)
    check_problem(response, 401, "token-needed")
    assert response.headers["www-authenticate"].startswith("Bearer")
    plans = shared.get("/v1/responses").json()["responses"]
    assert {p["id"]: p["pending"] for p in plans}[OTHER.id] is None


# Hostile input


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[" * 10_000,
        b'"text"',
        b"[]",
        b'{"who": 1}',
        b'{"who": ""}',
        b'{"who": null}',
        b'{"who": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"who": "' + b"x" * 81 + b'"}',
        b'{"why": NaN}',
        b'{"more": 1}',
        b"\xff\xfe\x00",
    ],
)
def test_a_bad_body_is_a_problem_and_no_order(shared: httpx.Client, body: bytes) -> None:
    response = shared.post(
        f"/v1/responses/{OTHER.id}/activate",
        headers={**AUTH, "Content-Type": "application/json"},
        content=body,
    )
    assert response.status_code in (400, 422)
    check_problem(
        response, response.status_code, "invalid-request" if response.status_code == 422 else None
    )
    plans = shared.get("/v1/responses").json()["responses"]
    assert {p["id"]: p["pending"] for p in plans}[OTHER.id] is None


def test_every_fault_of_a_body_is_listed_at_once(shared: httpx.Client) -> None:
    body = {"who": "", "why": "y" * 501, "more": 1}
    response = shared.post(f"/v1/responses/{OTHER.id}/stop", headers=AUTH, json=body)
    problem = check_problem(response, 422, "invalid-request")
    pointers = {error["pointer"] for error in problem["errors"]}
    assert pointers == {"/body/who", "/body/why", "/body/more"}
    assert "y" * 100 not in response.text


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_large_body_is_refused(shared: httpx.Client, is_chunked: bool) -> None:
    body = b'{"why": "' + b"x" * 20_000 + b'"}'
    response = shared.post(
        f"/v1/responses/{OTHER.id}/activate",
        headers={**AUTH, "Content-Type": "application/json"},
        content=iter([body[:9000], body[9000:]]) if is_chunked else body,
    )
    check_problem(response, 413)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    with opened(FakeEngine(), build_settings(send_timeout_s=0.05)) as client:
        host, port = client.base_url.host, client.base_url.port
        with socket.create_connection((host, port or 80), timeout=5) as slow:
            head = f"POST /v1/responses/{OTHER.id}/stop HTTP/1.1\r\nHost: {host}\r\n"
            slow.sendall(f"{head}Content-Length: 10\r\n\r\n{{".encode())
            answer = b"".join(iter(lambda: slow.recv(4096), b"")).decode()
    assert answer.startswith("HTTP/1.1 408 ")
    assert "content-type: application/problem+json" in answer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/v1/state/", 404),
        ("GET", "/v1/%00%ff../../etc/passwd", 404),
        ("GET", "/v1/" + "x" * 5000, 404),
        ("DELETE", "/v1/state", 405),
        ("GET", f"/v1/responses/{PLAN.id}/activate", 405),
        ("PUT", "/v1/advisories", 405),
    ],
)
def test_an_unknown_path_or_method_is_a_problem(
    shared: httpx.Client, method: str, path: str, status: int
) -> None:
    response = shared.request(method, path)
    problem = check_problem(response, status)
    assert len(problem["instance"]) <= 700
    if status == 405:
        assert response.headers["allow"]


def test_a_fault_of_the_service_tells_nothing_of_its_inside() -> None:
    app = create_app(build_service(FakeEngine()), build_settings())

    @app.get("/broken")
    async def fail() -> None:
        raise ZeroDivisionError("secret detail")

    with listening(app) as url:
        response = httpx.get(f"{url}/broken")
    check_problem(response, 500)
    assert "secret" not in response.text
