"""Where the book's own data lie: the small data sets, the stored studies, the kernels."""

from pathlib import Path

# Of a checkout of the book. An installed wheel has the package alone.
DATA_FOLDER = Path(__file__).resolve().parents[2] / "data"
WHAT_BRINGS_THEM = (
    "clone the repository and `pip install -e .` there: an installed package alone has no data"
)


def data_file(name, what_comes):
    """A file of the book's own data; an error begins with ``what_comes``, "the images come"."""
    path = DATA_FOLDER / name
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; {what_comes} with the book's repository: {WHAT_BRINGS_THEM}"
        )
    return path
