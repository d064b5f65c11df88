"""The explorer in a real browser: what each control shows is what Python computes."""

import io
import json

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image
from test_explorer import random_kernel

import trajhelpers as th
from trajhelpers.plots.maps import round_down
from trajhelpers.plots.style import MAP_COLOURS


@pytest.fixture(scope="module")
def kernels():
    return {"a run": random_kernel(31, 0), "another </script>": random_kernel(20, 1)}


@pytest.fixture
def opened(browser, kernels, tmp_path):
    """The page, opened from the disk; it has to ask for nothing, and to say nothing."""
    th.explore(kernels, unit="epoch").save(tmp_path / "runs.html")
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page, heard = context.new_page(), []
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("console", lambda message: heard.append(message.text))
    page.on("request", lambda request: heard.append(request.url))
    address = (tmp_path / "runs.html").as_uri()
    page.goto(address)
    yield page
    # A blob is what the page makes itself, for what is saved.
    assert not [one for one in heard if not one.startswith((address, "data:", "blob:"))]
    context.close()


def omega(page):
    return float(page.locator("[data-measure=omega]").get_attribute("data-value"))


def move(page, name, value):
    page.locator(f"input[name={name}]").fill(str(value))


def test_origin_stride_and_range(opened, kernels):
    kernel = kernels["a run"]
    assert omega(opened) == pytest.approx(th.mds(kernel), abs=1e-9)
    for origin in (0, 12, 30):
        move(opened, "origin", origin)
        assert omega(opened) == pytest.approx(th.mds(kernel, origin), abs=1e-9)
    move(opened, "origin", -1)
    move(opened, "stride", 3)
    assert omega(opened) == pytest.approx(th.mds(kernel[::3]), abs=1e-9)
    move(opened, "first", 5)
    move(opened, "last", 25)
    assert omega(opened) == pytest.approx(th.mds(kernel[5:26:3]), abs=1e-9)


def test_layers_and_runs(opened, kernels):
    opened.locator("select[name=layers]").select_option("group 1")
    assert omega(opened) == pytest.approx(th.mds(kernels["a run"].groups()["group 1"]), abs=1e-9)
    opened.locator("select[name=layers]").select_option("")
    opened.locator("select[name=run]").select_option("1")
    assert omega(opened) == pytest.approx(th.mds(kernels["another </script>"]), abs=1e-9)


def colours(canvas, n):
    """Of each cell of a map, at its middle: n × n × 3."""
    return np.array(
        canvas.evaluate(
            """(canvas, n) => {
            const scale = canvas.width / canvas.clientWidth, side = (canvas.clientWidth - 72) / n;
            const copy = new OffscreenCanvas(canvas.width, canvas.height), found = [];
            const context = copy.getContext("2d", { willReadFrequently: true });
            context.drawImage(canvas, 0, 0);
            const at = (i, before) => Math.round((before + (i + 0.5) * side) * scale);
            for (let i = 0; i < n; i++) for (let j = 0; j < n; j++)
              found.push(...context.getImageData(at(j, 52), at(i, 10), 1, 1).data.slice(0, 3));
            return found;
        }""",
            n,
        )
    ).reshape(n, n, 3)


def drawn(page):
    """Wait for the frame in which it is drawn."""
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def expected_colours(cosine, lowest):
    return 255 * colormaps[MAP_COLOURS]((cosine - lowest) / (1 - lowest))[..., :3]


def test_runs_share_one_scale_of_colours(opened, kernels):
    """That of `plot_maps`; at its own, the lightest cell of each would be equally light."""
    for origin in (-1, 4):
        seen_from = None if origin < 0 else origin
        move(opened, "origin", origin)
        cosines = [kernel.cosine(seen_from) for kernel in kernels.values()]
        lowest = min(round_down(cosine) for cosine in cosines)
        for run, cosine in enumerate(cosines):
            opened.locator("select[name=run]").select_option(str(run))
            drawn(opened)
            found = colours(opened.locator("canvas").first, len(cosine))
            # The page's table of colours has a place for every tenth or so of matplotlib's.
            np.testing.assert_allclose(found, expected_colours(cosine, lowest), atol=3)
    assert "The colours are those of all 2 runs." in opened.locator("figcaption").first.inner_text()


def test_the_walk_beside_it(opened, kernels):
    opened.locator("input[name=walk]").check()
    lengths = kernels["a run"].distance(np.arange(30), np.arange(1, 31))
    squares = np.append(kernels["a run"].distance(None, 0), lengths) ** 2
    walk = th.TrajectoryKernel(np.diag(squares))
    assert f"random walk {th.mds(walk):.3f}" in opened.locator(".measures").inner_text()
    assert opened.locator("figure.map canvas").nth(1).is_visible()


def test_the_keyboard_reaches_every_cell(opened, kernels):
    kernel = kernels["a run"]
    opened.locator("canvas").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        opened.keyboard.press(key)
    # The first key shows the first cell, the next two go down and right.
    assert opened.locator(".said").inner_text() == "epoch 1"
    opened.keyboard.press("ArrowRight")
    assert f"cosine {kernel.cosine()[1, 2]:.3f}" in opened.locator(".said").inner_text()
    opened.keyboard.press("Enter")
    assert omega(opened) == pytest.approx(th.mds(kernel, 1), abs=1e-9)


def test_a_cell_under_the_pointer_and_a_drag_along_the_diagonal(opened, kernels):
    kernel = kernels["a run"]
    box = opened.locator("canvas").first.bounding_box()
    side = box["width"] - 52 - 20

    def over(i, j):
        return box["x"] + 52 + (j + 0.5) * side / 31, box["y"] + 10 + (i + 0.5) * side / 31

    opened.mouse.move(*over(4, 20))
    assert f"cosine {kernel.cosine()[4, 20]:.3f}" in opened.locator(".said").inner_text()
    opened.mouse.move(*over(8, 8))
    opened.mouse.down()
    assert omega(opened) == pytest.approx(th.mds(kernel, 8), abs=1e-9)
    opened.mouse.up()


def test_a_link_shows_what_its_sender_saw(opened, kernels):
    move(opened, "origin", 7)
    move(opened, "stride", 2)
    opened.get_by_role("button", name="link to this view").click()
    sent = opened.url
    assert "#" in sent
    other = opened.context.new_page()
    other.goto(sent)
    kernel = kernels["a run"]
    # Seen from a checkpoint that the stride leaves out.
    kept = np.arange(0, 31, 2)
    inner = kernel.inner_between(7, kept[:, None], 7, kept)
    lengths = np.sqrt(np.diag(inner))
    assert omega(other) == pytest.approx((inner / lengths / lengths[:, None]).mean(), abs=1e-9)


@pytest.mark.parametrize("origin", [3, 5, 13, 29])
def test_the_walk_is_seen_from_where_the_run_is(opened, kernels, origin):
    """From before what is shown, between two of it, one of it, and after it."""
    kernel = kernels["a run"]
    for name, value in ("last", 22), ("first", 4), ("stride", 3), ("origin", origin):
        move(opened, name, value)
    opened.locator("input[name=walk]").check()
    shown = list(range(4, 23, 3))
    path = sorted({*shown, origin})
    walk, place = th.random_walk_like(kernel[path]), path.index(origin)
    at = np.array([path.index(t) for t in shown if t != origin])
    inner = walk.inner_between(place, at[:, None], place, at)
    lengths = np.sqrt(np.diag(inner))
    expected = (inner / lengths / lengths[:, None]).mean()
    assert f"random walk {expected:.3f}" in opened.locator(".measures").inner_text()


@pytest.mark.parametrize("n", [2, 3])
def test_a_run_of_few_checkpoints(browser, tmp_path, n):
    kernel = th.random_walk(n, start=2)
    th.explore(kernel).save(tmp_path / "few.html")
    page, heard = browser.new_page(), []
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto((tmp_path / "few.html").as_uri())
    assert omega(page) == pytest.approx(th.mds(kernel), abs=1e-9)
    move(page, "origin", 1)
    drawn(page)
    assert not heard
    page.close()


def test_where_nothing_has_a_direction(browser, tmp_path):
    """Seen from where all of it lies: words, and no error by keys either."""
    th.explore({"at rest": th.TrajectoryKernel(np.diag([9.0, 0, 0, 0]))}).save(
        tmp_path / "run.html"
    )
    page, heard = browser.new_page(), []
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.goto((tmp_path / "run.html").as_uri())
    assert "a path that ends where it began" in page.locator(".measures").inner_text()
    move(page, "origin", 2)
    map_ = page.locator("canvas").first
    assert map_.get_attribute("aria-label") == "Seen from step 2 nothing has a direction."
    map_.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert not heard
    page.close()


def test_a_kernel_of_ones_own(opened, tmp_path):
    kernel = th.random_walk(12, start=4)
    kernel.save(tmp_path / "mine.npz")
    opened.locator("input[accept]").set_input_files(tmp_path / "mine.npz")
    opened.wait_for_function("document.querySelector('select[name=run]').value === '2'")
    assert omega(opened) == pytest.approx(th.mds(kernel), abs=1e-9)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"text", "no .npz file"),
        (None, "no kernel of trajhelpers"),
        ("models", "a set of models"),
    ],
)
def test_another_file_is_named_with_what_is_wrong(opened, tmp_path, content, said):
    path = tmp_path / "other.npz"
    if content is None:
        np.savez(path, x=np.ones(3, complex))
    elif content == "models":
        th.ModelSetKernel(np.diag([9.0, 1, 1]), ["base", "first", "second"]).save(path)
    else:
        path.write_bytes(content)
    before = omega(opened)
    opened.locator("input[accept]").set_input_files(path)
    opened.wait_for_function(
        "document.querySelector('.opened').textContent.startsWith('other.npz')"
    )
    assert said in opened.locator(".opened").inner_text()
    assert omega(opened) == before


def test_what_is_taken_away(opened, kernels):
    with opened.expect_download() as download:
        opened.get_by_role("button", name="numbers (CSV)").click()
    rows = [row.split(",") for row in download.value.path().read_text().splitlines()]
    np.testing.assert_allclose(
        np.array([row[1:] for row in rows[1:]], float), kernels["a run"].cosine(), atol=1e-12
    )
    for name, begin in (("picture (PNG)", b"\x89PNG"), ("curves (SVG)", b"<svg")):
        with opened.expect_download() as download:
            opened.get_by_role("button", name=name).click()
        assert download.value.path().read_bytes().startswith(begin)


def test_nothing_flows_over_on_a_phone(opened):
    opened.set_viewport_size({"width": 390, "height": 800})
    opened.wait_for_timeout(200)
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390


def test_without_scripts_there_is_a_picture(browser, kernels, tmp_path):
    th.explore(kernels).save(tmp_path / "runs.html")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "runs.html").as_uri())
    assert page.locator("img").is_visible()
    assert f"ω = {th.mds(kernels['a run']):.3f}" in page.locator("figcaption").inner_text()
    context.close()


def test_a_name_cannot_end_the_script(kernels):
    html = th.explore(kernels)._repr_html_()
    assert html.count("</script>") == 2
    data = html.split('"application/json">')[1].split("</script>")[0]
    assert [one["label"] for one in json.loads(data)["kernels"]] == list(kernels)


def test_pictures_drawn_before_are_moved(browser, tmp_path):
    """By what a cell shows, in a page; without scripts the first one is there."""
    pictures = []
    for colour in ((255, 0, 0), (0, 255, 0)):
        with io.BytesIO() as file:
            Image.new("RGB", (8, 8), colour).save(file, "webp")
            pictures.append(file.getvalue())
    html = th.picture_slider(["1 %", '10 % of "all"'], pictures, "read")._repr_html_()
    page = browser.new_page()
    page.set_content(html)
    slider = page.get_by_role("slider", name="read", exact=True)
    shown = page.locator("img:visible")
    assert shown.get_attribute("alt") == "read: 1 %"
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert shown.get_attribute("alt") == 'read: 10 % of "all"'
    assert slider.get_attribute("aria-valuetext") == 'read: 10 % of "all"'[6:]
    assert page.locator("label span span").inner_text() == '10 % of "all"'
    page.close()


def test_on_paper_there_is_the_picture(opened):
    still = opened.locator(".still img")
    assert not still.is_visible() and opened.locator("figure.map canvas").first.is_visible()
    opened.emulate_media(media="print")
    assert still.is_visible() and not opened.locator("figure.map canvas").first.is_visible()
    assert not opened.get_by_role("button").first.is_visible()


def test_it_follows_the_theme_of_the_system(browser, tmp_path):
    """Without a word from the page that it is in."""
    th.explore(random_kernel(12, 0)).save(tmp_path / "run.html")
    context = browser.new_context(viewport={"width": 1200, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.goto((tmp_path / "run.html").as_uri())
    drawn(page)
    # The darkest of what is written beside the map, and then the lightest.
    ink = """light => {
      const c = document.querySelector("canvas");
      const { data } = c.getContext("2d").getImageData(0, 0, 40, c.height);
      const inked = data.filter((_, i, all) => all[i | 3] > 200 && i % 4 < 3);
      return light ? Math.max(...inked) : Math.min(...inked);
    }"""
    assert page.evaluate(ink, False) < 60
    page.emulate_media(color_scheme="dark")
    page.wait_for_function(f"({ink})(true) > 200")
    context.close()
