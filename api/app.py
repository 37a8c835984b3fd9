"""Wires the doors together: routes, problems, limits, the life of the engine's thread."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import uvicorn
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import alerts, console, operator, partners, trust
from api.problems import add_problem_schema, add_problems
from api.service import Published, Service
from api.settings import Settings, generate_token

DESCRIPTION = """
Signal control and congestion response: what the engine believes and advises, and the operator's
orders to it. Moments are UTC (RFC 3339), errors are problem documents (RFC 9457).
"""
TAGS = [
    {"name": "operator", "description": "State, alerts, orders (with a token), events, health."},
    {"name": "partners", "description": "Detour advice for navigation services."},
]


class Guard:
    """Bounds what a request may send and how long, and sets headers that every answer carries."""

    def __init__(self, app: ASGIApp, max_body_bytes: int, body_timeout_s: float) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._body_timeout_s = body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received, is_whole = 0, False

        async def receive_bounded() -> Message:
            nonlocal received, is_whole
            try:
                async with asyncio.timeout(None if is_whole else self._body_timeout_s):
                    message = await receive()
            except TimeoutError:
                detail = f"the body was not there within {self._body_timeout_s:g} s"
                raise HTTPException(408, detail, {"Connection": "close"}) from None
            is_whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(413, f"the body may have {self._max_body_bytes} bytes")
            return message

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Content-Type-Options"] = "nosniff"
            await send(message)

        await self._app(scope, receive_bounded, send_guarded)


def create_app(service: Service, settings: Settings | None = None) -> FastAPI:
    """Return the app of one service; the engine's thread lives as long as the app does.

    Without a token in the settings one is generated and printed at start.
    """
    settings = settings or Settings()
    token = settings.token.get_secret_value() if settings.token else generate_token()
    events = operator.EventLog(settings)

    @asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        loop = asyncio.get_running_loop()

        def listen(before: Published, after: Published) -> None:
            changes = operator.describe_changes(service, settings, before, after)
            for name, data in changes:
                loop.call_soon_threadsafe(events.add, name, data)

        if settings.token is None:
            print(f"token for orders: {token}", flush=True)
        service.start(listen)
        yield
        await asyncio.to_thread(service.stop)

    app = FastAPI(
        title="Traffic response",
        version="1",
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        lifespan=live,
    )
    app.add_middleware(
        Guard,
        max_body_bytes=settings.max_body_bytes,
        body_timeout_s=settings.send_timeout_s,
    )
    app.include_router(operator.build_router(service, settings, events, token))
    app.include_router(alerts.build_router(service, settings, token))
    app.include_router(trust.build_router(service, settings))
    app.include_router(console.build_router())
    app.include_router(partners.build_router(service, settings))
    add_problems(app)
    describe = app.openapi

    def describe_all() -> dict[str, Any]:
        return add_problem_schema(describe())

    app.openapi = describe_all  # type: ignore[method-assign]
    return app


def _end(*_: object) -> NoReturn:
    raise SystemExit(0)


def serve(app: FastAPI, settings: Settings) -> None:
    """Serve until interrupted, or told to end by SIGTERM, which then raises SystemExit.

    Raises OSError naming the address when it cannot be had.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.create_server((settings.host, settings.port), family=family) as listener:
        name = f"[{settings.host}]" if ":" in settings.host else settings.host
        print(f"listening on http://{name}:{listener.getsockname()[1]}", flush=True)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=3)
        # The server raises the signal that ended it once more: let callers clean up.
        before = signal.signal(signal.SIGTERM, _end)
        try:
            uvicorn.Server(config).run([listener])
        finally:
            signal.signal(signal.SIGTERM, before)
