"""The token that every order needs."""

import hmac
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.problems import UnauthorizedError

bearer = HTTPBearer(auto_error=False, description="The token that orders need.")


def build_token_check(
    token: str,
) -> Callable[[HTTPAuthorizationCredentials | None], None]:
    """Return what a route depends on; it raises UnauthorizedError without the right token."""

    def require_token(
        given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> None:
        if given is None:
            raise UnauthorizedError("give the operator's token as `Authorization: Bearer ...`")
        if not hmac.compare_digest(given.credentials.encode(), token.encode()):
            raise UnauthorizedError("the token is not the operator's")

    return require_token
