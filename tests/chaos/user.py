"""Whoever works with a cluster: asks again while its API server is away, or has just started."""

from __future__ import annotations

import http.client
from http import HTTPStatus
from typing import Any

from controlplane.rest import JSON
from tests.e2e.client import Api, ApiError
from tests.e2e.world import eventually

_SECONDS = 120.0
_AWAY = {HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}


class User(Api):
    """A client that does not mind when an answer comes."""

    def _ask(self, method: str, path: str, body: Any = None, content_type: str = JSON) -> Any:
        unanswered: list[Exception] = []

        def asked() -> tuple[Any] | None:
            try:
                return (Api._ask(self, method, path, body, content_type),)
            except ApiError as error:
                if method == "POST" and error.code == HTTPStatus.CONFLICT and unanswered:
                    return (Api._ask(self, "GET", f"{path}/{body['metadata']['name']}"),)
                if error.code not in _AWAY:
                    raise
                unanswered.append(error)
            except (http.client.HTTPException, OSError) as error:
                unanswered.append(error)
            return None

        return eventually(asked, f"{method} {path}", _SECONDS, why=lambda: unanswered[-1:])[0]
