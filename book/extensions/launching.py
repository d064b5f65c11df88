"""A Sphinx extension: buttons that open a chapter on Binder or Colab and lead to the repository,
where the environment says whose it is, as `make book` does. Without an address there are none."""

import os

BUTTONS = {
    "notebook_interface": "jupyterlab",
    "binderhub_url": "https://mybinder.org",
    "colab_url": "https://colab.research.google.com",
}


def launch(app, config):
    if address := os.environ.get("REPOSITORY", "").strip().rstrip("/"):
        config.html_theme_options |= {
            "repository_url": address,
            "repository_branch": "main",
            "launch_buttons": BUTTONS,
            "use_repository_button": True,
        }


def setup(app):
    app.connect("config-inited", launch, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
