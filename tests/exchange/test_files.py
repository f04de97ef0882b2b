"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from linkage.exchange import atomic_write


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
