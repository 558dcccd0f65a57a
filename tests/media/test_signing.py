"""Signed outputs, checked by the C2PA library's reader; certificates are made here."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dubcli.config import DubOptions
from dubcli.errors import InputError, MissingExtraError
from dubcli.media.probe import probe_audio, probe_video
from dubcli.media.provenance import SOURCE_TYPE, Credentials, Mark
from dubcli.media.reader import FrameReader
from dubcli.media.signing import credentials_of
from dubcli.media.writer import FrameWriter

c2pa = pytest.importorskip("c2pa")
if shutil.which("openssl") is None:
    pytest.skip("openssl makes the certificates", allow_module_level=True)

Make = Callable[..., Path]
CONFIG = """[req]
distinguished_name=dn
prompt=no
[dn]
CN={name}
O=tests of dubcli
[root]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign
subjectKeyIdentifier=hash
[signer]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=critical,emailProtection
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
"""


def openssl(folder: Path, command: str) -> None:
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a chain, its key, a key of nobody and a self-signed certificate."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("root", "signer"):
        (folder / f"{name}.cnf").write_text(CONFIG.format(name=name))
    curve = "-algorithm EC -pkeyopt ec_paramgen_curve:P-256"
    for name in ("root", "signer", "other"):
        openssl(folder, f"genpkey {curve} -out {name}.key")
    openssl(folder, "req -x509 -new -key root.key -days 9 -config root.cnf -extensions root "
            "-out root.pem")  # fmt: skip
    openssl(folder, "req -new -key signer.key -config signer.cnf -out signer.csr")
    openssl(folder, "x509 -req -in signer.csr -CA root.pem -CAkey root.key -CAcreateserial "
            "-days 9 -extfile signer.cnf -extensions signer -out signer.pem")  # fmt: skip
    chain = (folder / "signer.pem").read_text() + (folder / "root.pem").read_text()
    (folder / "chain.pem").write_text(chain)
    return folder


def options(keys: Path, certificate: str = "chain.pem", key: str = "signer.key") -> DubOptions:
    return DubOptions(c2pa_certificate=str(keys / certificate), c2pa_key=str(keys / key))


def write(video: Path, sound: Path, output: Path, mark: Mark) -> None:
    info, speech = probe_video(video), probe_audio(sound)
    with (
        FrameReader(info) as reader,
        FrameWriter(output, info, speech=speech, frame_count=info.frame_count or 0,
                    options=DubOptions(preset="ultrafast"), mark=mark) as writer,
    ):  # fmt: skip
        for frame in reader:
            writer.write(frame.rgb)


def state(path: Path) -> str:
    return str(json.loads(c2pa.Reader(str(path)).json())["validation_state"])


@pytest.mark.parametrize("extension", ["mp4", "mov"])
def test_signed_file_is_valid_plays_as_before_and_shows_a_change(
    clip: Make, speech: Make, raw: Callable[..., bytes], keys: Path, tmp_path: Path, extension: str
) -> None:
    video, sound = clip("a.mp4", s=0.4), speech(s=0.4)
    plain, signed = tmp_path / f"plain.{extension}", tmp_path / f"signed.{extension}"
    credentials = credentials_of(options(keys), signed)
    assert credentials == Credentials(keys / "chain.pem", keys / "signer.key")
    mark = Mark("dubcli 9.8", (("renderer", "ab"),))
    write(video, sound, plain, mark)
    write(video, sound, signed, replace(mark, credentials=credentials))
    assert sorted(tmp_path.iterdir()) == [plain, signed]
    for kind in (("-map", "0:v", "-f", "rawvideo"), ("-map", "0:a", "-f", "f32le")):
        assert raw(signed, *kind) == raw(plain, *kind)
    assert state(signed) == "Valid"
    found = json.loads(c2pa.Reader(str(signed)).json())
    assertions = found["manifests"][found["active_manifest"]]["assertions"]
    (actions,) = [each["data"] for each in assertions if each["label"].startswith("c2pa.actions")]
    (action,) = actions["actions"]
    assert action["digitalSourceType"] == SOURCE_TYPE
    assert action["softwareAgent"]["version"] == "9.8"
    data = bytearray(signed.read_bytes())
    assert b"DigitalSourceType" in data  # the XMP packet is still there
    at = data.index(b"mdat") + 100
    data[at] ^= 1
    signed.write_bytes(data)
    assert state(signed) == "Invalid"


def test_what_cannot_sign_is_refused_before_the_work(keys: Path, tmp_path: Path) -> None:
    output = tmp_path / "o.mp4"
    good = options(keys)
    assert credentials_of(DubOptions(), output) is None
    for wrong, target, said in (
        (replace(good, c2pa_key=None), output, "--c2pa-key is missing: signing takes"),
        (replace(good, provenance=False), output, "--no-provenance leaves nothing to sign"),
        (good, output.with_suffix(".mkv"), "o.mkv: this container cannot be signed"),
        (options(keys, "none.pem"), output, "none.pem: there is no such file"),
        (options(keys, key="other.key"), output, "chain.pem: cannot sign with"),
        (options(keys, "root.pem", "root.key"), output, "root.pem: cannot sign with"),
        (options(keys, "root.cnf"), output, "root.cnf: cannot sign with"),
        (options(keys, key="root.cnf"), output, "chain.pem: cannot sign with"),
    ):
        with pytest.raises(InputError) as raised:
            credentials_of(wrong, target)
        assert said in str(raised.value)
        assert "\n" not in str(raised.value)


def test_missing_signer_is_told_with_its_remedy(
    keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dubcli\[c2pa\]'"):
        credentials_of(options(keys), tmp_path / "o.mp4")
