"""Every name of TensorRT that our source uses exists in the real bindings of TensorRT 11.4 and in TensorRT-RTX.

The bindings come without their libraries, so stand-ins for these are compiled. Names that only RTX has are listed.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import ROOT

INFERENCE = ROOT / "dicom_node" / "inference"
ROLES = {
    "engines/tensorrt_build.py": {
        "builder": "Builder",
        "network": "INetworkDefinition",
        "parser": "OnnxParser",
        "config": "IBuilderConfig",
        "profile": "IOptimizationProfile",
        "cache": "ITimingCache",
        "error": "ParserError",
        "tensor": "ITensor",
    },
    "engines/tensorrt_logger.py": {},
    "backends/tensorrt_session.py": {
        "settings": "IRuntimeConfig",
        "self._engine": "ICudaEngine",
        "self._context": "IExecutionContext",
        "self._runtime": "Runtime",
    },
}
"""What our variables hold, by file; names of the library itself are found by `trt.` and `library.module.`."""
RTX_ONLY = {
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "ComputeCapability",
    "ComputeCapability.CURRENT",
    "IRuntimeConfig.cuda_graph_strategy",
    "CudaGraphStrategy",
    "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE",
}
LIST_NAMES = """
import json, sys, importlib
module = importlib.import_module(sys.argv[1])
names = {n for n in dir(module)}
names |= {f"{n}.{a}" for n in dir(module) if isinstance(getattr(module, n), type) for a in dir(getattr(module, n))}
print(json.dumps([module.__version__, sorted(names)]))
"""


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def names_used(source: str, roles: dict[str, str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Attribute):
            continue
        name = dotted(node)
        for library in ("trt.", "library.module."):
            if name.startswith(library):
                yield name.removeprefix(library)
        owner = dotted(node.value)
        if owner in roles:
            yield f"{roles[owner]}.{node.attr}"


def ours() -> set[str]:
    return {name for file, roles in ROLES.items() for name in names_used((INFERENCE / file).read_text("utf-8"), roles)}


def names_of(module: str, environment: dict[str, str]) -> tuple[str, set[str]]:
    done = subprocess.run([sys.executable, "-c", LIST_NAMES, module], capture_output=True, env=os.environ | environment, check=True)
    version, names = json.loads(done.stdout)
    return version, set(names)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, set[str]]:
    gcc = shutil.which("gcc")
    if gcc is None or find_spec("tensorrt_bindings") is None:
        pytest.skip("needs gcc and tensorrt-cu13-bindings")
    folder = tmp_path_factory.mktemp("libraries")
    for name in ("libnvinfer.so.11", "libnvinfer_plugin.so.11", "libnvonnxparser.so.11"):
        source = Path(__file__).parent / "stub_tensorrt.c"
        subprocess.run([gcc, "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", folder / name, source], check=True)
    return names_of("tensorrt_bindings", {"LD_LIBRARY_PATH": str(folder)})


@pytest.fixture(scope="module")
def rtx() -> tuple[str, set[str]]:
    if find_spec("tensorrt_rtx") is None:
        pytest.skip("the extra `rtx` is not installed")
    return names_of("tensorrt_rtx", {})


def test_our_source_uses_every_object_that_it_names() -> None:
    used = ours()
    for roles in ROLES.values():
        for kind in roles.values():
            assert any(name.startswith(f"{kind}.") for name in used), kind
    assert {"Builder.build_serialized_network", "IExecutionContext.execute_async_v3", "MemoryPoolType.WORKSPACE"} <= used


def test_names_exist_in_the_full_bindings(full: tuple[str, set[str]]) -> None:
    version, names = full
    assert version.startswith("11.")
    assert ours() - RTX_ONLY - names == set()
    assert not RTX_ONLY & names


def test_names_exist_in_rtx(rtx: tuple[str, set[str]]) -> None:
    assert ours() - rtx[1] == set()
    assert ours() >= RTX_ONLY


@pytest.mark.parametrize(
    ("line", "missing"),
    [
        ("config.set_flag(trt.BuilderFlag.FP16)", "BuilderFlag.FP16"),
        (
            "builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))",
            "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
        ),
        ("config.int8_calibrator = None", "IBuilderConfig.int8_calibrator"),
        ("cache = trt.IInt8EntropyCalibrator2()", "IInt8EntropyCalibrator2"),
    ],
)
def test_names_that_version_11_dropped_are_found_out(full: tuple[str, set[str]], line: str, missing: str) -> None:
    assert set(names_used(line, ROLES["engines/tensorrt_build.py"])) - full[1] == {missing}
