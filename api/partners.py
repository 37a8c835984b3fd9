"""The partners' door: detour advice as GeoJSON for navigation services, cheap to ask for often."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request, Response
from pyproj import Transformer

from api.problems import describe_problems
from api.service import Service
from api.settings import Settings
from traffic.advisory import Advisory
from traffic.model import Network

MEDIA_TYPE = "application/geo+json"
DECIMALS = 6  # of a degree: 0.1 m; RFC 7946 section 11.2 asks for no more than is meant

Position = tuple[float, float]  # longitude, latitude


def build_lonlat(network: Network) -> Mapping[str, tuple[Position, ...]]:
    """Return each link's shape in WGS 84; empty where the network lies nowhere on Earth.

    Plane coordinates are azimuthal equidistant around the network's origin (Snyder 1987, *Map
    projections: a working manual*, chapter 25): true to scale from the origin outwards.
    """
    if network.origin is None:
        return {}
    lon, lat = network.origin
    plane = f"+proj=aeqd +lon_0={lon} +lat_0={lat} +datum=WGS84 +units=m"
    transformer = Transformer.from_crs(plane, "EPSG:4326", always_xy=True)
    shapes = {}
    for link in network.links.values():
        xs, ys = zip(*link.shape, strict=True)
        lons, lats = transformer.transform(xs, ys)
        shapes[link.id] = tuple(
            (round(x, DECIMALS), round(y, DECIMALS)) for x, y in zip(lons, lats, strict=True)
        )
    return shapes


def _build_geometry(
    links: Sequence[str], shapes: Mapping[str, tuple[Position, ...]]
) -> dict[str, Any] | None:
    """One line along the links; None, as RFC 7946 section 3.2 has it, when unlocated."""
    positions: list[Position] = []
    for link in dict.fromkeys(links):
        positions += [p for p in shapes.get(link, ()) if positions[-1:] != [p]]
    if len(positions) < 2:
        return None
    return {"type": "LineString", "coordinates": positions}


def build_feature(
    advisory: Advisory, shapes: Mapping[str, tuple[Position, ...]], settings: Settings
) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": advisory.id,
        "geometry": _build_geometry((advisory.from_link, *advisory.via, advisory.to_link), shapes),
        "properties": {
            "id": advisory.id,
            "bottleneck": advisory.bottleneck,
            "from": advisory.from_link,
            "to": advisory.to_link,
            "via": list(advisory.via),
            "avoid": list(advisory.avoid),
            "share": advisory.share,
            "usual_time_s": _number(advisory.usual_time_s),
            "detour_time_s": _number(advisory.detour_time_s),
            "penalty_s": _number(advisory.penalty_s),
            "issued": format_utc(settings, advisory.issued_s),
            "expires": format_utc(settings, advisory.expires_s),
            "text": dict(advisory.text),
        },
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def format_utc(settings: Settings, time_s: float) -> str:
    return settings.to_utc(time_s).isoformat().replace("+00:00", "Z")


def is_match(if_none_match: Sequence[str], etag: str) -> bool:
    """Weak comparison, as RFC 9110 section 13.1.2 has it for If-None-Match."""
    asked = [p.strip().removeprefix("W/") for value in if_none_match for p in value.split(",")]
    return "*" in asked or etag in asked


ADVISORIES_EXAMPLE = {
    "type": "FeatureCollection",
    "features": [
        {
            "type": "Feature",
            "id": "tunnel-hill-1",
            "geometry": {
                "type": "LineString",
                "coordinates": [[106.61, 29.58], [106.62, 29.59], [106.63, 29.58]],
            },
            "properties": {
                "id": "tunnel-hill-1",
                "bottleneck": "tunnel",
                "from": "east-road",
                "to": "west-road",
                "via": ["hill-up", "hill-down"],
                "avoid": ["tunnel"],
                "share": 0.25,
                "usual_time_s": 900.0,
                "detour_time_s": 780.0,
                "penalty_s": 0.0,
                "issued": "2025-03-09T23:10:00Z",
                "expires": "2025-03-09T23:15:00Z",
                "text": {"en": "Take the hill road", "zh": "请绕行山路"},
            },
        }
    ],
}

_TEXT = {"type": "object", "additionalProperties": {"type": "string"}}
_STRINGS = {"type": "array", "items": {"type": "string"}}
_PROPERTIES: dict[str, Any] = {
    "id": {"type": "string"},
    "bottleneck": {"type": "string"},
    "from": {"type": "string", "description": "Link where drivers leave their usual way."},
    "to": {"type": "string", "description": "Link where they are back on it, or their goal."},
    "via": _STRINGS,
    "avoid": _STRINGS,
    "share": {
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "description": "Of the drivers at `from` bound through the bottleneck; show to no more.",
    },
    "usual_time_s": {"type": ["number", "null"]},
    "detour_time_s": {"type": ["number", "null"]},
    "penalty_s": {"type": ["number", "null"]},
    "issued": {"type": "string", "format": "date-time"},
    "expires": {"type": "string", "format": "date-time"},
    "text": _TEXT,
}
_FEATURE = {
    "type": "object",
    "required": ["type", "id", "geometry", "properties"],
    "properties": {
        "type": {"const": "Feature"},
        "id": {"type": "string"},
        "geometry": {"type": ["object", "null"], "description": "A LineString along the detour."},
        "properties": {
            "type": "object",
            "properties": _PROPERTIES,
            "required": sorted(_PROPERTIES),
        },
    },
}
ADVISORIES_SCHEMA = {
    "type": "object",
    "required": ["type", "features"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {"type": "array", "items": _FEATURE},
    },
}


def build_router(service: Service, settings: Settings) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["partners"])
    shapes = build_lonlat(service.network)

    def find_max_age_s(advisories: Sequence[Advisory]) -> int:
        """No copy may outlive the first advice in it to expire."""
        now_s = service.estimate_now_s()
        if now_s is None or not advisories or not math.isfinite(service.speed):
            return settings.advisory_max_age_s
        left_s = (min(a.expires_s for a in advisories) - now_s) / service.speed
        return min(settings.advisory_max_age_s, max(0, int(left_s)))

    @router.get(
        "/advisories",
        summary="Detour advice that holds now",
        response_class=Response,
        responses={
            200: {
                "description": "A GeoJSON FeatureCollection (RFC 7946), WGS 84.",
                "content": {
                    MEDIA_TYPE: {"schema": ADVISORIES_SCHEMA, "example": ADVISORIES_EXAMPLE}
                },
                "headers": {
                    "ETag": {"schema": {"type": "string"}, "description": "Strong."},
                    "Cache-Control": {"schema": {"type": "string"}},
                },
            },
            304: {"description": "Nothing has changed since the given ETag."},
            **describe_problems(),
        },
    )
    async def get_advisories(request: Request) -> Response:
        """Ask again with If-None-Match; advice not in the answer holds no longer."""
        advisories = service.list_advisories()
        features = [build_feature(advisory, shapes, settings) for advisory in advisories]
        body = json.dumps(
            {"type": "FeatureCollection", "features": features},
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        headers = {
            "ETag": etag,
            "Cache-Control": f"public, max-age={find_max_age_s(advisories)}",
        }
        if is_match(request.headers.getlist("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=MEDIA_TYPE)

    return router
