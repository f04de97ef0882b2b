"""The comparison by others, through a shared folder: the same bits as at home, nothing left, only what is lost anew.

The first half has the shards examined in this process, the second by two worker processes of a real Dask cluster under
a real Prefect server, with certificates of its own.
"""

from __future__ import annotations

import datetime as dt
import inspect
import json
import os
import shutil
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from distributed import Client, LocalCluster
from distributed.security import Security
from prefect import flow, task
from prefect.cache_policies import NO_CACHE

from flows import cluster, shards
from flows import compare as comparing
from flows.engine import ONCE, _is_file_access, redacted
from flows.shards import examine_shard, forget, shared_comparison
from linkage.contract import load_spec
from linkage.contract.settings import ClusterSettings
from linkage.contract.spec import LinkageSpec
from linkage.errors import KeyFileError, LinkageError, LinkError
from linkage.hub.compare import Candidates, compare
from linkage.hub.encoded import Encoded, stack
from linkage.hub.link import Linked, link


def _spec(profile: str) -> LinkageSpec:
    small = {"bits": 512, "diffusion": {"bits": 512, "inputs": 4}}
    return LinkageSpec.model_validate({**load_spec(profile).model_dump(), **small})


PLAIN, MASKED = _spec("default"), _spec("precise")


def _frame(spec: LinkageSpec, filters: np.ndarray, names: Sequence[str], seed: int) -> pl.DataFrame:
    """Return an encodings frame; where the spec has masks, some filters are missing on some records."""
    rows = len(filters)
    columns: dict[str, Any] = {"pseudonym": names, "variant": pl.Series([0] * rows, dtype=pl.UInt8)}
    for number, entry in enumerate(spec.filters):
        columns[entry.name] = pl.Series([row.tobytes() for row in filters[:, number]], dtype=pl.Binary)
        if spec.presence_masks:
            mask = np.random.default_rng((seed, number)).choice([0, 3, 7], rows, p=[0.1, 0.3, 0.6])
            columns[f"{entry.name}_mask"] = pl.Series(mask, dtype=pl.UInt16)
    return pl.DataFrame(columns)


def _encodings(spec: LinkageSpec, shared: int, others: int, *, repeats: bool = False) -> dict[str, pl.DataFrame]:
    """Return two sources that share people; with repeats, a third of the second's records stand there twice."""

    def bits(rows: int, seed: int) -> np.ndarray:
        shape = rows, len(spec.filters), spec.diffusion.bits // 8
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    def noisy(filters: np.ndarray, seed: int) -> np.ndarray:
        flips = np.random.default_rng(seed).random((*filters.shape, 8)) < 0.1
        return filters ^ np.packbits(flips, axis=-1)[..., 0]

    one = bits(shared, 1)
    a, b = np.concatenate([one, bits(others, 2)]), np.concatenate([noisy(one, 3), bits(others, 4)])
    if repeats:
        b = np.concatenate([b, noisy(b[: len(b) // 3], 5)])
    sources = {"a": a, "b": b}
    return {
        source: _frame(spec, filters, [f"{source}{place:031d}" for place in range(len(filters))], seed)
        for seed, (source, filters) in enumerate(sources.items())
    }


def _stacked(spec: LinkageSpec, shared: int, others: int, *, repeats: bool = False) -> Encoded:
    return stack(_encodings(spec, shared, others, repeats=repeats), spec, {"a": True, "b": not repeats})


def _same(one: Candidates, other: Candidates) -> bool:
    pairs = [(getattr(one, entry.name), getattr(other, entry.name)) for entry in fields(Candidates)]
    return all(
        a == b if isinstance(a, (dict, float)) else (a.dtype == b.dtype and np.array_equal(a, b)) for a, b in pairs
    )


def _require_same(one: Linked, other: Linked) -> None:
    assert one.persons.equals(other.persons)
    assert np.array_equal(one.draws.record, other.draws.record) and np.array_equal(one.draws.person, other.draws.person)
    for name in ("left", "right", "probability", "repeats"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    assert one.quality == other.quality


# --- in this process


@dataclass
class Here:
    """Examines shards in this process, the last first; keeps which, and can give up after some."""

    stop_after: int = 10_000
    done: list[str] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)

    def __call__(self, folder: str, names: Sequence[str]) -> list[str]:
        self.folders.append(Path(folder))
        digests = {}
        for name in reversed(names):
            if len(self.done) == self.stop_after:
                raise Killed
            digests[name] = examine_shard(folder, name)
            self.done.append(name)
        return [digests[name] for name in names]


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def _nothing_held() -> Iterator[None]:
    yield
    forget()


@pytest.mark.parametrize("number", [1, 3, 7])
@pytest.mark.parametrize(
    ("spec", "shared", "others", "repeats", "budget", "kinds"),
    [
        (PLAIN, 300, 900, False, 2e9, {"rows"}),
        (PLAIN, 300, 900, True, 2e9, {"rows"}),
        (MASKED, 300, 900, False, 2e9, {"rows"}),
        (PLAIN, 300, 1_500, False, 2e5, {"rows", "keys"}),
        (MASKED, 300, 1_500, True, 2e5, {"rows", "keys"}),
        (PLAIN, 3_000, 300, False, 1e6, {"rows", "rest"}),
    ],
)
def test_candidates_are_the_same_bit_for_bit(
    number: int, spec: LinkageSpec, shared: int, others: int, repeats: bool, budget: float, kinds: set[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    encoded = _stacked(spec, shared, others, repeats=repeats)
    known = encoded.known.copy()
    known[-1] = known[-2]
    encoded = replace(encoded, known=known)
    here = Here()
    with shared_comparison(tmp_path, here, shards=number, budget=budget) as comparer:
        candidates = comparer(encoded, 5)
    assert _same(compare(encoded, seed=5, budget=budget), candidates)
    assert {name.partition("-")[0] for name in here.done} == kinds
    assert len(here.done) == max(number, len(kinds))


@pytest.mark.parametrize("spec", [PLAIN, MASKED])
def test_persons_and_draws_are_the_same_with_a_source_with_repeats(spec: LinkageSpec, tmp_path: Path) -> None:
    encodings = _encodings(spec, 150, 200, repeats=True)
    here = Here()
    with shared_comparison(tmp_path, here, shards=3) as comparer:
        linked = link(encodings, spec, repeats=frozenset({"b"}), comparer=comparer)
    _require_same(link(encodings, spec, repeats=frozenset({"b"})), linked)
    assert len(here.folders) == len(set(here.folders)) > 1, "compared anew with what is known of repeats"
    assert len({folder.parent for folder in here.folders}) == 1, "the encodings are written once"


def test_in_the_folder_are_no_names_and_it_is_its_owners_alone_and_gone_at_the_end(tmp_path: Path) -> None:
    seen: dict[str, tuple[int, bytes]] = {}

    def look(folder: str, names: Sequence[str]) -> list[str]:
        digests = [examine_shard(folder, name) for name in names]
        for path in tmp_path.rglob("*"):
            content = path.read_bytes() if path.is_file() else b""
            seen[str(path.relative_to(tmp_path))] = path.stat().st_mode & 0o777, content
        return digests

    with shared_comparison(tmp_path, look, shards=2) as comparer:
        comparer(_stacked(MASKED, 100, 300), 0)
    assert sum(name.endswith(".parquet") for name in seen) == 1
    assert len([name for name in seen if "rows-" in name and name.endswith(".npz")]) == 2
    assert all(mode & 0o077 == 0 for mode, _ in seen.values())
    assert not [name for name, (_, content) in seen.items() if b"a00000000" in content or b"b00000000" in content]
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def fails(folder: str, names: Sequence[str]) -> list[str]:
        examine_shard(folder, names[0])
        raise LinkError("out of luck")

    with pytest.raises(LinkError, match="out of luck"), shared_comparison(tmp_path, fails, shards=2) as comparer:
        comparer(_stacked(PLAIN, 100, 300), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def _interrupted(folder: Path, encoded: Encoded, monkeypatch: pytest.MonkeyPatch, *, after: int) -> list[str]:
    """Run until the process is killed: what it wrote stays."""
    here = Here(stop_after=after)
    with monkeypatch.context() as patched:
        patched.setattr(shards, "_remove", lambda place: None)
        with pytest.raises(Killed), shared_comparison(folder, here, shards=7) as comparer:
            comparer(encoded, 5)
    return here.done


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = _stacked(PLAIN, 300, 900)
    done = _interrupted(tmp_path, encoded, monkeypatch, after=4)
    here = Here()
    with shared_comparison(tmp_path, here, shards=7) as comparer:
        candidates = comparer(encoded, 5)
    assert len(done) == 4 and len(here.done) == 3 and not set(done) & set(here.done)
    assert _same(compare(encoded, seed=5), candidates)


@pytest.mark.parametrize("broken", ["rows-*-*.npz", "plan.npz"])
def test_what_a_killed_run_left_broken_is_made_anew(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = _stacked(PLAIN, 300, 900)
    _interrupted(tmp_path, encoded, monkeypatch, after=4)
    next(tmp_path.rglob(broken)).write_bytes(b"cut off")
    here = Here()
    with shared_comparison(tmp_path, here, shards=7) as comparer:
        candidates = comparer(encoded, 5)
    assert len(here.done) == (4 if broken.startswith("rows") else 3)
    assert _same(compare(encoded, seed=5), candidates)


def test_what_is_left_of_other_inputs_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _interrupted(tmp_path, _stacked(PLAIN, 100, 300), monkeypatch, after=2)
    (left,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    left.rename(tmp_path / f".{left.name}.0123456789ab")  # removal itself was cut off
    _interrupted(tmp_path, _stacked(PLAIN, 100, 301), monkeypatch, after=2)
    (tmp_path / "of somebody else").mkdir()
    here = Here()
    with shared_comparison(tmp_path, here, shards=7) as comparer:
        comparer(_stacked(PLAIN, 100, 302), 5)
        assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 2
    assert len(here.done) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "of somebody else"]


def _change(path: Path) -> None:
    if path.suffix == ".parquet":
        frame = pl.read_parquet(path, memory_map=False)
        frame.with_columns(pl.col("record").reverse()).write_parquet(path)
    else:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        np.savez(path, allow_pickle=False, **{**arrays, "version": np.array("0")})


@pytest.mark.parametrize(("name", "reason"), [("rows-00000.parquet", "damaged"), ("design.npz", "version-differs")])
def test_a_worker_refuses_what_its_hub_did_not_write(name: str, reason: str, tmp_path: Path) -> None:
    def examiner(folder: str, names: Sequence[str]) -> list[str]:
        _change(Path(folder).parent / name)
        return [examine_shard(folder, entry) for entry in names]

    with pytest.raises(LinkError) as error, shared_comparison(tmp_path, examiner, shards=1) as comparer:
        comparer(_stacked(PLAIN, 100, 300), 0)
    assert error.value.reason == reason


def test_a_finding_that_its_worker_did_not_write_is_refused(tmp_path: Path) -> None:
    def examiner(folder: str, names: Sequence[str]) -> list[str]:
        digests = [examine_shard(folder, name) for name in names]
        shutil.copyfile(Path(folder) / f"{names[0]}.npz", Path(folder) / f"{names[1]}.npz")
        return digests

    with pytest.raises(LinkError) as error, shared_comparison(tmp_path, examiner, shards=2) as comparer:
        comparer(_stacked(PLAIN, 100, 300), 0)
    assert error.value.reason == "damaged"


def test_a_run_that_is_given_up_meanwhile_gets_no_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def examiner(folder: str, names: Sequence[str]) -> list[str]:
        with monkeypatch.context() as patched:
            patched.setattr(shards, "examine", lambda *_: shutil.rmtree(Path(folder).parent))
            with pytest.raises(FileNotFoundError):
                examine_shard(folder, names[0])
        raise LinkError("given up")

    with pytest.raises(LinkError, match="given up"), shared_comparison(tmp_path, examiner, shards=2) as comparer:
        comparer(_stacked(PLAIN, 100, 300), 0)
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with shared_comparison(tmp_path, Here()), pytest.raises(LinkError) as error, shared_comparison(tmp_path, Here()):
        pass
    assert error.value.reason == "busy"


@pytest.mark.parametrize("name", ["../rows-0-1", "cells-0-1", "rows-0", "rows-0-1.npz"])
def test_a_worker_takes_names_of_shards_alone(name: str, tmp_path: Path) -> None:
    with pytest.raises(LinkError) as error:
        examine_shard(str(tmp_path), name)
    assert error.value.reason == "no-shard"


def test_tasks_and_flow_take_text_and_keep_nothing() -> None:
    examined, compared = comparing.examine_on_worker, comparing.compare_shards
    assert [entry.annotation for entry in inspect.signature(examined.fn, eval_str=True).parameters.values()] == [
        str
    ] * 2
    assert (examined.persist_result, examined.log_prints, examined.cache_policy) == (False, False, NO_CACHE)
    assert examined.retry_condition_fn is _is_file_access
    assert (compared.persist_result, compared.log_prints, compared.retries) == (False, False, 0)


# --- on a cluster


@dataclass(frozen=True)
class Running:
    """A scheduler and two workers, a Prefect server, and what the hub's settings would say."""

    settings: ClusterSettings
    database: Path
    client: Client

    def workers(self) -> dict[str, int]:
        """Return address -> process of each worker."""
        found: dict[str, int] = self.client.run(os.getpid)
        return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    from prefect.settings import get_current_settings
    from prefect.testing.utilities import prefect_test_harness

    folder = tmp_path_factory.mktemp("cluster")
    files = _certificates(folder)
    security = Security(
        tls_ca_file=str(files["ca_file"]),
        tls_scheduler_cert=str(files["cert_file"]),
        tls_scheduler_key=str(files["key_file"]),
        tls_worker_cert=str(files["cert_file"]),
        tls_worker_key=str(files["key_file"]),
        tls_client_cert=str(files["cert_file"]),
        tls_client_key=str(files["key_file"]),
        require_encryption=True,
    )
    local = LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=True,
        protocol="tls://",
        security=security,
        dashboard_address="127.0.0.1:0",
        local_directory=str(folder / "workers"),
        env={"NUMBA_NUM_THREADS": "1"},
    )
    with prefect_test_harness(server_startup_timeout=120), local, Client(local, set_as_default=False) as client:
        url = get_current_settings().server.database.connection_url
        assert url is not None
        settings = ClusterSettings.model_validate(
            {
                "scheduler": local.scheduler_address,
                "shared_folder": folder / "shared",
                "shards": 6,
                "server": get_current_settings().api.url,
                **files,
            }
        )
        yield Running(settings, Path(url.get_secret_value().partition("///")[2]), client)


def _certificates(folder: Path) -> dict[str, Path]:
    """Make an authority and one certificate, as deploy/README.md tells."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "linkage cluster")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "linkage worker")])
    now = dt.datetime.now(dt.UTC)
    contents = {}
    for name, whose, public, ca in (("ca", issuer, authority, True), ("cert", subject, key, False)):
        builder = x509.CertificateBuilder(issuer, whose, public.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=1))
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        contents[name] = builder.sign(authority, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pem, pkcs8, bare = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    contents["key"] = key.private_bytes(pem, pkcs8, bare)
    files = {f"{name}_file": folder / f"{name}.pem" for name in contents}
    for name, content in contents.items():
        files[f"{name}_file"].touch(mode=0o600)
        files[f"{name}_file"].write_bytes(content)
    return files


_linked: dict[str, Linked] = {}


@task(**ONCE)
@redacted
def _link_task(settings: ClusterSettings) -> None:
    with cluster.cluster_comparison(settings) as comparer:
        encodings = _encodings(PLAIN, 150, 200, repeats=True)
        _linked["result"] = link(encodings, PLAIN, repeats=frozenset({"b"}), comparer=comparer)


@flow(name="month")
def _link_flow(settings: ClusterSettings) -> None:
    _link_task(settings)


@pytest.mark.slow
class TestOnCluster:
    """In one class: the scheduler, its workers and the server are started once."""

    def test_persons_and_draws_are_the_same_where_a_flows_task_links(self, running: Running) -> None:
        _link_flow(running.settings)
        encodings = _encodings(PLAIN, 150, 200, repeats=True)
        _require_same(link(encodings, PLAIN, repeats=frozenset({"b"})), _linked.pop("result"))
        assert [path.name for path in running.settings.shared_folder.iterdir()] == ["lock"]

    def test_candidates_of_keys_are_the_same_and_workers_hold_nothing_afterwards(self, running: Running) -> None:
        encoded = _stacked(MASKED, 300, 1_500, repeats=True)
        with cluster.cluster_comparison(running.settings, budget=2e5) as comparer:
            candidates = comparer(encoded, 5)
        assert candidates.comparison["mode"] == "blocked"
        assert _same(compare(encoded, seed=5, budget=2e5), candidates)
        held = running.client.run(lambda: shards._read_rows.cache_info().currsize)
        assert list(held.values()) == [0, 0]
        threads = running.client.run(lambda: os.environ["NUMBA_NUM_THREADS"])
        assert list(threads.values()) == ["1", "1"]

    def test_a_killed_worker_costs_its_shards_alone(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        encoded = _stacked(PLAIN, 1_000, 5_000)
        settings = running.settings.model_copy(update={"shards": 40})
        before, after = {}, {}
        remove = shards._remove

        def look_and_remove(place: Path) -> None:
            after.update(_versions(settings.shared_folder))
            remove(place)

        monkeypatch.setattr(shards, "_remove", look_and_remove)
        killer = threading.Thread(target=lambda: before.update(_kill_a_worker(running)))
        killer.start()
        with cluster.cluster_comparison(settings) as comparer:
            candidates = comparer(encoded, 5)
        killer.join()
        assert _same(compare(encoded, seed=5), candidates)
        assert 1 <= len(before) < len(after) == 40
        assert {name: after[name] for name in before} == before, "what was done is not done again"

    def test_an_error_of_a_worker_arrives_and_nothing_is_left(
        self, running: Running, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = shards._write_rows

        def wrong(encoded: Encoded, place: Path) -> None:
            write(encoded, place)
            _change(place / "design.npz")

        monkeypatch.setattr(shards, "_write_rows", wrong)
        with pytest.raises(LinkageError) as error, cluster.cluster_comparison(running.settings) as comparer:
            comparer(_stacked(PLAIN, 100, 300), 0)
        assert error.value.reason == "version-differs"
        assert [path.name for path in running.settings.shared_folder.iterdir()] == ["lock"]

    def test_without_a_certificate_of_the_clusters_authority_nobody_gets_in(
        self, running: Running, tmp_path: Path
    ) -> None:
        settings = running.settings.model_copy(update=_certificates(tmp_path))
        with pytest.raises(LinkageError) as error, cluster.cluster_comparison(settings) as comparer:
            comparer(_stacked(PLAIN, 100, 300), 0)
        assert (error.value.reason, error.value.message) == (
            "no-scheduler",
            "the scheduler of the cluster cannot be reached",
        )

    def test_a_cluster_without_workers_is_refused(self, running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cluster, "PATIENCE", 0.5)
        with LocalCluster(n_workers=0, processes=False, protocol="tcp://", dashboard_address="127.0.0.1:0") as empty:
            content = {"scheduler": empty.scheduler_address, "shared_folder": running.settings.shared_folder}
            with pytest.raises(LinkageError) as error:
                with cluster.cluster_comparison(ClusterSettings.model_validate(content)) as comparer:
                    comparer(_stacked(PLAIN, 100, 300), 0)
        assert (error.value.reason, error.value.message) == ("no-worker", "the cluster has no worker")

    def test_a_key_that_others_can_read_is_refused(self, running: Running, tmp_path: Path) -> None:
        files = _certificates(tmp_path)
        files["key_file"].chmod(0o640)
        settings = running.settings.model_copy(update=files)
        with pytest.raises(KeyFileError) as error, cluster.cluster_comparison(settings):
            pass
        assert error.value.reason == "too-open"

    def test_prefects_database_knows_paths_and_names_of_shards_alone(self, running: Running) -> None:
        with sqlite3.connect(f"file:{running.database}?mode=ro", uri=True) as database:
            asked = database.execute("select parameters from flow_run where parameters like '%names%'").fetchall()
            content = "\n".join(database.iterdump())
        assert asked
        for (text,) in asked:
            parameters = json.loads(text)
            assert sorted(parameters) == ["folder", "names", "patience"]
            assert parameters["folder"].startswith(str(running.settings.shared_folder))
            assert all(shards._SHARD.fullmatch(name) for name in parameters["names"])
        assert "a00000000" not in content and "b00000000" not in content


def _versions(folder: Path) -> dict[str, tuple[int, int]]:
    """Return what tells one writing of a finding from another."""
    found = {}
    for path in folder.glob("*/*/rows-*.npz"):
        status = path.stat()
        found[path.name] = status.st_ino, status.st_mtime_ns
    return found


def _kill_a_worker(running: Running) -> dict[str, tuple[int, int]]:
    """Kill a worker that has shards in hand, once one shard is done; return what was done by then."""
    address, process = next(iter(running.workers().items()))
    limit = time.monotonic() + 120
    while not _versions(running.settings.shared_folder) and time.monotonic() < limit:
        time.sleep(0.005)
    os.kill(process, signal.SIGSTOP)
    try:
        time.sleep(0.3)  # what it said before has arrived by then
        assert running.client.processing()[address]
        return _versions(running.settings.shared_folder)
    finally:
        os.kill(process, signal.SIGKILL)
