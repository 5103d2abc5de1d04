"""Site folders for tests: channels given as text, put where the engine looks for them."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent


def make_site(folder: Path, channels: Mapping[str, str | Mapping[str, str | bytes]], settings: str = "") -> Path:
    """Write a site into `folder` and return it.

    A channel is its `channel.yaml` as text, or a mapping of paths in its folder to their contents
    (`{"channel.yaml": ..., "tables/sex.csv": ...}`). Text is dedented. `settings` becomes `segmill.yaml`;
    without it there is none, and every setting has its default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if settings:
        (folder / "segmill.yaml").write_text(dedent(settings), encoding="utf-8")
    for name, content in channels.items():
        files = {"channel.yaml": content} if isinstance(content, str) else content
        for path, data in files.items():
            target = folder / "channels" / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data if isinstance(data, bytes) else dedent(data).encode())
    return folder
