"""A Sphinx extension: figures as WebP, half the bytes of the PNG that notebooks hold, with width
and height, so that their place is kept, and fetched when a reader comes near."""

import re
from pathlib import Path

from PIL import Image

PICTURE = re.compile(r'<img\b[^>]*?\bsrc="([./]*_images/)([^"]+)"[^>]*>')
# A figure of twice the pixels says how large it is meant to be.
MEANT = re.compile(r' style="width: (\d+)px; height: (\d+)px;?"')
QUALITY = 80


def lighten(app, page, template, context, doctree):
    if not doctree:
        return
    files = {name: source for source, name in app.builder.images.items()}
    done = 0

    def lighter(found):
        nonlocal done
        done += 1
        tag, (place, name) = found[0], found.groups()
        if name not in files or name.endswith(".svg"):
            return tag
        light, size = as_webp(app, Path(app.srcdir) / files[name], name)
        width, height = meant.groups() if (meant := MEANT.search(tag)) else size
        # The first is mostly on the first screen, and has the largest paint.
        later = ' loading="lazy"' if done > 1 else ""
        tag = MEANT.sub("", tag).replace(place + name, place + light)
        return tag.replace("<img", f'<img width="{width}" height="{height}"{later}', 1)

    context["body"] = PICTURE.sub(lighter, context["body"])


def as_webp(app, source, name):
    """Write it beside the pictures of the pages, unless it is there; its name and size."""
    light = Path(name).with_suffix(".webp").name
    target = Path(app.outdir) / app.builder.imagedir / light
    with Image.open(source) as image:
        if source.suffix != ".webp" and not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            image.save(target, quality=QUALITY, method=6)
        return light, image.size


def leave_out(app, error):
    """What pages show as WebP needs not be there twice."""
    images = Path(app.outdir) / app.builder.imagedir
    for light in images.glob("*.webp"):
        for heavy in images.glob(f"{light.stem}.*"):
            if heavy.suffix in (".png", ".jpg", ".jpeg"):
                heavy.unlink()


def setup(app):
    app.connect("html-page-context", lighten)
    app.connect("build-finished", leave_out)
    # Writing in parallel, two pages with the same figure would write one file.
    return {"parallel_read_safe": True, "parallel_write_safe": False}
