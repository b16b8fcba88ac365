"""A package of models that behave in every way but well, installed as any other package of models is: by entry point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import yaml
from onnx import TensorProto, helper

PACKAGE = '''
"""What a model does is named by its bundle, `odd-WHAT`, with a number behind it where it takes one."""

import ctypes
import os
import time
from pathlib import Path

import numpy as np

from dicom_node.domain.results import Code, InferenceResult, Measurement
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelInputError
from dicom_node.inference import Model
from dicom_node.inference.model import Prepared


class Odd(Model):
    across_jobs = 1

    def __init__(self, bundle, _sessions):
        self._bundle = bundle
        _odd, self._what, *self._rest = bundle.manifest.name.split("-")
        self.closed = False

    def prepare(self, inputs, recorder):
        images = next(iter(inputs.values())).images
        values = images.values if isinstance(images, Volume) else images.frames[0].values[None]
        if self._what == "refuse":
            raise ModelInputError("the series has 3 slices, the model needs 20 or more")
        if self._what in ("latch", "batch"):
            self._note("prepared")
        return Prepared(inputs, {"x": np.ascontiguousarray(values[:, None])}, values, recorder)

    def infer(self, prepared):
        getattr(self, "_" + self._what)(prepared)
        return {"y": prepared.tensors["x"].mean(axis=(1, 2, 3))}

    def conclude(self, prepared, outputs, now):
        number = Code("118565006", "SCT", "Volume")
        figures = {"mean": float(outputs["y"].mean()), "inputs": float(len(prepared.inputs))}
        measurements = tuple(Measurement(n, n, number, v, Code("1", "UCUM", "no units"), "") for n, v in figures.items())
        return InferenceResult(
            model=self._bundle.identity("python", "fp32"), finding=Code("39607008", "SCT", "Lung"), finding_site=None,
            measurements=measurements, segments=(), highlights=(), warnings=(), parameters=(), started_at=now, compute_s=0.0,
        )

    def close(self):
        self.closed = True

    def _note(self, what):
        with (Path(os.environ["ODD_NOTES"]) / what).open("a") as notes:
            notes.write(f"{os.getpid()}\\n")

    def _good(self, prepared):
        pass

    def _refuse(self, prepared):
        pass

    def _sleep(self, prepared):
        """Sleep for as many milliseconds, saying how far it is."""
        milliseconds = int(self._rest[0])
        for done in range(0, milliseconds, 10):
            prepared.recorder.progress(done, milliseconds)
            time.sleep(0.01)

    def _latch(self, prepared):
        """Wait for a file of the test's."""
        self._note("inferring")
        while not (Path(os.environ["ODD_NOTES"]) / "go").exists():
            time.sleep(0.005)

    def _loop(self, prepared):
        while True:
            pass

    def _block(self, prepared):
        """Hold the interpreter's lock in C: no thread of the process runs any more."""
        ctypes.PyDLL(None).sleep(1000)

    def _eat(self, prepared):
        kept = []
        while True:
            kept.append(np.ones(1 << 21))

    def _leave(self, prepared):
        os._exit(3)

    def _raise(self, prepared):
        raise ValueError("Phantom^Chest is not to be quoted")

    def _quit(self, prepared):
        raise SystemExit(4)

    def _crash(self, prepared):
        ctypes.string_at(0)


class OddInBatches(Odd):
    across_jobs = 4

    def _batch(self, prepared):
        self._note(f"batch-{len(prepared.tensors['x'])}")
'''


def install(folder: Path) -> Path:
    """Write the package; the folder belongs on PYTHONPATH."""
    (folder / "odd_models_of_the_tests.py").write_text(PACKAGE)
    about = folder / "odd_models_of_the_tests-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-models-of-the-tests\nVersion: 1\n")
    points = "odd = odd_models_of_the_tests:Odd\nodd-in-batches = odd_models_of_the_tests:OddInBatches\n"
    (about / "entry_points.txt").write_text(f"[dicom_node.models]\n{points}")
    return folder


def write_bundle(models_dir: Path, name: str, **sections: Any) -> None:
    """Write the bundle of one behaviour; sections replace those of the manifest."""
    folder = models_dir / name
    folder.mkdir(parents=True)
    code = {"value": "39607008", "scheme": "SCT", "meaning": "Lung"}
    measurements = [
        {
            "id": n,
            "label": n,
            "concept": {"value": "118565006", "scheme": "SCT", "meaning": "Volume"},
            "unit": {"value": "1", "scheme": "UCUM", "meaning": "no units"},
        }
        for n in ("mean", "inputs")
    ]
    manifest = {
        "schema": 1,
        "name": name,
        "title": f"Odd: {name}",
        "version": "1.0",
        "manufacturer": "tests",
        "stage": "research",
        "contacts": [{"name": "tests", "url": "https://example.org"}],
        "facts": {"does": "Misbehaves.", "mechanism": "Python.", "population": "None.", "performance": "None."},
        "intended_use": {"text": "Tests."},
        "inputs": [{"name": "images", "kind": "volume"}],
        "network": {"file": "network.onnx", "format": "onnx", "inputs": {"x": "images"}},
        "steps": {"python": "odd"},
        "outputs": {"finding": code, "measurements": measurements, "template": "measurement-report"},
        "resources": {"time_limit": "20s", "memory": "1GiB"},
    }
    (folder / "model.yaml").write_text(yaml.safe_dump({**manifest, **sections}, sort_keys=False))
    shape = ["n", 1, "h", "w"]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "identity", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "network.onnx")
