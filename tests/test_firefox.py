"""The pages in a stock Firefox, opened from the disk as from a server: what they compute, what
they ask for."""

import os
import shutil

import numpy as np
import pytest
from firefox import Firefox
from pages import ALL_PAGES, HTML
from test_explorer import random_kernel

import trajhelpers as th

OMEGA = "Number(document.querySelector('[data-measure=omega]').dataset.value)"
# Firefox lays out what of a page has come, and says this of a formula that is not all there yet.
HALF_A_FORMULA = "Incorrect number of children for <"


@pytest.fixture(scope="module")
def firefox(tmp_path_factory):
    path = shutil.which("firefox-esr") or shutil.which("firefox")
    if path is None:
        message = "no Firefox: install your system's package (Debian: firefox-esr)"
        # a machine of one's own may lack a browser; CI may not
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    firefox = Firefox(path, tmp_path_factory.mktemp("firefox") / "profile")
    yield firefox
    firefox.close()


def foreign(firefox):
    here = ("http://127.0.0.1:", "file:", "data:", "blob:")
    return [url for url in firefox.asked if not url.startswith(here)]


@pytest.mark.parametrize("name", ALL_PAGES)
def test_page(firefox, site, name):
    firefox.resize(390, 844)
    firefox.go(f"{site}/{name}.html")
    assert firefox.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    assert not [text for text in firefox.trouble if HALF_A_FORMULA not in text]
    assert not foreign(firefox)


def test_the_book_can_be_searched(firefox, site):
    firefox.go(f"{site}/search.html?q=momentum")
    firefox.wait_for("document.querySelectorAll('#search-results li a').length > 0")
    assert not firefox.trouble


def test_from_the_disk(firefox):
    firefox.go((HTML / "book/02-kernel-and-maps.html").as_uri())
    firefox.wait_for("!!document.querySelector('[data-measure=omega]')")
    assert 0 < omega(firefox) < 1
    assert not firefox.trouble
    assert not foreign(firefox)


def omega(firefox):
    return firefox.evaluate(OMEGA)


def move(firefox, name, value):
    firefox.evaluate(
        f"(() => {{ const input = document.querySelector('input[name={name}]');"
        f" input.value = {value}; input.dispatchEvent(new Event('input')); }})()"
    )


@pytest.fixture
def explorer(firefox, tmp_path):
    kernel = random_kernel(31, 0)
    th.explore(kernel).save(tmp_path / "run.html")
    firefox.resize(1200)
    firefox.go((tmp_path / "run.html").as_uri())
    yield kernel
    assert not firefox.trouble


def test_what_it_computes_is_what_python_computes(firefox, explorer):
    assert omega(firefox) == pytest.approx(th.mds(explorer), abs=1e-9)
    for origin in (0, 12, 30):
        move(firefox, "origin", origin)
        assert omega(firefox) == pytest.approx(th.mds(explorer, origin), abs=1e-9)
    move(firefox, "origin", -1)
    move(firefox, "stride", 3)
    assert omega(firefox) == pytest.approx(th.mds(explorer[::3]), abs=1e-9)


def test_a_kernel_of_ones_own(firefox, explorer, tmp_path):
    kernel = th.random_walk(12, start=4)
    kernel.save(tmp_path / "mine.npz")
    firefox.give_files("input[type=file]", tmp_path / "mine.npz")
    firefox.wait_for(f"Math.abs({OMEGA} - {th.mds(kernel)}) < 1e-9")


def test_another_file_is_named_with_what_is_wrong(firefox, explorer, tmp_path):
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    before = omega(firefox)
    firefox.give_files("input[type=file]", tmp_path / "other.npz")
    firefox.wait_for("document.body.innerText.includes('no kernel of trajhelpers')")
    assert omega(firefox) == before
