"""The alerts' door: what is open, and what the operator does with it."""

import logging

from fastapi import APIRouter, Depends, Response

from api import schemas
from api.problems import describe_problems
from api.schemas import AlertOut, AlertsOut, OrderIn, SnoozeIn
from api.service import Service
from api.settings import Settings
from api.tokens import build_token_check

log = logging.getLogger(__name__)


def build_router(service: Service, settings: Settings, token: str) -> APIRouter:
    router = APIRouter(prefix="/v1/alerts", tags=["operator"])
    to_utc = settings.to_utc
    guarded = [Depends(build_token_check(token))]
    answers = {
        202: {"model": AlertOut, "description": "Queued; heeded with the next batch of readings."},
        **describe_problems(401, 404, 409, 413, 422),
    }

    def give_order(
        kind: str, alert_id: str, order: OrderIn | SnoozeIn, response: Response
    ) -> AlertOut:
        for_s = order.for_s if isinstance(order, SnoozeIn) else None
        view = service.order_alert(kind, alert_id, order.who, for_s)
        response.status_code = 202
        log.info("%s %s, ordered by %r because %r", kind, alert_id, order.who, order.why)
        return schemas.build_alert(view.alert, to_utc, view.pending)

    @router.get("", summary="Open alerts", responses=describe_problems(503))
    async def get_alerts() -> AlertsOut:
        snapshot = service.get_snapshot()
        strategy = snapshot.strategy
        alerts = strategy.alerts if strategy else ()
        refused = strategy.alert_refusals if strategy else ()
        return AlertsOut(
            time=to_utc(snapshot.time_s),
            alerts=[
                schemas.build_alert(a, to_utc, service.list_pending(a.id))
                for a in alerts
                if a.cleared_s is None
            ],
            refused=[schemas.build_alert_refusal(one) for one in refused],
        )

    @router.post(
        "/{alert_id}/acknowledge",
        summary="Say that an alert has been seen",
        status_code=202,
        dependencies=guarded,
        responses=answers,
    )
    async def acknowledge(
        alert_id: str, response: Response, order: OrderIn | None = None
    ) -> AlertOut:
        return give_order("acknowledge", alert_id, order or OrderIn(), response)

    @router.post(
        "/{alert_id}/snooze",
        summary="Let an alert sleep for a while; it wakes when it gets worse",
        status_code=202,
        dependencies=guarded,
        responses=answers,
    )
    async def snooze(alert_id: str, response: Response, order: SnoozeIn | None = None) -> AlertOut:
        return give_order("snooze", alert_id, order or SnoozeIn(), response)

    @router.post(
        "/{alert_id}/escalate",
        summary="Take an alert for one step worse",
        status_code=202,
        dependencies=guarded,
        responses=answers,
    )
    async def escalate(alert_id: str, response: Response, order: OrderIn | None = None) -> AlertOut:
        return give_order("escalate", alert_id, order or OrderIn(), response)

    @router.post(
        "/{alert_id}/clear",
        summary="Clear an alert; it comes back only when it gets worse, or is over and comes anew",
        status_code=202,
        dependencies=guarded,
        responses=answers,
    )
    async def clear(alert_id: str, response: Response, order: OrderIn | None = None) -> AlertOut:
        return give_order("clear", alert_id, order or OrderIn(), response)

    return router
