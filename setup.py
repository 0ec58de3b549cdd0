"""Native parts of the build: Cython extensions, and our own .proto files compiled into driftlock/v1."""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
DEBUG = os.environ.get("CBAD_DEBUG") == "1"
SANITIZE = os.environ.get("CBAD_SANITIZE") == "1"
# `make` installs first and builds in place afterwards, on all processors: without this the modules would be built twice.
LATER = os.environ.get("CBAD_NATIVE") == "later"
# Where the generated C goes; empty: beside its source.
C_FOLDER = os.environ.get("CBAD_C_FOLDER") or None
# Reproducible arithmetic: no fused multiply-add, no fast-math, no machine-specific code.
FLAGS = ["-std=c11", "-ffp-contract=off", *(["-O1", "-g"] if DEBUG or SANITIZE else ["-O3"])]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-omit-frame-pointer"] if SANITIZE else []


def extension(
    name: str, libraries: tuple[str, ...] = (), archives: tuple[str, ...] = (), package: str = "cbad_cy"
) -> Extension:
    """One .pyx, one module. Archives are linked into it, their symbols hidden: no other copy in the process replaces them."""
    return Extension(
        f"{package}.{name}",
        [f"{package.replace('.', '/')}/{name}.pyx"],
        depends=sorted(str(path.relative_to(ROOT)) for path in (ROOT / package.replace(".", "/")).glob("*.px[id]")),
        libraries=list(libraries),
        extra_compile_args=FLAGS + SANITIZERS,
        extra_link_args=[
            *SANITIZERS,
            *(f"-l:{archive}" for archive in archives),
            *(f"-Wl,--exclude-libs,{archive}" for archive in archives),
        ],
        define_macros=[("CYTHON_TRACE", "1")] if DEBUG else [],
    )


def compile_protos() -> None:
    """proto/driftlock/v1/*.proto -> driftlock/v1/*_pb2.py and .pyi."""
    from grpc_tools import protoc

    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "proto").rglob("*.proto"))
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    typed = [f"--plugin=protoc-gen-mypy={plugin}", "--mypy_out=."] if plugin.exists() else []
    if protoc.main(["protoc", "--proto_path=proto", "--python_out=.", *typed, *sources]) != 0:
        raise SystemExit("setup.py: protoc failed on proto/driftlock/v1; see the message above")


class BuildPy(build_py):
    """Protos first: they are modules like any other."""

    def run(self) -> None:
        compile_protos()
        super().run()


if __name__ == "__main__" or "setuptools" in sys.modules:
    os.chdir(ROOT)
    if not SANITIZE:
        compile_protos()
    setup(
        cmdclass={"build_py": BuildPy},
        ext_modules=[]
        if LATER
        else cythonize(
            [
                extension("tokenize"),
                extension("codec", ("zstd", "z"), ("liblz4.a",)),
                extension("novelty"),
                extension("rank"),
                extension("instances"),
                extension("pool"),
                extension("mix"),
                extension("columns"),
                extension("held"),
                extension("content"),
                extension("slide"),
                extension("model"),
                extension("codelength"),
                extension("permute"),
                extension("keyset"),
                extension("presence"),
                extension("series"),
                extension("pooled"),
                extension("points"),
                extension("traces"),
                extension("calls"),
                extension("shapes"),
                extension("redact"),
                *(extension(path.stem, package="collector.otlp") for path in sorted(ROOT.glob("collector/otlp/*.pyx"))),
            ],
            build_dir=C_FOLDER,
            nthreads=os.cpu_count() or 1,
            compiler_directives={
                "language_level": "3",
                "boundscheck": DEBUG,
                "wraparound": False,
                "initializedcheck": DEBUG,
                "cdivision": True,
                "linetrace": DEBUG,
                "binding": True,
            },
        ),
    )
