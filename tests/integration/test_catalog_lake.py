"""Catalogues in buckets, on moto's server; and what disappears from a full list disappears from recommendations."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from moto.server import ThreadedMotoServer
from own_stack import OwnStack
from waiting import until

from feature_repo import tables
from feature_repo.errors import InputError
from feature_repo.settings import get_settings
from ingestion.__main__ import main
from ingestion.catalog import store as catalog_store
from ingestion.catalog.load import Loaded, load

BUCKET = "shelfwise-lake"
COARSE = 2.1  # seconds after which a file in a bucket is known by its time
SECRET = "a-secret-that-nobody-may-see"
POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}'


class Lake:
    """A bucket on moto's server."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.keys = {"aws_access_key_id": "anyone", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        self.s3 = boto3.client("s3", endpoint_url=endpoint, **self.keys)
        self.s3.create_bucket(Bucket=BUCKET)

    def put(self, key: str, body: bytes | str) -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def append(self, folder: str, mode: Any = "append", **columns: list[Any]) -> str:
        """To a Delta table."""
        write_deltalake(f"s3://{BUCKET}/{folder}", pa.table(columns), mode=mode, storage_options=self.options)
        return f"s3://{BUCKET}/{folder}"

    @property
    def options(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "anyone",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
            "AWS_S3_ALLOW_UNSAFE_RENAME": "true",
        }


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A Redis and a feature store of their own."""
    stack = OwnStack.at(tmp_path_factory.mktemp("lake"))
    with stack.exported():
        try:
            up = stack.deploy("up", "redis")
            assert up.returncode == 0, up.stdout
            feast = [str(Path(sys.executable).with_name("feast")), "-c", str(Path(tables.__file__).parent), "apply"]
            subprocess.run(feast, check=True, capture_output=True, timeout=300)
            yield
        finally:
            stack.deploy("down")


@pytest.fixture(scope="module")
def server() -> Iterator[Lake]:
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        yield Lake("http://{}:{}".format(*moto.get_host_and_port()))
    finally:
        moto.stop()


@pytest.fixture
def lake(server: Lake, applied: None, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anyone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    return server


def now(product: str) -> dict[str, Any]:
    (row,) = [row for row in catalog_store.current_rows().to_pylist() if row["product_id"] == product]
    return row


def online_stock(product: str) -> Any:
    from feature_repo.store import open_store

    return open_store().get_online_features(["item_catalog:stock"], [{"product_id": product}]).to_dict()["stock"][0]


def parquet(**columns: list[Any]) -> bytes:
    file = BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


KINDS: dict[str, Callable[[str, float], bytes | str]] = {
    "parquet": lambda product, price: parquet(product_id=[product], price=[price]),
    "csv": lambda product, price: f"product_id,price\n{product},{price}\n",
    "jsonl": lambda product, price: f'{{"product_id": "{product}", "price": {price}}}\n',
}


@pytest.mark.parametrize("kind", KINDS)
def test_of_files_in_a_bucket_the_changed_are_read(lake: Lake, kind: str) -> None:
    file, one, two = KINDS[kind], f"s3-{kind}-1", f"s3-{kind}-2"
    folder = f"s3://{BUCKET}/{kind} files"
    lake.put(f"{kind} files/one.{kind}", file(one, 1.0))
    lake.put(f"{kind} files/deep/two.{kind}", file(two, 2.0))
    lake.put(f"{kind} files/_SUCCESS", "")
    time.sleep(COARSE)
    assert load(folder) == Loaded(2, 0, 2, 2, [], False)
    assert load(folder) == Loaded(0, 2, 0, 0, [], False)
    lake.put(f"{kind} files/one.{kind}", file(one, 12.75))
    time.sleep(COARSE)
    assert load(folder) == Loaded(1, 1, 1, 1, [], False)
    assert (now(one)["price"], now(two)["price"]) == (12.75, 2.0)
    assert load(f"{folder}/deep/two.{kind}") == Loaded(0, 1, 0, 0, [], False)


def test_of_a_file_written_twice_within_a_second_the_second_is_read_too(lake: Lake) -> None:
    """A bucket tells the times of its files in whole seconds, and the two may be of the same size."""
    address = lake.put("hasty/goods.csv", KINDS["csv"]("s3-hasty", 1.0))
    first = load(address)
    lake.put("hasty/goods.csv", KINDS["csv"]("s3-hasty", 2.0))
    assert (first.news, load(address).news, now("s3-hasty")["price"]) == (1, 1, 2.0)
    time.sleep(COARSE)
    load(address)
    assert load(address) == Loaded(0, 1, 0, 0, [], False)


def test_a_delta_table_in_a_bucket_is_followed_and_what_it_loses_disappears(lake: Lake) -> None:
    table = lake.append("stockroom/goods", product_id=[f"s3-delta-{number}" for number in range(10)], stock=[5] * 10)
    assert load(table) == Loaded(1, 0, 10, 10, [], False)
    lake.append("stockroom/goods", product_id=["s3-delta-10"], stock=[1])
    assert load(table) == Loaded(1, 1, 1, 1, [], False)
    assert load(table) == Loaded(0, 2, 0, 0, [], False)
    DeltaTable(table, storage_options=lake.options).delete("product_id = 's3-delta-3'")
    assert load(table).removed == 1
    assert (now("s3-delta-3")["origin"], online_stock("s3-delta-3"), online_stock("s3-delta-4")) == ("removed", 0, 5)
    lake.append("stockroom/goods", product_id=["s3-delta-3"], stock=[8])
    assert load(table).news == 1
    assert online_stock("s3-delta-3") == 8
    with pytest.raises(InputError, match="is a Delta table"):
        load(f"s3://{BUCKET}/stockroom/")


def test_settings_come_before_the_variables(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    path = lake.put("set/a.csv", "product_id\ns3-set\n")
    monkeypatch.setenv("SHELFWISE_S3__ENDPOINT", lake.endpoint)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    get_settings.cache_clear()
    try:
        assert load(path).news == 1
    finally:
        monkeypatch.delenv("SHELFWISE_S3__ENDPOINT")
        get_settings.cache_clear()


@pytest.mark.parametrize(
    ("path", "variables", "message"),
    [
        (f"s3://{BUCKET}/nothing.csv", {}, "is not there"),
        ("s3://another-bucket/a.csv", {}, "there is no bucket another-bucket at http://127.0.0.1:"),
        (f"s3://{BUCKET}/a.csv", {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "http://127.0.0.1:1 cannot be reached"),
        (f"s3://{BUCKET}/a.csv", {"AWS_ENDPOINT_URL": "127.0.0.1:1"}, "begins with http://"),
        (f"s3://{BUCKET}/a.csv", {"AWS_SECRET_ACCESS_KEY": ""}, "one of the two S3 keys is missing"),
        (f"s3://key:{SECRET}@{BUCKET}/a.csv", {}, "leave keys and ports out of the address"),
        ("s3://", {}, "names no bucket"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(
    lake: Lake,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    path: str,
    variables: dict[str, str],
    message: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["catalog", path]) == 1
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert SECRET not in line


def test_wrong_keys_are_said_in_a_line(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = lake.put("secured/a.csv", "product_id\ns3-secured\n")
    iam = boto3.client("iam", endpoint_url=lake.endpoint, **lake.keys)
    iam.create_user(UserName="loader")
    key = iam.create_access_key(UserName="loader")["AccessKey"]
    iam.put_user_policy(UserName="loader", PolicyName="all", PolicyDocument=POLICY)

    def check_keys_after(calls: str) -> None:
        plain = {"Content-Type": "text/plain"}
        address = f"{lake.endpoint}/moto-api/reset-auth"
        urllib.request.urlopen(urllib.request.Request(address, calls.encode(), plain, method="POST"))

    check_keys_after("0")
    try:
        assert main(["catalog", path]) == 1  # nobody has given this key
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        assert main(["catalog", path]) == 1  # its secret is another one
        lines = capfd.readouterr().err.splitlines()
        assert len(lines) == 2
        for line in lines:
            assert line.startswith(
                f"error: {lake.endpoint} refuses to show {path}: the access key or the secret key is wrong"
            )
            assert SECRET not in line
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        assert main(["catalog", path]) == 0
    finally:
        check_keys_after("inf")


def test_a_single_load_waits_for_a_full_list_that_is_being_written(applied: None, tmp_path: Path) -> None:
    half, all_of_it = (["product_id,stock", *(f"slow-{n},1" for n in range(count)), ""] for count in (9, 10))
    file = tmp_path / "all.csv"
    file.write_text("\n".join(all_of_it))
    assert main(["catalog", str(tmp_path), "--snapshot"]) == 0
    file.write_text("\n".join(half))
    rest = threading.Timer(0.6, file.write_text, ["\n".join(all_of_it)])
    rest.start()
    try:
        assert main(["catalog", str(tmp_path), "--snapshot"]) == 0
    finally:
        rest.join()
    assert now("slow-9")["stock"] == 1, "half a list would have taken it away"


def test_prices_stock_and_removals_reach_recommendations_within_the_interval(applied: None, tmp_path: Path) -> None:
    from feature_repo.ranking.shelf import Shelf
    from feature_repo.store import open_store
    from serving.answering.engine import Engine
    from serving.data.catalogue import CatalogueReader
    from serving.web.requests import RecommendRequest

    interval, engine = 2.0, Engine(candidates=50)
    shelves: list[Shelf] = []

    def use(shelf: Shelf) -> None:
        engine.use_shelf(shelf)
        shelves.append(shelf)

    def recommended() -> set[str]:
        request = RecommendRequest.model_validate({"filters": {"brand": "Lake"}, "k": 20})
        return {item.product_id for item in engine.recommend(request, engine.compositions["home"], None).items}

    def offer(prices: dict[str, float], **stock: int) -> float:
        lines = [f"{name},Lake,{price},{stock.get(name.replace('-', '_'), 9)}" for name, price in prices.items()]
        (tmp_path / "all.csv").write_text("\n".join(["product_id,brand,price,stock", *lines, ""]))
        return time.monotonic()

    prices = {f"live-{number}": 10.0 + number for number in range(6)}
    offer(prices)
    command = [sys.executable, "-m", "ingestion", "catalog", str(tmp_path), "--snapshot", "--every", str(interval)]
    reader = CatalogueReader(open_store(), 0.2, use)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as loader:
        try:
            reader.start()
            until(lambda: recommended() == set(prices), 300)
            changed = offer({**prices, "live-1": 99.0}, live_2=0)
            until(lambda: recommended() == set(prices) - {"live-2"}, 60)
            shelf = shelves[-1]
            assert shelf.items.price[shelf.rows["live-1"]] == 99.0
            # A file rests for a second before it is read; to write it and to read it again takes a busy machine a while.
            assert time.monotonic() - changed < interval + 15
            gone = offer({name: price for name, price in prices.items() if name != "live-3"})
            until(lambda: recommended() == set(prices) - {"live-3"}, 60)
            assert time.monotonic() - gone < interval + 15
            offer(prices)
            until(lambda: recommended() == set(prices), 60)
        finally:
            loader.terminate()
            reader.stop()
