"""Names that are imported when first used; and where they need a package that is not there, which
extra brings it.
"""

import lazy_loader

from .errors import missing_extra

_EXTRAS = {
    "accelerate": "accelerate",
    "ipywidgets": "notebook",
    "lightning": "lightning",
    "matplotlib": "plots",
    "torch": "torch",
    "transformers": "transformers",
}


def attach(package, file, extra=None):
    """``__getattr__, __dir__, __all__`` of a package whose names are in the stub beside its file.
    All of a room of the lab come with one ``extra``.
    """
    load, names, public = lazy_loader.attach_stub(package, file)

    def load_or_say_what_to_install(name):
        try:
            return load(name)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            needed = extra or _EXTRAS.get(missing)
            if needed is None or missing == "trajhelpers":
                raise
            raise missing_extra(f"{package}.{name}", missing, needed) from error

    return load_or_say_what_to_install, names, public
