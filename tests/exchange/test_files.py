"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from linkage.exchange import atomic_write
from linkage.exchange.files import remove_parts


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    with atomic_write(target, private=True) as temporary:
        temporary.write_text("first")
        assert not target.exists()
    if os.name == "posix":
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with pytest.raises(KeyboardInterrupt), atomic_write(target) as temporary:
        temporary.write_text("second")
        raise KeyboardInterrupt
    assert target.read_text() == "first"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.skipif(sys.platform == "win32", reason="looks at the flags of a POSIX descriptor")
def test_what_is_flushed_is_open_for_writing_as_windows_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fcntl

    flags: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: flags.append(fcntl.fcntl(descriptor, fcntl.F_GETFL)))
    with atomic_write(tmp_path / "file") as temporary:
        temporary.write_text("content")
    assert [flag & os.O_ACCMODE for flag in flags] == [os.O_RDWR]


def test_only_what_a_write_of_this_very_file_has_left_is_removed(tmp_path: Path) -> None:
    target = tmp_path / "quality.json"
    with atomic_write(target) as temporary:
        left = temporary
    left.write_text("half")
    others = ["quality.json", ".quality.json.part", ".other.json.0123456789ab.part", ".quality.json.0123456789AB.part"]
    others += ["quality.json.0123456789ab.part", ".quality.json.0123456789ab.part.txt"]
    for name in others:
        (tmp_path / name).write_text("whole")
    remove_parts(target)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    remove_parts(tmp_path / "gone" / "file")
    remove_parts(target / "file")  # not a folder


def test_a_folder_that_the_system_refuses_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> Iterator[Path]:
        raise PermissionError(13, "refused")

    monkeypatch.setattr(Path, "iterdir", refuse)
    remove_parts(tmp_path / "file")
