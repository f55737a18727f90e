"""``/customers/{id}`` of the collector: erasing a customer, and giving out what is held of one.

Reading the tables takes seconds and memory, which must not hold up events: it is done by the commands, in processes of their
own, which get the id by standard input so that no list of processes shows it.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from feature_repo.errors import ShelfwiseError
from feature_repo.sections.intake import PrivacySettings
from feature_repo.settings import PROJECT_ROOT, get_settings
from feature_repo.web.basic_auth import CHALLENGE, key_shown
from ingestion.collector.requests import Refusal
from ingestion.commands.export_customer import NOTHING_HELD
from ingestion.privacy.record import ErasureRecord

log = logging.getLogger(__name__)
# Until a stream that has been asked has paused and erased, as a rule.
_ERASING_SECONDS = 60.0
_AT_ONCE = 1


class CustomerRoutes:
    """The handlers."""

    def __init__(self, privacy: PrivacySettings) -> None:
        self._privacy = privacy
        self._turn = asyncio.Semaphore(_AT_ONCE)

    def routes(self) -> list[Route]:
        """For the application."""
        path = "/customers/{customer:path}"
        return [Route(path, self.export, methods=["GET"]), Route(path, self.erase, methods=["DELETE"])]

    async def export(self, request: Request) -> Response:
        """``GET``: everything that is held of the customer, as ``python -m ingestion export-customer`` prints it."""
        customer = self._customer(request)
        code, out, said = await self._command("export-customer", "-", customer=customer)
        if code == NOTHING_HELD:
            raise Refusal(404, "not_found", "nothing is held of this id")
        if code:
            raise Refusal(503, "unavailable", said or "the tables could not be read; the collector's log says why")
        return Response(out, media_type="application/json")

    async def erase(self, request: Request) -> Response:
        """``DELETE``: write down that the customer is to be erased, erase what is online, and say when the rest follows."""
        customer = self._customer(request)
        try:
            asked = await asyncio.to_thread(_ask, customer)
        except ShelfwiseError as error:
            raise Refusal(503, "unavailable", f"{error}; nothing has been asked for") from error
        code, out, said = await self._command("erase", "-", "--online-only", customer=customer)
        pending: dict[str, Any] = {"offline": _rest(self._privacy.gather_seconds)}
        if code:
            pending["online"] = {"reason": said or "the collector's log says why"} | pending["offline"]
        done = {} if code else {"online": orjson.loads(out)}
        return _json({"customer_id": customer, "asked_at": asked, "done": done, "pending": pending}, 202)

    def _customer(self, request: Request) -> str:
        """The customer's id, once the sender has shown the key.

        Raises:
            Refusal: 401, 403, or 400 for an empty id.
        """
        key = self._privacy.key.get_secret_value()
        if not key:
            raise Refusal(403, "forbidden", "no key is set for customers' data; set SHELFWISE_PRIVACY__KEY")
        shown = key_shown(request.headers.get("authorization")) or ""
        if not hmac.compare_digest(shown.encode(), key.encode()):
            message = "send the key of SHELFWISE_PRIVACY__KEY as the user name of basic auth; the write key does not do"
            raise Refusal(401, "unauthorized", message, headers=CHALLENGE)
        customer: str = request.path_params["customer"].strip()
        if not customer:
            raise Refusal(400, "missing_field", "the address has no id: /customers/{id}")
        return customer

    async def _command(self, *words: str, customer: str) -> tuple[int, bytes, str]:
        """Exit code, output, and the last line of what else was said."""
        pipe = asyncio.subprocess.PIPE
        async with self._turn:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "ingestion", *words), cwd=PROJECT_ROOT, stdin=pipe, stdout=pipe, stderr=pipe
            )
            try:
                out, errors = await process.communicate(customer.encode())
            finally:
                if process.returncode is None:  # the collector is being stopped
                    process.kill()
        lines = errors.decode(errors="replace").strip().splitlines()
        last = lines[-1] if lines else ""
        told = last.removeprefix("error: ")
        if told == last and process.returncode:
            # Nobody expected it. The rest of the line may name the customer.
            log.error("%s ended with code %s: %s", words[0], process.returncode, last.partition(":")[0])
            told = ""
        return process.returncode or 0, out, told


def _ask(customer: str) -> datetime:
    with ErasureRecord() as record:
        return record.ask(customer).asked_at


def _rest(gather_seconds: float) -> dict[str, Any]:
    """When and by whom the rest is erased."""
    if (get_settings().home / "run" / "stream.ready").exists():
        until = datetime.now(UTC) + timedelta(seconds=gather_seconds + _ERASING_SECONDS)
        return {"until": until, "by": "the running stream"}
    return {"until": None, "by": "the stream when it starts, or `python -m ingestion erase --pending`, as every night"}


def _json(document: dict[str, Any], status: int) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")
