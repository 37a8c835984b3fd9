"""The operator's page in both languages: alerts, and what can be trusted; a client as any other."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

FOLDER = Path(__file__).parent / "templates"
HEADERS = {
    # Nothing from elsewhere, and nobody else's page around it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'; "
    "style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
}


def build_router() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/console")
    async def get_page() -> FileResponse:
        return FileResponse(FOLDER / "console.html", headers=HEADERS)

    @router.get("/console.js")
    async def get_script() -> FileResponse:
        return FileResponse(FOLDER / "console.js", media_type="text/javascript", headers=HEADERS)

    @router.get("/trust.js")
    async def get_trust_script() -> FileResponse:
        return FileResponse(FOLDER / "trust.js", media_type="text/javascript", headers=HEADERS)

    return router
