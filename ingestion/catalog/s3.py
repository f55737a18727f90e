"""Catalogues in buckets: Amazon's S3, or any server that speaks its protocol.

Files are listed and fetched by Arrow, Delta tables are read by delta-rs. Both get the same endpoint and keys: what the settings
say, else what the usual variables of AWS say; without either, each looks for a profile or role of AWS by itself.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.errors import InputError, ShelfwiseError, UnavailableError
from feature_repo.sections.servers import S3Settings
from feature_repo.settings import get_settings
from ingestion import delta_log
from ingestion.catalog.places import LOG, S3_PREFIX, StoredFile

if TYPE_CHECKING:
    from deltalake import DeltaTable
    from pyarrow.fs import FileInfo, S3FileSystem

_ATTEMPTS = 2
_AMAZON = "Amazon S3"
# What libraries call it when a key is unknown, a signature is wrong or a right is missing. A HEAD is answered without a reason.
_REFUSED = (
    "ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "InvalidAccessKeyId", "SignatureDoesNotMatch",
    "AccessDenied", "HTTP status 403", "403 Forbidden", "EXPIRED_TOKEN", "ExpiredToken", "INVALID_CLIENT_TOKEN_ID",
    "InvalidClientTokenId", "INVALID_TOKEN", "InvalidToken",
)  # fmt: skip
_NO_BUCKET = ("NO_SUCH_BUCKET", "NoSuchBucket")
_NOT_REACHED = (
    "NETWORK_CONNECTION", "curlCode", "Couldn't connect", "error sending request", "timed out", "dns error",
    "Could not resolve", "REQUEST_TIMEOUT",
)  # fmt: skip


@dataclass(frozen=True)
class Access:
    """Where the buckets are and with which keys; empty: not given."""

    endpoint: str
    region: str
    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(repr=False)

    @classmethod
    def given(cls, settings: S3Settings) -> Access:
        """What the settings say, else what the variables of AWS say.

        Raises:
            InputError: half a pair of keys, or an endpoint that is no address.
        """
        keys = (settings.access_key.get_secret_value(), settings.secret_key.get_secret_value())
        token = settings.session_token.get_secret_value()
        if not any(keys):
            keys = (_variable("AWS_ACCESS_KEY_ID"), _variable("AWS_SECRET_ACCESS_KEY"))
            token = token or _variable("AWS_SESSION_TOKEN")
        if any(keys) and not all(keys):
            raise InputError(
                "one of the two S3 keys is missing: set both SHELFWISE_S3__ACCESS_KEY and SHELFWISE_S3__SECRET_KEY, or both "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        endpoint = settings.endpoint or _variable("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
        if endpoint and not endpoint.startswith(("http://", "https://")):
            raise InputError(f"the S3 endpoint {endpoint!r} is no address; it begins with http:// or https://")
        region = settings.region or _variable("AWS_REGION", "AWS_DEFAULT_REGION") or "us-east-1"
        return cls(endpoint.rstrip("/"), region, *keys, token)

    def filesystem(self, timeout: float) -> S3FileSystem:
        """For listing and fetching files."""
        from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

        scheme, _, server = self.endpoint.partition("://")
        return S3FileSystem(
            access_key=self.access_key or None,
            secret_key=self.secret_key or None,
            session_token=self.session_token or None,
            region=self.region,
            scheme=scheme or "https",
            endpoint_override=server or None,
            connect_timeout=timeout,
            request_timeout=timeout,
            retry_strategy=AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        )

    def delta_options(self, timeout: float) -> dict[str, str]:
        """For reading Delta tables."""
        options = {
            "AWS_REGION": self.region,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_SESSION_TOKEN": self.session_token,
            "AWS_ALLOW_HTTP": "true" if self.endpoint.startswith("http://") else "",
            "connect_timeout": f"{timeout:g}s",
            "max_retries": str(_ATTEMPTS),
        }
        return {name: value for name, value in options.items() if value}

    def without_secrets(self, text: str) -> str:
        """A text in which no secret is left."""
        for secret in (self.secret_key, self.session_token):
            text = text.replace(secret, "***") if secret else text
        return text


@dataclass(frozen=True)
class BucketPlace:
    """A place in a bucket."""

    bucket: str
    path: str
    access: Access

    @classmethod
    def at(cls, url: str) -> BucketPlace:
        """The place with an address ``s3://bucket/folder``.

        Raises:
            InputError: the address names no bucket, or holds keys.
        """
        bucket, _, path = url.removeprefix(S3_PREFIX).partition("/")
        if "@" in bucket or ":" in bucket:
            raise InputError("leave keys and ports out of the address: it is s3://bucket/folder; see SHELFWISE_S3__*")
        if not bucket:
            raise InputError(f"{url} names no bucket; it is s3://bucket/folder")
        return cls(bucket, path.strip("/"), Access.given(get_settings().s3))

    @property
    def key(self) -> str:
        return f"{S3_PREFIX}{self._path}"

    @cached_property
    def is_delta_table(self) -> bool:
        from pyarrow.fs import FileType

        return self._look(f"{self._path}/{LOG}").type == FileType.Directory

    def file(self) -> StoredFile | None:
        found = self._look(self._path) if self.path else None
        return _stored(found) if found is not None and found.is_file else None

    def files(self) -> list[StoredFile] | None:
        return [
            _stored(info) for info in self._listed if info.is_file and not _is_hidden(info.path, self._path)
        ] or None

    def delta_table_among(self, files: list[StoredFile]) -> str | None:
        tables = [info.path.partition(f"/{LOG}/")[0] for info in self._listed if f"/{LOG}/" in info.path]
        return S3_PREFIX + min(tables) if tables else None

    def delta_table(self, version: int | None = None) -> DeltaTable:
        from deltalake import DeltaTable

        return DeltaTable(self.key, version=version, storage_options=self.access.delta_options(self._timeout))

    def log_entries(self, version: int) -> list[dict[str, Any]] | None:
        try:
            with self._filesystem.open_input_stream(f"{self._path}/{LOG}/{version:020}.json") as stream:
                return delta_log.parsed(stream.read().decode())
        except FileNotFoundError:
            return None

    @contextmanager
    def fetched(self, file: StoredFile) -> Iterator[Path]:
        """A copy on this machine, for as long as the context lasts."""
        with tempfile.TemporaryDirectory(prefix="shelfwise-catalog-") as folder:
            copy = Path(folder, file.name)
            try:
                with (
                    self._filesystem.open_input_stream(file.key.removeprefix(S3_PREFIX)) as stream,
                    copy.open("wb") as into,
                ):
                    shutil.copyfileobj(stream, into, 1 << 20)
            except OSError as error:
                raise self._failure(error) from None
            yield copy

    def explain(self, error: Exception) -> str:
        return str(self._failure(error))

    @property
    def _path(self) -> str:
        return f"{self.bucket}/{self.path}".rstrip("/")

    @property
    def _timeout(self) -> float:
        return get_settings().s3.timeout_seconds

    @cached_property
    def _filesystem(self) -> S3FileSystem:
        return self.access.filesystem(self._timeout)

    @cached_property
    def _listed(self) -> list[FileInfo]:
        from pyarrow.fs import FileSelector

        try:
            return list(self._filesystem.get_file_info(FileSelector(self._path, recursive=True, allow_not_found=True)))
        except OSError as error:
            raise self._failure(error) from None

    def _look(self, path: str) -> FileInfo:
        from pyarrow.fs import FileType

        try:
            found = self._filesystem.get_file_info(path)
            if (
                found.type == FileType.NotFound
                and self._filesystem.get_file_info(self.bucket).type == FileType.NotFound
            ):
                raise InputError(self._no_bucket())
            return found
        except OSError as error:
            raise self._failure(error) from None

    def _failure(self, error: Exception) -> ShelfwiseError:
        text, where = str(error), self.access.endpoint or _AMAZON
        if any(sign in text for sign in _NO_BUCKET):
            return InputError(self._no_bucket())
        if any(sign in text for sign in _REFUSED):
            return InputError(
                f"{where} refuses to show {self.key}: the access key or the secret key is wrong, or lacks the right to list and "
                "read it; see SHELFWISE_S3__ACCESS_KEY and SHELFWISE_S3__SECRET_KEY (or AWS_ACCESS_KEY_ID and so on)"
            )
        if any(sign in text for sign in _NOT_REACHED):
            return UnavailableError(
                f"the S3 server {where} cannot be reached: see that it runs, and SHELFWISE_S3__ENDPOINT (or AWS_ENDPOINT_URL)"
            )
        reason = (self.access.without_secrets(text).strip().splitlines() or [type(error).__name__])[0]
        return InputError(f"{self.key} cannot be read: {reason[:300]}")

    def _no_bucket(self) -> str:
        where = self.access.endpoint or _AMAZON
        return f"there is no bucket {self.bucket} at {where}; see the address, and SHELFWISE_S3__ENDPOINT"


def _stored(info: FileInfo) -> StoredFile:
    return StoredFile(S3_PREFIX + info.path, info.mtime_ns or 0, info.size or 0)


def _is_hidden(path: str, folder: str) -> bool:
    return any(name.startswith((".", "_")) for name in path[len(folder) :].strip("/").split("/"))


def _variable(*names: str) -> str:
    """The first of some environment variables that is set."""
    return next((value for name in names if (value := os.environ.get(name, ""))), "")
