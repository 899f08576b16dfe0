"""Checks of the NiceGUI application."""

from __future__ import annotations

from common import client, equal, page


def check_page(url: str) -> None:
    with client(url) as http:
        equal(http.get("/ui/").status_code, 200)


def check_in_chromium(url: str) -> None:
    with page(url, "/ui/") as shown:
        shown.wait_for_function("document.querySelector('#ticks').textContent.includes('ticked')")
        for number in ("1", "2"):
            shown.click("#add")
            shown.wait_for_function(f"document.querySelector('#counter').textContent.trim() == '{number}'")
        shown.fill("input", "Ada")
        shown.wait_for_function("document.querySelector('#greeting').textContent.includes('Hello, Ada!')")


def check_in_two_pages(url: str) -> None:
    """Check that each client has a state of its own."""
    with page(url, "/ui/") as one:
        two = one.context.browser.new_context().new_page()
        two.goto(url + "/ui/")
        one.wait_for_function("document.querySelector('#ticks').textContent.includes('ticked')")
        one.click("#add")
        one.wait_for_function("document.querySelector('#counter').textContent.trim() == '1'")
        equal(two.text_content("#counter").strip(), "0")
