"""The long description: the README with its links made absolute, since package indexes resolve none that are relative."""

import re
import runpy
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
RAW = r"\.(svg|png|gif)$"


def absolute(text: str, repository: str, ref: str) -> str:
    """Markdown with every relative link pointing into the repository; pictures to their raw files."""

    def link(match: re.Match) -> str:
        where = match[2].removeprefix("./")
        if re.match(r"[a-z]+:|#|/", where):
            return match[0]
        kind = "raw" if re.search(RAW, where) or match[1].startswith("!") else "blob"
        return f"{match[1]}({repository}/{kind}/{ref}/{where})"

    parts = re.split(r"(^```.*?^```|`[^`\n]+`(?!\]))", text, flags=re.M | re.S)  # links in code stay
    return "".join(p if p.startswith("`") else re.sub(r"(!?\[[^\]]*\])\(([^)\s]+)\)", link, p) for p in parts)


if __name__ == "__main__":
    repository = runpy.run_path(str(ROOT / "metabench/checkout.py"))["REPOSITORY"]
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]
    setup(
        long_description=absolute((ROOT / "README.md").read_text(encoding="utf-8"), repository, f"v{version}"),
        long_description_content_type="text/markdown",
    )
