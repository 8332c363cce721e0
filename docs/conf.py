"""The documentation as a site, by Sphinx: `sphinx-build -W docs build/site`.

The pages of the API are written from what the packages export. The build fails where a
public class or function, or a public method of one, has no docstring.
"""

import importlib
import inspect
import os
import pathlib
import re

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras

import tfbn

project = "tfbn"
version = release = tfbn.__version__
copyright = "the tfbn authors"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["runs", "reproduction/records"]
myst_heading_anchors = 3
# Pages link to files of the repository, which the site does not have.
suppress_warnings = ["myst.xref_missing"]
html_theme = "furo"
html_title = f"tfbn {version}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]

autodoc_typehints = "none"  # the text gives types, shapes and rules
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_custom_sections = [
    (section, "params_style") for section in ("Call arguments", "State")
]

# What users import from, in the order of the pages -> what it is.
MODULES = {
    "tfbn": "Layers, surgery and calibration",
    "tfbn.schedules": "Bounds that move",
    "tfbn.callbacks": "Diagnostics in fit",
    "tfbn.diagnostics": "Diagnostics",
    "tfbn.plots": "Figures",
    "tfbn.training": "The training loop",
    "tfbn.experiment": "Runs from options",
    "tfbn.models": "Networks",
    "tfbn.data": "Data and samplers",
    "tfbn.ops": "The numerics",
}


def public_objects(module_name):
    """`(name, class or function)` of what a module exports, or defines."""
    module = importlib.import_module(module_name)
    names = getattr(module, "__all__", None)
    if names is None:
        names = [n for n, o in vars(module).items() if _is_own(n, o, module_name)]
    found = [(name, getattr(module, name)) for name in names]
    return [(n, o) for n, o in found if inspect.isclass(o) or inspect.isfunction(o)]


def _is_own(name, value, module_name):
    own = getattr(value, "__module__", None) == module_name
    return own and not name.startswith("_")


def public_methods(cls):
    """Those that a class defines, and Keras does not document."""
    return [
        name
        for name, value in vars(cls).items()
        if not name.startswith("_")
        and (inspect.isroutine(value) or isinstance(value, (property, classmethod)))
        and not hasattr(keras.layers.BatchNormalization, name)
        and not hasattr(keras.callbacks.Callback, name)
    ]


def undocumented(name, value):
    """What has no docstring, of an object and its public methods."""
    methods = public_methods(value) if inspect.isclass(value) else []
    texts = {name: value.__doc__}
    texts |= {f"{name}.{m}": inspect.getattr_static(value, m).__doc__ for m in methods}
    return [path for path, text in texts.items() if not text]


def write_api(app):
    """Writes docs/api, a page for each module."""
    folder = pathlib.Path(app.srcdir, "api")
    folder.mkdir(exist_ok=True)
    missing = []
    for module_name, title in MODULES.items():
        lines = [title, "=" * len(title), "", f"``{module_name}``", ""]
        for name, value in public_objects(module_name):
            missing += undocumented(f"{module_name}.{name}", value)
            kind = "class" if inspect.isclass(value) else "function"
            lines += [f".. auto{kind}:: {module_name}.{name}"]
            if kind == "class" and public_methods(value):
                lines += [f"   :members: {', '.join(public_methods(value))}"]
            lines += [""]
        (folder / f"{module_name}.rst").write_text("\n".join(lines), encoding="utf-8")
    if missing:
        raise ValueError(f"without a docstring: {', '.join(missing)}")


# A block of code with its indentation, or a name or formula in backticks.
_CODE = re.compile(r"^( *)```\w*\n(.*?)^ *```$|`[^`]+`", re.M | re.S)


def markdown_to_rst(app, what, name, obj, options, lines):
    """Docstrings are written as Keras's, with the marks of Markdown."""
    text, parts, end = "\n".join(lines), [], 0
    for match in _CODE.finditer(text):
        parts += [_escaped(text[end : match.start()]), _literal(match)]
        end = match.end()
    lines[:] = "".join([*parts, _escaped(text[end:])]).split("\n")


def _escaped(text):
    return re.sub(r"([|*])", r"\\\1", text)


def _literal(match):
    indent, code = match.groups()
    if code is None:
        return f"`{match[0]}`"
    body = "".join(f"    {line}\n" for line in code.splitlines())
    return f"{indent}::\n\n{body}"


def signature_of_constructor(app, what, name, obj, options, signature, result):
    """Keras wraps the constructors of layers, which hides their arguments."""
    if what != "class" or "__init__" not in vars(obj):
        return None
    parameters = list(inspect.signature(obj.__init__).parameters.values())[1:]
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    return str(inspect.Signature(plain)), None


def setup(app):
    """Called by Sphinx."""
    app.connect("builder-inited", write_api)
    app.connect("autodoc-process-signature", signature_of_constructor)
    # Before napoleon, which takes what this leaves.
    app.connect("autodoc-process-docstring", markdown_to_rst, priority=400)
