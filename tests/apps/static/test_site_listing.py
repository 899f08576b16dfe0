"""The list of a folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from allcomers.apps.static import listing
from allcomers.apps.static.html import FolderEntry, folder_page
from allcomers.apps.static.site import Site
from allcomers.protocol.message import Request, Response


def page_of(site: Site, target: str = "/", prefix: str = "") -> str:
    request = Request(method="GET", target=target)
    request.prefix = prefix
    response = site(request)
    assert response.status == 200
    return text_of(response)


def text_of(response: Response) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


def links(page: str) -> list[str]:
    return re.findall(r'href="([^"]*)"', page)


def test_folders_first_then_names_without_case(tmp_path: Path) -> None:
    for name in ("b", "A", "c.d"):
        (tmp_path / name).mkdir()
    for name in ("Z.txt", "a.txt", "B.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert links(page_of(Site(tmp_path, listing=True))) == ["./A/", "./b/", "./c.d/", "./a.txt", "./B.txt", "./Z.txt"]


def test_parent_but_not_at_the_top(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    site = Site(tmp_path, listing=True)
    assert links(page_of(site, "/sub/")) == ["./../"]
    assert links(page_of(site, "/", prefix="/files")) == ["./sub/"]
    assert "<h1>Index of /files/sub/</h1>" in page_of(site, "/sub/", prefix="/files")


def test_sizes_and_dates(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 1500)
    os.utime(tmp_path / "a", (0, 784111777))
    page = page_of(Site(tmp_path, listing=True))
    assert '<td class="size">1.5 kB</td>' in page
    assert '<time datetime="1994-11-06T08:49:37Z">1994-11-06 08:49</time>' in page


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1.0 MB"),
        (10**30, f"{1e15:.1f} PB"),
    ],
)
def test_size_for_people(size: int, shown: str) -> None:
    page = text_of(folder_page("/", [FolderEntry(b"a", False, size, 0)], has_parent=False, left_out=0))
    assert f">{shown}<" in page


@pytest.mark.parametrize("moment", [1 << 70, -(1 << 70), -1])
def test_dates_that_no_calendar_has(moment: int) -> None:
    assert 'href="./a"' in text_of(
        folder_page("/", [FolderEntry(b"a", False, 1, moment)], has_parent=False, left_out=0)
    )


def test_names_are_escaped(tmp_path: Path) -> None:
    names = [
        '<img src=x onerror="alert(1)">',
        "javascript:alert(1)",
        "a'b&c",
        "é%2e#?.txt",
        "\udcff",
        "a\nb",
        "{title}",
    ]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    site = Site(tmp_path, listing=True)
    page = page_of(site)
    assert "<img" not in page
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;" in page
    assert len(links(page)) == len(names)
    for link in links(page):
        assert re.fullmatch(r"\./[A-Za-z0-9._~%-]+", link)
        assert site(Request(method="GET", target=link[1:])).status == 200  # what is listed can be had
    response = site(Request(method="GET", target="/"))
    assert "default-src 'none'" in dict(response.headers)["Content-Security-Policy"]


def test_path_in_the_title_is_escaped(tmp_path: Path) -> None:
    (tmp_path / "<b>").mkdir()
    page = page_of(Site(tmp_path, listing=True), "/%3Cb%3E/")
    assert "<h1>Index of /&lt;b&gt;/</h1>" in page


def test_only_what_can_be_had_is_listed(tmp_path: Path) -> None:
    root = tmp_path / "public"
    (root / "sub").mkdir(parents=True)
    (root / ".git").mkdir()
    (root / ".well-known").mkdir()
    (root / ".env").write_bytes(b"x")
    (root / "back\\slash").write_bytes(b"x")
    (root / "file").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"x" * 31337)
    os.mkfifo(root / "fifo")
    for name, target in {"out": "../secret", "loop": "loop", "none": "x", "in": "file", "folder": "sub"}.items():
        (root / name).symlink_to(target)
    shown = links(page_of(Site(root, listing=True)))
    assert shown == ["./.well-known/", "./folder/", "./sub/", "./file", "./in"]
    assert "./out" in links(page_of(Site(root, listing=True, follow_links=True)))


def test_index_wins_over_a_list(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_bytes(b"index")
    assert page_of(Site(tmp_path, listing=True)) == "index"
    (tmp_path / "index.html").unlink()
    (tmp_path / "index.html").mkdir()
    assert links(page_of(Site(tmp_path, listing=True))) == ["./index.html/"]


def test_no_list_unless_asked_for(tmp_path: Path) -> None:
    assert Site(tmp_path)(Request(method="GET", target="/")).status == 404


def test_list_is_not_kept(tmp_path: Path) -> None:
    response = Site(tmp_path, listing=True, cache_control="max-age=31536000, immutable")(
        Request(method="GET", target="/")
    )
    assert dict(response.headers)["Cache-Control"] == "no-cache"


def test_a_long_list_is_cut_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MAX_ENTRIES", 3)
    for number in range(5):
        (tmp_path / f"{number}").write_bytes(b"")
    page = page_of(Site(tmp_path, listing=True))
    assert links(page) == ["./0", "./1", "./2"]
    assert "2 more are not listed." in page
