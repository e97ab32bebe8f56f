"""Memory as the kernel tells it, and where it tells nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from trunkline import machine


def test_of_this_machine_and_process():
    available, resident, peak = machine.available_memory(), machine.resident_memory(), machine.peak_memory()
    assert available is not None
    assert available > 2**20
    assert resident is not None
    assert peak is not None
    assert 2**20 < resident <= peak + 2**20


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB available."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:  {8 * 2**20} kB\n")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "CGROUP_ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_limit_holds_and_its_cache_can_be_freed(fake: Path, version: int):
    assert machine.available_memory() == 8 * 2**30
    folder = fake / "memory" if version == 1 else fake
    folder.mkdir(exist_ok=True)
    most, used, name = (
        ("limit_in_bytes", "usage_in_bytes", "total_inactive_file") if version == 1 else ("max", "current", "inactive_file")
    )
    (folder / f"memory.{most}").write_text(f"{4 * 2**30}\n")
    (folder / f"memory.{used}").write_text(f"{3 * 2**30}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{name} {2**30}\n")
    assert machine.available_memory() == 2 * 2**30
    (folder / f"memory.{most}").write_text("max\n")
    assert machine.available_memory() == 8 * 2**30


def test_where_the_kernel_says_nothing(fake: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(machine, "MEMINFO", fake / "nowhere")
    monkeypatch.setattr(machine, "STATUS", fake / "nowhere")
    assert machine.available_memory() is None
    assert machine.peak_memory() is None
