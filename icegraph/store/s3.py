"""S3: the objects of a store in a bucket of any server that speaks S3.

Who asks is told by the usual places: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, a cluster's identity; or by a mounted
Kubernetes secret, whose folder ICEGRAPH_S3_SECRET names. Which server by AWS_ENDPOINT_URL or AWS_S3_ENDPOINT (with AWS_HTTPS=NO for http),
else a profile's, else AWS. No secret is ever part of a message.
"""

import io
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, NoCredentialsError, PartialCredentialsError

from icegraph.errors import InputError, StoreAwayError, StoreError
from icegraph.store.items import Object

PART = 16 << 20  # bytes; S3 takes parts from 5 MiB on
_TRANSFER = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4)
_SETTINGS: dict[str, Any] = {
    "retries": {"mode": "standard", "total_max_attempts": 5},  # waits longer and longer, with chance in it
    "connect_timeout": 10,
    "read_timeout": 60,
    # Not every server takes the newer checksums. Where the body is signed, each server checks its SHA-256.
    "s3": {"payload_signing_enabled": True},
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}
_SECRET_FILES = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("accesskey", "secretkey"),
)  # as KServe and as Kubeflow Pipelines name them
_GDAL = {"GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR", "GDAL_HTTP_MAX_RETRY": "4", "GDAL_HTTP_RETRY_DELAY": "0.5"}
_REFUSED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "Forbidden"}
_OCCUPIED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_GONE = {"404", "NoSuchKey", "NotFound"}


class S3:
    """A bucket; `icegraph.store.items.Objects` tells what each method does.

    Args:
        bucket: Its name.

    Raises:
        InputError: The settings in the environment cannot be used.
    """

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        with self._speaking_of(""):
            self._session = session()
            region = self._session.region_name or "us-east-1"
            self._client = self._session.client("s3", endpoint_url=endpoint(), region_name=region, config=Config(**_SETTINGS))

    def address(self, key: str) -> str:  # noqa: D102
        return f"s3://{self._bucket}/{key}"

    def put(self, key: str, source: Path) -> None:  # noqa: D102
        with self._speaking_of(key):
            self._client.upload_file(str(source), self._bucket, key, Config=_TRANSFER)

    def create(self, key: str, content: bytes) -> bool:  # noqa: D102
        with self._speaking_of(key):
            try:
                self._client.put_object(Bucket=self._bucket, Key=key, Body=content, IfNoneMatch="*")
            except ClientError as error:
                if _code(error) in _OCCUPIED:
                    return False
                if _code(error) != "NotImplemented":
                    raise
                if next(self.list(key), None) is not None:  # such a server leaves a moment between the look and the put
                    return False
                self._client.put_object(Bucket=self._bucket, Key=key, Body=content)
        return True

    def read(self, key: str) -> bytes:  # noqa: D102
        with self._speaking_of(key), io.BytesIO() as content:
            self._client.download_fileobj(self._bucket, key, content, Config=_TRANSFER)
            return content.getvalue()

    def get(self, key: str, target: Path) -> None:  # noqa: D102
        with self._speaking_of(key):
            self._client.download_file(self._bucket, key, str(target), Config=_TRANSFER)

    def list(self, prefix: str) -> Iterator[Object]:  # noqa: D102
        with self._speaking_of(prefix):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for one in page.get("Contents", []):
                    yield Object(one["Key"], one["Size"], one["LastModified"].astimezone(UTC))

    def remove(self, keys: Iterable[str]) -> None:  # noqa: D102
        rest = list(keys)
        while rest:
            some, rest = rest[:1000], rest[1000:]  # as many as one request takes
            with self._speaking_of(some[0]):
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True})
            for error in answer.get("Errors", []):
                raise StoreError(self.address(error["Key"]), f"cannot be removed ({error['Code']})", "see whether you may remove there")

    def drop_unfinished(self, prefix: str, before: datetime) -> None:  # noqa: D102
        with self._speaking_of(prefix):
            for page in self._client.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix):
                for one in page.get("Uploads", []):
                    if one["Initiated"] < before:
                        self._client.abort_multipart_upload(Bucket=self._bucket, Key=one["Key"], UploadId=one["UploadId"])

    def raster(self, key: str) -> tuple[Path, Callable[[], AbstractContextManager[Any]]]:  # noqa: D102
        import rasterio
        from rasterio.errors import RasterioError
        from rasterio.session import AWSSession

        server = urlsplit(self._client.meta.endpoint_url)
        own = not (server.hostname or "").endswith(".amazonaws.com")
        with self._speaking_of(key):
            session = AWSSession(self._session, endpoint_url=server.netloc if own else None)
        settings = _GDAL | {"AWS_HTTPS": "YES" if server.scheme == "https" else "NO", "AWS_VIRTUAL_HOSTING": "FALSE" if own else "TRUE"}

        @contextmanager
        def reading() -> Iterator[None]:
            try:
                with rasterio.Env(session, **settings):
                    yield
            except RasterioError as error:
                problem = f"a window cannot be read ({' '.join(str(error.__cause__ or error).split())})"
                raise StoreError(
                    self.address(key.rpartition("/")[0]), problem, "check that it is there still, and open it again"
                ) from error

        return Path("/vsis3") / self._bucket / key, reading

    @contextmanager
    def _speaking_of(self, key: str) -> Iterator[None]:
        """Make a StoreError, with one sentence, of what the library raises."""
        try:
            yield
        except (BotoCoreError, ClientError, Boto3Error) as error:
            problem, mend = self._told(error)
            kind = StoreAwayError if _is_away(error) else StoreError
            raise kind(self.address(key).rstrip("/"), problem, mend) from error

    def _told(self, error: Exception) -> tuple[str, str]:
        cause = error.__context__ if isinstance(error, Boto3Error) and error.__context__ else error
        if isinstance(cause, ClientError):
            code = _code(cause)
            if code in _REFUSED:
                return f"the server does not let you ({code})", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and what they may do"
            if code == "NoSuchBucket":
                return "there is no such bucket", "make it, or check the address"
            if code in _GONE:
                return "there is no such object", "check the address; if it was replaced while you read, read again"
            return f"the server answered {code}", "try again later, or see the server's log"
        if isinstance(cause, NoCredentialsError | PartialCredentialsError):
            return "nothing tells who asks", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or ICEGRAPH_S3_SECRET"
        if isinstance(cause, ConnectionError | HTTPClientError):
            server = urlsplit(self._client.meta.endpoint_url)
            return f"{server.hostname}:{server.port or server.scheme} does not answer ({type(cause).__name__})", "check AWS_ENDPOINT_URL"
        return f"S3 cannot be used ({type(cause).__name__})", "check the settings in AWS_… variables and in ~/.aws"


def _is_away(error: Exception) -> bool:
    """Whether the server does not answer, or answers that it cannot now."""
    cause = error.__context__ if isinstance(error, Boto3Error) and error.__context__ else error
    status = cause.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) if isinstance(cause, ClientError) else 0
    return status >= 500 or isinstance(cause, ConnectionError | HTTPClientError)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", "without a reason"))


def session() -> boto3.Session:
    """Who asks, and in which region.

    Raises:
        InputError: ICEGRAPH_S3_SECRET names a folder without credentials.
    """
    return boto3.Session(**_mounted_secret(), region_name=os.environ.get("AWS_REGION"))


def endpoint() -> str | None:
    """The server that the environment names; None for what a profile names, or AWS.

    Raises:
        InputError: It names something else than a server.
    """
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_S3_ENDPOINT")
    name = next((name for name in names if os.environ.get(name)), None)
    if name is None:
        return None
    url = os.environ[name]
    if "://" not in url:  # GDAL's way
        url = f"{'http' if os.environ.get('AWS_HTTPS', '').upper() in ('NO', 'FALSE', 'OFF', '0') else 'https'}://{url}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
        raise InputError(name, "is not the address of a server", "set it to http://HOST:PORT or https://HOST, without user or password")
    return url


def _mounted_secret() -> dict[str, str]:
    """Credentials of a mounted Kubernetes secret, one file a key; empty where none is named."""
    place = os.environ.get("ICEGRAPH_S3_SECRET")
    if not place:
        return {}
    for user, secret in _SECRET_FILES:
        if Path(place, user).is_file() and Path(place, secret).is_file():
            texts = (Path(place, name).read_text(encoding="utf-8").strip() for name in (user, secret))
            return dict(zip(("aws_access_key_id", "aws_secret_access_key"), texts, strict=True))
    raise InputError(place, f"holds neither {' nor '.join(' and '.join(pair) for pair in _SECRET_FILES)}", "mount the secret there")
