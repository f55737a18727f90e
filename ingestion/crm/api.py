"""Asking an API for pages of records, by dlt's REST client: paging, retries with pauses, and errors that say what to do."""

from __future__ import annotations

import base64
import json
import os
import re
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from math import ceil
from typing import Any
from urllib.parse import urlsplit

from feature_repo.errors import InputError, UnavailableError
from feature_repo.settings import get_settings
from ingestion.crm.config import START_VALUE, PullConfig, Resource
from ingestion.stopping import StopRequest

# dlt reads these when it is imported. It must neither call home nor keep anything outside of our own folder.
os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "CRITICAL"
os.environ["DLT_DATA_DIR"] = os.environ["DLT_PROJECT_DIR"] = str(get_settings().home / "dlt")

from dlt.common import jsonpath
from dlt.sources.helpers.requests import Client
from dlt.sources.helpers.rest_client import RESTClient
from dlt.sources.rest_api.config_setup import create_paginator
from requests import HTTPError, PreparedRequest, RequestException, Response
from requests.auth import AuthBase, HTTPBasicAuth

_SHOWN = 200
_DECIMAL = re.compile(r"\s*\d+\.\d+\s*$")
_WORTH_TELLING_SECONDS = 5.0


class Api:
    """An API that knows us.

    Args:
        config: which one.
        stop: ends pauses between pages.
    """

    def __init__(self, config: PullConfig, stop: StopRequest) -> None:
        self._config, self._stop = config, stop
        self._secret = config.auth.secret()
        retry = config.retry
        client = Client(
            request_timeout=retry.timeout_seconds,
            raise_for_status=False,
            request_max_attempts=retry.attempts,
            request_backoff_factor=retry.backoff_seconds,
            request_max_retry_delay=retry.longest_pause_seconds,
        )
        session: Any = client.session
        session.send.retry.sleep = self._pause
        self._rest = RESTClient(
            config.base_url, headers=config.headers, auth=_Auth(config, self._secret), session=session
        )
        self._asked_at = float("-inf")

    def pages(self, resource: Resource, since: datetime) -> Iterator[list[Any]]:
        """The records that have changed ``since``, page by page.

        Raises:
            UnavailableError: the API does not give them, also not after having been asked again.
            InputError: it does, but not where the configuration says.
        """
        told = resource.incremental.told(since)
        address = f"{self._config.base_url.rstrip('/')}/{resource.path.lstrip('/')}"
        try:
            pages = self._rest.paginate(
                resource.path,
                method=resource.method,
                params=_with(resource.params, told),
                json=_with(resource.body, told) or None,
                paginator=_paginator(resource),
                data_selector=resource.data_selector,
                hooks={"response": [_check]},
                allow_redirects=False,
            )
            while (page := self._next(pages)) is not None:
                if not jsonpath.find_values(resource.data_selector, page.response.json()):
                    raise InputError(f"the answer of {address} has no {resource.data_selector} (data_selector)")
                yield list(page)
        except _Stopped:
            return
        except _Refused as error:
            raise self._explained(error.answer, address) from None
        except RequestException as error:
            reason = type(error).__name__
            raise UnavailableError(
                f"{address} cannot be read ({reason}); the next pull goes on where this one ended"
            ) from None
        except ValueError:
            # What dlt says of it quotes the answer, and with it customers.
            raise InputError(
                f"the answer of {address} does not fit the paginator {resource.paginator.get('type')}: it lacks what that needs"
            ) from None

    def _next(self, pages: Iterator[Any]) -> Any:
        """The next page, not sooner than the API may be asked for it; None if there is none, or a stop is asked for."""
        due = self._asked_at + 1 / self._config.requests_per_second
        if self._stop.wait(max(0.0, due - time.monotonic())):
            return None
        self._asked_at = time.monotonic()
        return next(pages, None)

    def _pause(self, seconds: float) -> None:
        """Between two attempts."""
        if seconds >= _WORTH_TELLING_SECONDS:
            print(
                f"{self._config.name}: the API throttles or fails; asking again in {seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )
        if self._stop.wait(seconds):
            raise _Stopped

    def _explained(self, answer: Response, address: str) -> UnavailableError:
        status = answer.status_code
        said = self._clean(" ".join(answer.text.split()))[:_SHOWN]
        variable = self._config.auth.secret_env
        if status in (401, 403):
            advice = f"see that {variable} holds a valid secret that may read this"
        elif 300 <= status < 400 or status == 404:
            advice = "see that base_url and path are right"
        elif status == 429:
            advice = "it throttles for longer than `retry` waits; the next pull goes on where this one ended"
        elif status >= 500:
            advice = "the next pull goes on where this one ended"
        else:
            advice = "see that the resource's params fit the API"
        return UnavailableError(f"{address} answers {status}: {advice}{f' (it says: {said})' if said else ''}")

    def _clean(self, text: str) -> str:
        """An API may repeat what it was sent, also as it was sent, or with JSON's other way to write a slash."""
        as_basic = base64.b64encode(f"{self._config.auth.user}:{self._secret}".encode()).decode()
        for secret in (self._secret, self._secret.replace("/", r"\/"), as_basic):
            text = text.replace(secret, "***")
        return text


class _Refused(HTTPError):
    """An answer that is no success; dlt's session looks at its status and asks again."""

    def __init__(self, answer: Response) -> None:
        super().__init__(response=answer)
        self.answer = answer


class _Stopped(Exception):
    """A stop was asked for during a pause."""


class _Auth(AuthBase):
    """Shows the secret to the API and to nobody else, wherever the link to the next page leads."""

    def __init__(self, config: PullConfig, secret: str) -> None:
        self._auth, self._secret, self._origin = config.auth, secret, _origin(config.base_url)

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        if _origin(request.url or "") != self._origin:
            raise InputError(
                f"the next page is said to be at {_origin(request.url or '')}, which is not the API at {self._origin}; "
                "the secret was not sent there"
            )
        if self._auth.type == "basic":
            return HTTPBasicAuth(self._auth.user, self._secret)(request)
        if self._auth.type == "header":
            request.headers[self._auth.header] = self._secret
        else:
            request.headers["Authorization"] = f"Bearer {self._secret}"
        return request


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    return f"{parts.scheme}://{parts.hostname}:{port}"


def _check(response: Response, *_: Any, **__: Any) -> None:
    """Whatever is no success is an error, which the session may retry; redirects could lead the secret astray."""
    if not 200 <= response.status_code < 300:
        if _DECIMAL.match(wait := response.headers.get("Retry-After", "")):
            # As Shopify says it; dlt understands whole seconds and dates.
            response.headers["Retry-After"] = str(ceil(float(wait)))
        raise _Refused(response)


def _paginator(resource: Resource) -> Any:
    """A new one: it remembers where it is."""
    try:
        return create_paginator(resource.paginator)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise InputError(f"the paginator cannot be used: {error}") from error


def _with(value: Any, told: str) -> Any:
    """The parameters with the time to ask from in its place."""
    return json.loads(json.dumps(value, default=str).replace(START_VALUE, told))
