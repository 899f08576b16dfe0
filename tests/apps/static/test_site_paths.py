"""No way out of the root: paths, links, races."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from allcomers.apps.static import tree
from allcomers.apps.static.site import Site
from allcomers.protocol.message import FileSlice, Request, Response

SECRET = b"secret"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a site with a secret beside it, and links of every kind."""
    top = tmp_path_factory.mktemp("paths")
    root = top / "public"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "c.txt").write_bytes(b"inside")
    (root / "index.html").write_bytes(b"home")
    (top / "secret").mkdir()
    (top / "secret" / "index.html").write_bytes(SECRET)
    (top / "secret.txt").write_bytes(SECRET)
    (top / "public2").mkdir()  # its name begins as the root's does
    (top / "public2" / "x.txt").write_bytes(SECRET)
    for name, target in {
        "out": "../secret",
        "out.txt": "../secret.txt",
        "absolute.txt": str(top / "secret.txt"),
        "neighbour": "../public2",
        "round": "a/../../secret",
        "through": "out",
        "loop": "loop",
        "passwd": "/etc/passwd",
        "in": "a/b",
        "in.txt": "a/b/c.txt",
        "in-absolute.txt": str(root / "a" / "b" / "c.txt"),
        "self": ".",
        "back": "../public",
        "dangling": "none",
    }.items():
        (root / name).symlink_to(target)
    return root


def get(site: Site, target: str) -> Response:
    response = site(Request(method="GET", target=target))
    if isinstance(response.body, FileSlice):
        response.body = response.body.read(1 << 20)
    if response.close:
        response.close()
    return response


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.txt",
        "/a/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/%2E%2E%2Fsecret.txt",
        "/.%2e/secret.txt",
        "/a/%2e%2e/%2e%2e/secret.txt",
        "/%%32%65%%32%65/secret.txt",
        "/%252e%252e/secret.txt",
        "/%252e%252e%252fsecret.txt",
        "/..%252fsecret.txt",
        "/..%5csecret.txt",
        "/%5c..%5csecret.txt",
        "/..\\secret.txt",
        "/a%5c..%5c..%5csecret.txt",
        "/..%c0%afsecret.txt",
        "/%c0%ae%c0%ae/secret.txt",
        "/..%ef%bc%8fsecret.txt",
        "/..;/secret.txt",
        "/index.html%00.txt",
        "/%00",
        "/a/b/c.txt%00",
        "/%2e%2e%00/secret.txt",
        "/a/./b/c.txt",
        "/.",
        "/..",
        "/a/..",
        "/./",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/a//b/c.txt",
        "etc/passwd",
        "/~root/.bashrc",
        "/" + "../" * 5000 + "etc/passwd",
        "/" + "a" * 256,
        "/" + "a" * 5000,
        "/a/" + "b/" * 3000,
        "/" + "self/" * 3000 + "index.html",
    ],
    ids=lambda target: target[:40],
)
def test_bad_input_71_never_outside_the_root(root: Path, target: str) -> None:
    for follow in (False, True):
        response = get(Site(root, listing=True, follow_links=follow), target)
        assert response.status == 404
        assert SECRET not in bytes(response.body)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target",
    [
        *("/out/", "/out", "/out/index.html", "/out.txt", "/absolute.txt", "/neighbour/x.txt", "/round/index.html"),
        *(
            "/through/index.html",
            "/loop",
            "/loop/x",
            "/passwd",
            "/dangling",
            "/self/out.txt",
            "/in/../out.txt",
            "/back/out/",
        ),
    ],
)
def test_bad_input_72_links_that_lead_out(root: Path, target: str) -> None:
    response = get(Site(root, listing=True), target)
    assert response.status == 404
    assert SECRET not in bytes(response.body)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "target", ["/in/c.txt", "/in.txt", "/in-absolute.txt", "/self/a/b/c.txt", "/back/a/b/c.txt", "/self/in/c.txt"]
)
def test_links_that_stay_inside_are_served(root: Path, target: str) -> None:
    assert get(Site(root), target).body == b"inside"
    assert get(Site(root, follow_links=True), target).body == b"inside"


def test_link_to_the_root_itself(root: Path) -> None:
    assert get(Site(root), "/self/").body == b"home"
    assert get(Site(root), "/self/self/back/").body == b"home"
    assert get(Site(root), "/self").status == 301


def test_links_that_lead_out_where_they_are_allowed(root: Path) -> None:
    site = Site(root, follow_links=True)
    assert get(site, "/out/").body == SECRET
    assert get(site, "/out.txt").body == SECRET
    assert get(site, "/loop").status == 404


def test_a_folder_as_kubernetes_mounts_it(tmp_path: Path) -> None:
    (tmp_path / "..2024_01").mkdir()
    (tmp_path / "..2024_01" / "index.html").write_bytes(b"mounted")
    (tmp_path / "..data").symlink_to("..2024_01")
    (tmp_path / "index.html").symlink_to("..data/index.html")
    assert get(Site(tmp_path), "/").body == b"mounted"
    assert get(Site(tmp_path), "/..data/index.html").status == 404


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xc3.txt")).write_bytes(b"bytes")
    assert get(Site(tmp_path), "/%ff%C3.txt").body == b"bytes"


def test_bad_input_72_folder_swapped_for_a_link_in_mid_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process turns "b" into a link that leads out, between the opening of "a" and that of "b"."""
    root = _race(tmp_path)
    _then(monkeypatch, os, "open", 2, lambda: _swap(root / "a" / "b", tmp_path / "secret"))
    response = get(Site(root), "/a/b/c.txt")
    assert (response.status, SECRET in bytes(response.body)) == (404, False)  # type: ignore[arg-type]


def test_bad_input_72_folder_swapped_after_the_link_is_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _race(tmp_path)
    (root / "link").symlink_to("a/b")
    assert get(Site(root), "/link/c.txt").body == b"inside"
    _then(monkeypatch, os.path, "realpath", 2, lambda: _swap(root / "a" / "b", tmp_path / "secret"))
    response = get(Site(root), "/link/c.txt")
    assert (response.status, SECRET in bytes(response.body)) == (404, False)  # type: ignore[arg-type]


def test_bad_input_72_file_swapped_for_a_link_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = _race(tmp_path)
    _then(monkeypatch, os, "open", 3, lambda: _swap(root / "a" / "b" / "c.txt", tmp_path / "secret" / "c.txt"))
    assert get(Site(root), "/a/b/c.txt").status == 404


def _race(tmp_path: Path) -> Path:
    root = tmp_path / "public"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "b" / "c.txt").write_bytes(b"inside")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "c.txt").write_bytes(SECRET)
    return root


def _swap(path: Path, target: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to(target)


def _then(monkeypatch: pytest.MonkeyPatch, module: object, name: str, nth: int, act: Callable[[], None]) -> None:
    """Run act() after the n-th call of module.name."""
    real = getattr(module, name)
    calls = iter(range(1, 1000))

    def call(*args: object, **named: object) -> object:
        try:
            return real(*args, **named)
        finally:
            if next(calls) == nth:
                act()

    monkeypatch.setattr(module, name, call)


# Pieces that have led out of one server or another, and names that are there.
_WORDS = """
    / // .. . %2e %2E%2e %252e %2f %5c \\ %00 % %%32%65 %c0%ae %ff ; ~ a b c.txt secret secret.txt public public2 x.txt
    index.html etc passwd out out.txt in self back round loop through neighbour
"""
_PIECES = st.sampled_from(_WORDS.split())


@settings(max_examples=1500, deadline=None)
@given(st.lists(_PIECES, max_size=12).map("".join) | st.text(st.characters(max_codepoint=255), max_size=40))
@example("self/self/../secret.txt")
def test_bad_input_71_72_no_target_reaches_a_secret(root: Path, rest: str) -> None:
    response = get(Site(root, listing=True), "/" + rest)
    assert response.status in (200, 301, 404)
    assert SECRET not in bytes(response.body).replace(b"secret.txt", b"")  # type: ignore[arg-type]
    assert b"root:" not in bytes(response.body)  # type: ignore[arg-type]
    location = dict(response.headers).get("Location", "/a")
    assert location[0] == "/"
    assert location[1] not in "/\\"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="/proc is Linux's")
@settings(max_examples=500, deadline=None)
@given(st.lists(_PIECES, max_size=12))
def test_what_is_opened_is_below_the_root(root: Path, names: Sequence[str]) -> None:
    """The descriptor itself proves it, which /proc names on Linux: an oracle that shares nothing with the walk."""
    here = tree.Tree(os.fsencode(root), follow_links=False)
    try:
        opened = here.open(tree.split("/" + "/".join(names)))
    except OSError as error:
        assert error.errno in tree.ABSENT  # noqa: PT017
        return
    try:
        real = Path(f"/proc/self/fd/{opened.fileno()}").resolve()
        assert real == root.resolve() or root.resolve() in real.parents
    finally:
        opened.close()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/", [b""]),
        ("/a", [b"a"]),
        ("/a/b.css", [b"a", b"b.css"]),
        ("/a/", [b"a", b""]),
        ("/é\udcff", [b"\xc3\xa9\xff"]),
        ("/.well-known/x", [b".well-known", b"x"]),
    ],
)
def test_split(path: str, names: list[bytes]) -> None:
    assert tree.split(path) == names


@pytest.mark.parametrize("path", ["", "a", "*", "//", "/a//", "/..", "/.", "/a/.b", "/a\0", "/\\", "/.well-known/."])
def test_split_refuses(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        tree.split(path)
