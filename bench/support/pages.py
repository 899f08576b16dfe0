"""Tables of results in pages of docs/: each stands between two comments, and the command that measures writes it."""

from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "frameworks.md"


def write(name: str, text: str, page: Path = PAGE) -> None:
    """Put `text` between `<!-- begin NAME -->` and `<!-- end NAME -->`. Raises ValueError if these are missing."""
    whole = page.read_text(encoding="utf-8")
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    before, _, rest = whole.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"{page.name} has no place for {name}")
    page.write_text(f"{before}{begin}\n{text.strip()}\n\n{end}{after}", encoding="utf-8")
