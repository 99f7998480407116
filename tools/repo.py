"""The public address of the repository: where it stands, and how it is changed everywhere at once.

``[project.urls] Repository`` in pyproject.toml is what counts. Readers install code from this address, so
``python -m tools.repo --is URL`` lets the publishing workflow refuse to run under any other.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

from tools import Stop, run_main

FORM = re.compile(r"https://github\.com/(?P<owner>[A-Za-z0-9-]+)/(?P<name>[A-Za-z0-9._-]*[A-Za-z0-9_-])")
BUILT = {".git", ".venv", ".exec", "_build", "node_modules", "vendor", "__pycache__", "mmbook.egg-info"}
TEXT = {
    "",
    ".cff",
    ".css",
    ".ipynb",
    ".js",
    ".json",
    ".md",
    ".mjs",
    ".py",
    ".svg",
    ".toml",
    ".txt",
    ".yaml",
    ".yml",
}


def current(root: Path = Path()) -> str:
    """The address in pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["urls"]["Repository"]


def split(url: str) -> tuple[str, str]:
    """Owner and name in an address.

    Raises:
        Stop: it is not ``https://github.com/<owner>/<name>``.
    """
    match = FORM.fullmatch(url)
    if match is None or match["name"].endswith(".git"):
        raise Stop(
            f"{url!r} is not an address like https://github.com/owner/name (no .git, no slash at the end)"
        )
    return match["owner"], match["name"]


def site(url: str) -> str:
    """Where GitHub Pages serves the book of a repository, without ``https://``."""
    owner, name = split(url)
    host = f"{owner.lower()}.github.io"
    return host if name.lower() == host else f"{host}/{name}"


def files(root: Path) -> list[Path]:
    """Every text file of the project that people write."""
    found = (
        path
        for path in root.rglob("*")
        if path.suffix in TEXT and not BUILT & set(path.relative_to(root).parts)
    )
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def rewrite(root: Path, url: str) -> list[Path]:
    """Put `url` in place of the current address in all files; the files that changed.

    The repository's address (also in a Colab link, as ``github/owner/name``) and that of its pages change.
    """
    old = current(root)
    slug, new_slug = "/".join(split(old)), "/".join(split(url))
    address = re.compile(rf"(?<=github)(\.com)?/{re.escape(slug)}(?![\w-])")
    pages = re.compile(rf"(?<![\w.-]){re.escape(site(old))}(?![\w-])")
    changed = []
    for path in files(root):
        before = path.read_bytes().decode("utf-8", errors="surrogateescape")
        after = address.sub(rf"\1/{new_slug}", before)
        after = pages.sub(site(url), after)
        if after != before:
            path.write_bytes(after.encode("utf-8", errors="surrogateescape"))
            changed.append(path)
    return changed


def main(arguments: list[str]) -> None:
    """``URL`` rewrites; ``--is URL`` checks."""
    match arguments:
        case ["--is", url]:
            if url != current():
                raise Stop(
                    f"this runs in {url}, but pyproject.toml says {current()}: the book would tell readers "
                    f"to install code from there. Run `make repo URL={url}` and commit the change"
                )
        case [url]:
            old = current()
            changed = rewrite(Path(), url)
            print(f"{old} -> {url} in {len(changed)} files:", *changed, sep="\n  ")
        case _:
            raise Stop(f"say which address: make repo URL=https://github.com/owner/name (now: {current()})")


if __name__ == "__main__":
    run_main(main, sys.argv[1:])
