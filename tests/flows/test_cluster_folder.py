"""The shared folder: what is read back from it is looked at first, and nothing is left in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flows import hub, shards, sweep
from flows.shards import examine_shard, shared_comparison
from linkage.errors import LinkError
from linkage.exchange import file_digest
from linkage.hub.encoded import Encoded
from linkage.hub.plan import Found, load_found, load_plan, save_found, save_plan


def _put(array: np.ndarray, value: Any) -> np.ndarray:
    out = array.copy()
    out[0] = value
    return out


@pytest.mark.parametrize(
    "wrong",
    [
        lambda found: {"left": _put(found.left, -1)},
        lambda found: {"right": _put(found.right, 1 << 30)},
        lambda found: {"left": found.left.astype(np.int64)},
        lambda found: {"right": found.right[1:]},
        lambda found: {"levels": _put(found.levels, 200)},
        lambda found: {"strata": _put(found.strata, 200)},
        lambda found: {"strata": _put(found.strata, 255)},
        lambda found: {"levels": found.levels[:, :1]},
        lambda found: {"parted": found.parted[:, None]},
        lambda found: {"parted": _put(found.parted, 1)},
        lambda found: {"counts": found.counts[1:]},
        lambda found: {"scored": np.array([np.nan])},
        lambda found: {"last": found.last + 1},
        lambda found: {"kind": "keys"},
    ],
)
def test_a_finding_whose_numbers_cannot_be_is_refused(wrong: Any, two_sources: Encoded, tmp_path: Path) -> None:
    def examiner(folder: str, names: Sequence[str]) -> list[str]:
        digests = [examine_shard(folder, name) for name in names]
        path = Path(folder) / f"{names[0]}.npz"
        found: Found = load_found(path)
        save_found(replace(found, **wrong(found)), path)
        return [file_digest(path), *digests[1:]]

    with pytest.raises(LinkError) as error, shared_comparison(tmp_path, examiner, shards=2) as comparer:
        comparer(two_sources, 0)
    assert error.value.reason == "damaged"


def test_a_finding_that_is_a_broken_archive_is_refused(two_sources: Encoded, tmp_path: Path) -> None:
    def examiner(folder: str, names: Sequence[str]) -> list[str]:
        for name in names:
            (Path(folder) / f"{name}.npz").write_bytes(b"PK\x03\x04 and no more")
        return [file_digest(Path(folder) / f"{name}.npz") for name in names]

    with pytest.raises(LinkError) as error, shared_comparison(tmp_path, examiner, shards=2) as comparer:
        comparer(two_sources, 0)
    assert error.value.reason == "damaged"


def test_a_plan_in_the_folder_is_not_believed(
    two_sources: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[bytes] = []

    def examiner(folder: str, names: Sequence[str]) -> list[str]:
        path = Path(folder) / shards.PLAN
        plans.append(path.read_bytes())
        if len(plans) == 1:
            plan = load_plan(path)
            save_plan(replace(plan, threshold=np.asarray(plan.threshold + 1)), path)
            raise KeyboardInterrupt
        return [examine_shard(folder, name) for name in names]

    with monkeypatch.context() as patched:
        patched.setattr(shards, "_remove", lambda place: None)
        with pytest.raises(KeyboardInterrupt), shared_comparison(tmp_path, examiner, shards=2) as comparer:
            comparer(two_sources, 0)
    with shared_comparison(tmp_path, examiner, shards=2) as comparer:
        comparer(two_sources, 0)
    assert plans[0] == plans[1]


def _fail(place: Path) -> None:
    raise OSError(16, "busy", str(place))


def test_a_folder_that_cannot_be_removed_hides_no_error(
    two_sources: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(folder: str, names: Sequence[str]) -> list[str]:
        raise LinkError("out of luck", reason="luck")

    monkeypatch.setattr(shards.shutil, "rmtree", _fail)
    with pytest.raises(LinkError) as error, shared_comparison(tmp_path, fails, shards=2) as comparer:
        comparer(two_sources, 0)
    assert error.value.reason == "luck"
    told = capsys.readouterr().err
    assert "encodings are left" in told and "python -m flows.sweep" in told


def test_a_run_that_ends_well_and_cannot_remove_its_folder_says_so(
    two_sources: Encoded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with shared_comparison(tmp_path, _examine, shards=2) as comparer:
        candidates = comparer(two_sources, 0)
        monkeypatch.setattr(shards.shutil, "rmtree", _fail)
    assert len(candidates.left), "the run itself is whole"
    told = capsys.readouterr().err
    assert "encodings are left" in told and "python -m flows.sweep" in told


def _examine(folder: str, names: Sequence[str]) -> list[str]:
    return [examine_shard(folder, name) for name in names]


LEFT = ("0123456789abcdef" * 2, f".{'0123456789abcdef' * 2}.0123456789ab")


def _leave(folder: Path) -> None:
    for name in LEFT:
        (folder / name / "deeper").mkdir(parents=True)
        (folder / name / "deeper" / "rows-00000.parquet").write_bytes(b"encodings")
    (folder / "of somebody else").mkdir()


def test_a_run_that_comes_to_no_comparison_sweeps_all_the_same(tmp_path: Path) -> None:
    _leave(tmp_path)
    with shared_comparison(tmp_path, _examine):
        pass
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["lock", "of somebody else"]


def test_one_folder_that_cannot_be_removed_does_not_keep_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _leave(tmp_path)
    remove = shards._remove
    monkeypatch.setattr(shards, "_remove", lambda place: _fail(place) if place.name == LEFT[0] else remove(place))
    with pytest.raises(OSError, match="busy"):
        shards.sweep(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted([LEFT[0], "lock", "of somebody else"])


def test_what_a_link_leads_to_is_left_alone(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / LEFT[0]).symlink_to(kept)
    assert shards.sweep(tmp_path / "shared") == 1
    assert kept.is_dir() and [entry.name for entry in (tmp_path / "shared").iterdir()] == ["lock"]


def _settings(tmp_path: Path) -> Path:
    path = tmp_path / "linkage.toml"
    lines = ['project = "test"', 'epoch = "1"', 'profile = "default"', "[hub]"]
    lines += [f'{name} = "{name}"' for name in ("party_key", "analysis", "inbox", "state")]
    lines += ["[hub.senders]", "[hub.agreements]", "[hub.cluster]"]
    lines += ['scheduler = "tcp://127.0.0.1:9"', 'shared_folder = "shared"']
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_folder_is_swept_by_hand_and_not_under_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = _settings(tmp_path)
    assert sweep.main(settings=settings) == {"removed": 0}
    _leave(tmp_path / "shared")
    with shared_comparison(tmp_path / "elsewhere", _examine):
        assert sweep.main(settings=settings) == {"removed": 2}
    with shared_comparison(tmp_path / "shared", _examine), pytest.raises(LinkError) as error:
        sweep.main(settings=settings)
    assert error.value.reason == "busy"


def test_a_run_that_ends_beside_another_leaves_the_folder_to_it_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = _settings(tmp_path)
    with shared_comparison(tmp_path / "shared", _examine):
        hub._sweep_shared(str(settings))
    assert "warning" not in capsys.readouterr().err
    monkeypatch.setattr(hub, "sweep", _fail)
    hub._sweep_shared(str(settings))
    assert "warning: the cluster's shared folder could not be swept" in capsys.readouterr().err


def test_a_run_of_the_hub_that_ends_before_it_compares_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(settings: str | None) -> dict[str, int]:
        raise LinkError("refused", reason="refused")

    settings = _settings(tmp_path)
    _leave(tmp_path / "shared")
    monkeypatch.setattr(hub, "take_in_batches", refused)
    with pytest.raises(LinkError) as error:
        hub.hub.fn("2026-11", str(settings))
    assert error.value.reason == "refused"
    assert sorted(entry.name for entry in (tmp_path / "shared").iterdir()) == ["lock", "of somebody else"]
