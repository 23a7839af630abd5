"""How the site is made of the pages beside this file; `make docs` builds it below build/site.

Pages are Markdown that reads well without a site. Two extensions of our own, in _ext, make it one: `pages` reads the
order of the site from the links of its index pages, and `reference` makes entries from docstrings.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))
os.environ.setdefault("JAX_PLATFORMS", "cpu")  # here and in the kernels that run the notebooks
# The kernels read no settings of the user's. Without this one they print a warning that a network could listen.
os.environ["IPYTHONDIR"] = tempfile.mkdtemp()
profile = Path(os.environ["IPYTHONDIR"], "profile_default")
profile.mkdir()
(profile / "ipython_kernel_config.py").write_text("get_config().IPKernelApp.log_level = 'ERROR'\n")

from brainstate_graph import __version__  # noqa: E402

project = "brainstate-graph"
author = "The brainstate-graph authors"
copyright = f"2026, {author}"
release = version = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "pages",
    "reference",
]
exclude_patterns = ["_ext", "_static"]

# ------------------------------------------------------------------------------------------------------ strictness

# A role that names one of our objects must find it. Nothing is fetched while the site is built, so names of JAX and
# Python in signatures lead nowhere, and neither do those of our private types.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!brainstate_\w+\.[a-zA-Z]).*")]

# -------------------------------------------------------------------------------------------------- Markdown pages

myst_heading_anchors = 4  # `#some-heading`, as on GitHub
# A notebook is run anew in each build, in an empty folder. All other pages are run by tests/public/test_docs.py.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300  # seconds a cell
nb_merge_streams = True

# ------------------------------------------------------------------------------------------------------- reference

add_module_names = False
autodoc_preserve_defaults = True  # `w_init=lecun_normal`, and not the repr of a function
autodoc_typehints_format = "short"
autodoc_type_aliases = {name: name for name in ("Initializer", "Rng", "Padding", "Activation", "DotGeneral", "Filter")}
maximum_signature_line_length = 120
toc_object_entries_show_parents = "hide"
default_role = "py:obj"  # `jit` in a docstring is a link, where there is such a name
napoleon_numpy_docstring = False
# A list in the entry: fields of a class that are entries of their own would stand twice beside documented properties.
napoleon_custom_sections = [("Attributes", "params_style")]

# ------------------------------------------------------------------------------------------------------------ looks

html_theme = "sphinx_book_theme"
html_title = f"{project} {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "home_page_in_toc": True,
    "navbar_persistent": [],  # the search is in the sidebar already
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "search_as_you_type": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
copybutton_prompt_text = r">>> |\.\.\. "
copybutton_prompt_is_regexp = True
