"""Packaging of tfbn: `pip install -e .` or `pip install -e ".[test]"`."""

import pathlib
import re

import setuptools
from setuptools.command.build_py import build_py

_ROOT = pathlib.Path(__file__).parent
_VERSION = re.search(
    r'__version__ = "(.+)"', (_ROOT / "tfbn" / "version.py").read_text(encoding="utf-8")
).group(1)

# The scripts that are also commands, such as tfbn-train; the others stay in a clone.
_COMMANDS = ("train", "diagnose", "plot", "reproduce", "convert")


class _BuildWithoutTools(build_py):
    def find_package_modules(self, package, package_dir):
        modules = super().find_package_modules(package, package_dir)
        if package != "tfbn_scripts":
            return modules
        kept = ("__init__", "_quiet_tensorflow", *_COMMANDS)
        return [module for module in modules if module[1] in kept]


def _long_description():
    """README.md without what only a clone has: on an index its links would be dead."""
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    relative = r"\[([^\]]*)\]\((?!https?:)[^)]*\)"
    text = re.sub(rf":\n\n!{relative}$", ".", text, flags=re.M)
    text = re.sub(rf"^!{relative}\n\n", "", text, flags=re.M)
    return re.sub(relative, r"\1", text)


setuptools.setup(
    name="tfbn",
    version=_VERSION,
    description="Batch normalisation for Keras 3 on TensorFlow, and why it works",
    long_description=_long_description(),
    long_description_content_type="text/markdown",
    author="The tfbn authors",
    license="Apache-2.0",
    license_files=["LICENSE"],
    packages=[*setuptools.find_packages(include=["tfbn", "tfbn.*"]), "tfbn_scripts"],
    package_dir={"tfbn_scripts": "scripts"},
    package_data={"tfbn": ["py.typed"], "tfbn_scripts": ["configs/*.cfg"]},
    cmdclass={"build_py": _BuildWithoutTools},
    entry_points={
        "console_scripts": [f"tfbn-{name} = tfbn_scripts:{name}" for name in _COMMANDS]
    },
    # As Keras 3.14 and matplotlib 3.11 do.
    python_requires=">=3.11",
    # .ci/run tests these lower bounds themselves.
    install_requires=[
        # 2.1 hides warnings from handlers of the root logger.
        "absl-py>=2.2",
        # tensorflow-datasets imports it to download, but does not require it.
        "importlib_resources",
        "keras>=3.14",
        # 3.10 draws long legends over the panels, short log axes without numbers.
        "matplotlib>=3.11",
        # Memory figures; tensorflow-datasets brings it too.
        "psutil",
        # 2.19 holds protobuf below 6, which tensorflow-datasets cannot import.
        "tensorflow>=2.20",
        # 4.9.9 cannot read features with protobuf 7.
        "tensorflow-datasets>=4.9.10",
    ],
    extras_require={
        # hypothesis: draws the examples of the property tests.
        # tf_keras: the original renorm, which BatchRenorm is compared with.
        # scipy: intervals in examples/, tests of the papers' claims.
        # mypy, ruff: held to one minor version, as others find or format otherwise.
        "test": [
            "build",
            "hypothesis>=6.100",
            "mypy>=2.4,<2.5",
            "pytest>=8",
            "pytest-xdist>=3.5",
            "ruff>=0.17,<0.18",
            "scipy>=1.15",
            "tf_keras>=2.20",
        ],
        # XLA's compilers for TPUs and GPUs, for scripts/ahead_of_time.py. It calls
        # private functions of JAX: held to one version.
        "aot": [
            "jax==0.10.2",
            "jax-cuda12-plugin==0.10.2; sys_platform == 'linux'",
            "libtpu; sys_platform == 'linux'",
        ],
        # The site: sphinx-build -W docs build/site.
        "docs": ["furo", "myst-parser>=4", "sphinx>=8", "sphinx-copybutton"],
        # Judges the papers' claims: scripts/reproduce.py.
        "reproduce": ["scipy>=1.15"],
        # To look at the event files; runs write them without it.
        "tensorboard": ["tensorboard>=2.20"],
    },
    keywords="batch normalization, batch renormalization, Keras, TensorFlow",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Typing :: Typed",
    ],
)
