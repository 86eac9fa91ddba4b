"""How ssv-tf is packaged; every piece of metadata lives here.

The link `ssv_tf/export` makes the folder `export/` the package `ssv_tf.export`, the link
`ssv_tf/configs` makes the recipes in `configs/` a part of the package.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent

RUNTIME = [
    "absl-py>=2.1",
    "ai-edge-litert>=2.3,<3",
    "flatbuffers>=25",
    "importlib-resources>=6.4",  # tensorflow-datasets imports it and does not say so
    "keras>=3.15,<3.16",
    "matplotlib>=3.9",
    "numpy>=2.1,<3",
    "pillow>=11",
    "tensorboard>=2.20,<3",
    "tensorflow>=2.21,<2.22",
    "tensorflow-datasets>=4.9.10,<4.10",
    "tqdm>=4.66",
]

CROP = ["pycocotools>=2.0.8"]  # polygons and run lengths of COCO masks
JAX = ["jax>=0.10,<0.11"]
DATASETS = ["scipy>=1.13"]  # MATLAB files of 300W-LP, AFLW2000-3D and Pascal3D+
VIDEO = ["imageio-ffmpeg>=0.5,<0.7"]  # brings ffmpeg; a later wheel is twice as large
SERVING = ["tensorflow-serving-api>=2.19,<2.22"]

EXTRAS = {
    "test": [
        *CROP,
        *JAX,
        *DATASETS,
        *SERVING,
        *VIDEO,
        "dill>=0.3.8",
        "hypothesis>=6.100",
        "import-linter>=2.3",
        "mtcnn>=1.0",
        "mypy>=1.15",
        "playwright>=1.50",  # drives the browser that is there, and brings none
        "pytest>=8.3",
        "pytest-timeout>=2.3",
        "pytest-xdist>=3.6",
        "pyyaml>=6",
        "ruff>=0.9",
    ],
    # Wants another protobuf than the lock file: a virtual environment of its own.
    "beam": ["apache-beam>=2.77,<3", "google-crc32c>=1.5"],
    "crop": CROP,
    "datasets": DATASETS,
    "faces": ["mtcnn>=1.0"],
    "heic": ["pillow-heif>=0.22"],  # pictures of iPhones
    "jax": JAX,
    "reference": ["torch>=2.4,<3"],  # tools.reference_benchmark alone
    "serving": SERVING,
    "video": VIDEO,  # turntables as MP4
    "docs": ["mkdocs>=1.6,<2", "mkdocs-material>=9.6,<10", "mkdocstrings[python]>=1,<2"],
}

COMMANDS = [
    "train",
    "calibrate",
    "evaluate",
    "predict",
    "synthesize",
    "bundle",
    "distill",
]

CONSOLE_SCRIPTS = [
    *(f"ssv-{name} = ssv_tf.{name}:run" for name in COMMANDS),
    "ssv-export = ssv_tf.export.__main__:run",
    "ssv-export-benchmark = ssv_tf.export.benchmark:run",
    "ssv-client = ssv_tf.export.client:run",
    "ssv-export-web = ssv_tf.export.web.__main__:run",
]

PACKAGE_DATA = {
    "ssv_tf": ["py.typed", "models/weights/*.npz", "presets/**/*", "configs/*.flags"],
    # TFDS reads these beside a dataset builder when the builder is made.
    "ssv_tf.data": ["**/*.tsv", "**/*.txt", "**/*.bib", "**/*.md"],
    "ssv_tf.export": ["web/**/*", "serving/**/*", "android/**/*"],
}


def read_version() -> str:
    """The `__version__` of ssv_tf/__init__.py, without importing it."""
    source = (HERE / "ssv_tf" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, flags=re.MULTILINE)
    if found is None:
        raise RuntimeError('ssv_tf/__init__.py holds no line __version__ = "..."')
    return found.group(1)


def read_long_description() -> str:
    """The README, or nothing where it is not there yet."""
    readme = HERE / "README.md"
    return readme.read_text(encoding="utf-8") if readme.exists() else ""


setup(
    name="ssv-tf",
    version=read_version(),
    description="Self-supervised viewpoint learning (SSV, CVPR 2020) for TensorFlow and Keras 3",
    long_description=read_long_description(),
    long_description_content_type="text/markdown",
    license_expression="Apache-2.0",
    license_files=["LICENSE"],
    keywords=["viewpoint estimation", "self-supervised learning", "keras", "tensorflow", "tflite"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    python_requires=">=3.11,<3.13",
    packages=find_packages(include=["ssv_tf", "ssv_tf.*"]),
    package_data=PACKAGE_DATA,
    install_requires=RUNTIME,
    extras_require=EXTRAS,
    entry_points={"console_scripts": CONSOLE_SCRIPTS},
    zip_safe=False,
)
