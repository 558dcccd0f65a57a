"""A Chromium driven over its DevTools protocol, and a report whose every frame is known."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import websocket

from dubcli.checkpoints import ManifestEntry
from dubcli.config import DubOptions
from dubcli.media.binary import find_ffmpeg
from dubcli.media.lengths import plan_length
from dubcli.media.probe import probe_video
from dubcli.records import NO_FACE, TURNED_AWAY
from dubcli.report.records import Curves, Number, QcReport

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE_S = 60.0
PAUSE_S = 0.02


@dataclass
class Chromium:
    """One page of a running Chromium, and all that it did."""

    socket: websocket.WebSocket
    session: str | None = None
    sent: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def send(self, method: str, **parameters: object) -> dict[str, Any]:
        """Return the answer to a command; events that come before it are kept."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": parameters}
        if self.session is not None:
            message["sessionId"] = self.session
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") != self.sent:
                self.events.append(answer)
                continue
            assert "error" not in answer, (method, answer["error"])
            result: dict[str, Any] = answer["result"]
            return result

    def run(self, script: str) -> Any:
        """Return the value of an expression, awaited if it is a promise."""
        done = self.send(
            "Runtime.evaluate",
            expression=script,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE_S
        while not self.run(script):
            assert time.monotonic() < end, f"never true: {script}"
            time.sleep(PAUSE_S)

    def open(self, path: Path, width: int = 1280, height: int = 800) -> None:
        """Load a file from disk."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self.send("Page.navigate", url=path.resolve().as_uri())
        self.wait("document.readyState === 'complete' && location.protocol === 'file:'")

    def press(self, key: str, code: str | None = None, *, text: str | None = None) -> None:
        """Press and release a key."""
        told = {"key": key, "code": code or key, **({"text": text} if text else {})}
        if len(key) > 1:
            told["windowsVirtualKeyCode"] = {"ArrowLeft": 37, "ArrowRight": 39}.get(key, 0)
        self.send("Input.dispatchKeyEvent", type="keyDown", **told)
        self.send("Input.dispatchKeyEvent", type="keyUp", **told)

    def drag(self, *points: tuple[float, float]) -> None:
        """Press the mouse at the first point, move it over the others and let go; px."""
        common = {"button": "left", "clickCount": 1}
        for kind, (x, y) in (
            ("mousePressed", points[0]),
            *(("mouseMoved", point) for point in points[1:]),
            ("mouseReleased", points[-1]),
        ):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, buttons=1, **common)

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Return left, top, width and height of an element, px."""
        script = (
            f"(() => {{ const b = document.querySelector('{selector}').getBoundingClientRect();"
            " return [b.left, b.top, b.width, b.height]; })()"
        )
        left, top, width, height = self.run(script)
        return left, top, width, height

    def picture(self) -> bytes:
        """Return a PNG of what is seen."""
        return base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"])


def why_not() -> str | None:
    """Return why no browser can be started here; None if one can."""
    if not any(map(shutil.which, NAMES)):
        return "no Chromium on PATH (Debian: apt-get install chromium)"
    return None


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Return a page of a headless Chromium; skip where there is none."""
    if reason := why_not():
        pytest.skip(reason)
    program = next(path for path in map(shutil.which, NAMES) if path)
    profile = tmp_path_factory.mktemp("chromium")
    flags = [
        "--headless=new",
        "--remote-debugging-port=0",
        f"--user-data-dir={profile}",
        "--autoplay-policy=no-user-gesture-required",
        "--mute-audio",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
        "--no-sandbox",  # the page is our own, and neither root nor most containers have one
    ]
    with (profile / "log").open("wb") as log:
        process = subprocess.Popen([program, *flags, "about:blank"], stdout=log, stderr=log)
        try:
            told = _wait_for(profile / "DevToolsActivePort", process)
            port, path = told.split()
            socket = websocket.create_connection(
                f"ws://127.0.0.1:{port}{path}", timeout=PATIENCE_S, suppress_origin=True
            )
            page = Chromium(socket)
            target = page.send("Target.createTarget", url="about:blank")["targetId"]
            attached = page.send("Target.attachToTarget", targetId=target, flatten=True)
            page.session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                page.send(f"{domain}.enable")
            yield page
            socket.close()
        finally:
            process.terminate()
            process.wait()


def _wait_for(file: Path, process: subprocess.Popen[bytes]) -> str:
    """Return a file's two lines once the browser has written them."""
    end = time.monotonic() + PATIENCE_S
    while True:
        if file.is_file() and len(text := file.read_text().splitlines()) >= 2:
            return " ".join(text)
        said = (file.parent / "log").read_text(errors="replace")
        assert process.poll() is None, said
        assert time.monotonic() < end, said
        time.sleep(PAUSE_S)


RATE = Fraction(30000, 1001)
FRAMES, SOURCE_FRAMES = 90, 60  # the speech is longer: the source runs back from frame 59
WIDTH, HEIGHT = 256, 144
CELL = 32  # a frame shows its number as 8 cells, black or white, lowest bit first


def run_ffmpeg(*arguments: object) -> None:
    command = [find_ffmpeg(), "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def numbered(target: Path, frames: int, colour: str, *sound: object) -> Path:
    """Make a video whose frames show their numbers in their upper half, and a colour below."""
    bit = f"mod(floor(N/pow(2,floor(X/{CELL}))),2)"
    number = f"if(lt(Y,{HEIGHT // 2}),255*{bit},p(X,Y))"
    picture = f"color={colour}:s={WIDTH}x{HEIGHT}:r={RATE},format=gbrp"
    chain = f"geq=r='{number.replace('p(', 'r(')}':g='{number.replace('p(', 'g(')}'"
    chain += f":b='{number.replace('p(', 'b(')}',format=yuv420p"
    given = ["-f", "lavfi", "-i", picture, *sound, "-vf", chain, "-frames:v", frames]
    run_ffmpeg(*given, "-crf", 12, "-preset", "ultrafast", target)
    return target


def made_curves() -> Curves:
    """Return a dub with two pass-through ranges, three of low confidence, and three cuts.

    The source cuts at its frame 40. The output shows frames 0 to 59 and then 58 to 29, so it cuts
    at 40 and again between source frames 40 and 39, at output frame 79. The third is at 20.
    """
    source = np.array([*range(60), *range(58, 28, -1)])
    shot = np.where(source < 20, 0, np.where(source < 40, 1, 2))
    amount = np.ones(FRAMES, dtype=np.float32)
    turn = np.full(FRAMES, 0.1, dtype=np.float32)
    amount[10:15], turn[10:15] = 0, np.nan
    amount[15:18] = [0.25, 0.5, 0.75]
    turn[30:33], amount[30:33] = 1.3, 0
    turn[33:36], amount[33:36] = 1.0, 0.5
    turn[50:55] = 0.8
    dubbed = amount > 0
    time_s = np.arange(FRAMES) / float(RATE)
    nothing = np.float32(np.nan)
    made = (0.5 + 0.4 * np.sin(2 * np.pi * 2 * time_s)).astype(np.float32)
    real = (0.4 + 0.3 * np.sin(2 * np.pi * 3 * time_s)).astype(np.float32)
    return Curves(
        source=source,
        shot=shot,
        dubbed=dubbed,
        reason=np.where(dubbed, 0, np.where(np.isnan(turn), NO_FACE, TURNED_AWAY)),
        amount=amount,
        turn_rad=turn,
        opening_cm=np.where(dubbed, made, nothing),
        source_opening_cm=np.where(np.isnan(turn), nothing, real),
    )


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., QcReport]:
    """Return a function that makes a report of a known dub, with values put in place of others."""
    folder = tmp_path_factory.mktemp("report")
    tone = ("-f", "lavfi", "-i", "sine=440:r=16000", "-shortest", "-t", FRAMES / float(RATE))
    video = numbered(folder / "source.mp4", SOURCE_FRAMES, "red")
    output = numbered(folder / "dub.mp4", FRAMES, "blue", *tone)

    def make(**changes: object) -> QcReport:
        values: dict[str, Any] = {
            "video": video,
            "speech": folder / "speech.wav",
            "output": output,
            "info": probe_video(video),
            "plan": plan_length("bounce", SOURCE_FRAMES, FRAMES / RATE, RATE),
            "curves": made_curves(),
            "numbers": (
                Number("LSE-C", "mouth", 3.5, 6.25, "", "higher", None),
                Number("PSNR", "lower", float("inf"), None, "dB", "higher", "of <b>equals</b>"),
            ),
            "options": DubOptions(),
            "device": "cpu",
            "models": (
                ManifestEntry("renderer", "r.st", "ab" * 32, 9, "Net", "MIT", "clips", "card.md"),
            ),
            "seconds": {"track": 1.25, "render": 30.0},
            "warnings": ("it is <late> & \"quoted\" 'twice'",),
            "made": "2026-01-02T03:04:05+00:00",
        }
        return QcReport(**(values | changes))

    return make
