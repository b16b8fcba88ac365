"""Models that are programs: real ones, run with limits, their answers checked and brought onto the source grid."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dicom_node.domain.results import BoxRegion, InferenceResult
from dicom_node.errors import ModelError
from dicom_node.inference import ModelInput, StepRecorder, load_bundle, open_model
from dicom_node.inference.programs.kept_output import kept_output
from tests.commands import dicom_node
from tests.unit.inference.steps.bundles import LUNG, NODULE, ONE, SEGMENT, whole_manifest
from tests.unit.inference.steps.phantom import CENTER_LPS_MM, SOURCES, intensity, places_lps_mm, volume_of

NOW = datetime(2024, 1, 2, tzinfo=UTC)
BALL = {**SEGMENT, "output": "ball.nii.gz", "label_value": 1}
MEAN = {"id": "mean", "label": "Mean", "concept": NODULE, "unit": ONE, "of": "mean_of_all"}
SEGMENTER = """
import nibabel, numpy as np, os, sys, json
image = nibabel.load(os.path.join(sys.argv[1], "images.nii.gz"))
values = np.asarray(image.dataobj)
made = nibabel.Nifti1Image((values > 50).astype(np.uint8), image.affine)
made = made.as_reoriented(nibabel.orientations.ornt_transform(
    nibabel.io_orientation(made.affine), nibabel.orientations.axcodes2ornt("PSL")))
nibabel.save(made, os.path.join(sys.argv[2], "ball.nii.gz"))
json.dump({"measurements": {"mean_of_all": float(values.mean())}, "__mercure_notification": {"text": "done"}},
          open(os.path.join(sys.argv[2], "result.json"), "w"))
"""
Run = Callable[..., InferenceResult]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Make a bundle around a Python program and run it once."""

    def make(
        script: str, outputs: Any, *, grid: str = "axial", network: Any = None, resources: Any = None, recorder: Any = None
    ) -> InferenceResult:
        folder = tmp_path / "bundle"
        folder.mkdir()
        (folder / "run.py").write_text(script)
        argv = [sys.executable, "{bundle}/run.py", "{input}", "{output}"]
        manifest = whole_manifest({"outputs": outputs, "resources": {"time_limit": "60s", **(resources or {})}})
        manifest["network"] = {"format": "command", "command": argv, **(network or {})}
        (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
        model = open_model(load_bundle(folder))
        try:
            return model.run({"images": ModelInput(volume_of(grid), {})}, NOW, recorder)
        finally:
            model.close()

    return make


@pytest.mark.parametrize("grid", ["axial", "sagittal", "oblique", "flipped"])
def test_mask_of_a_program_lands_in_the_right_place(grid: str, run: Run) -> None:
    result = run(SEGMENTER, {"segments": [BALL], "measurements": [MEAN]}, grid=grid)
    volume = volume_of(grid)
    np.testing.assert_array_equal(result.segments[0].mask, volume.values > 50)
    where = places_lps_mm(volume.values.shape, volume.affine_lps_mm)[result.segments[0].mask].mean(axis=0)
    assert np.linalg.norm(where - CENTER_LPS_MM) < 1
    assert result.measurements[0].value == pytest.approx(float(volume.values.mean()), rel=1e-5)
    assert result.model.backend == "command"
    assert intensity(CENTER_LPS_MM) == 100
    assert grid in SOURCES


FINDER = """
import json, sys
json.dump({"findings": [{"id": "nodule", "score": 0.4, "lower_px": [0, 0, 0], "upper_px": [1, 1, 1]},
                        {"id": "nodule", "score": 0.9, "lower_px": [1.5, 2, 3], "upper_px": [4.5, 6, 8]}],
           "scores": {"kind": [0.2, 0.8]}}, open(sys.argv[2] + "/result.json", "w"))
"""


def test_findings_and_answers_of_a_program(run: Run) -> None:
    outputs = {
        "findings": [{"id": "nodule", "label": "Nodule", "concept": NODULE, "output": "findings"}],
        "evaluations": [{"id": "kind", "label": "Kind", "concept": NODULE, "classes": [LUNG, NODULE], "output": "kind"}],
    }
    result = run(FINDER, outputs)
    [found] = result.findings
    assert isinstance(found.region, BoxRegion)
    assert (found.score, found.region.slice_range) == (0.9, (2, 4))
    assert (result.evaluations[0].value.meaning, result.evaluations[0].score) == ("Nodule", 0.8)


NETWORK = "import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)\n"
FAULTS = {
    "too slow": ("import time; time.sleep(60)", {"time_limit": "500ms"}, "took longer than 0.5 s"),
    "too much memory": ("bytearray(3 << 30)", {"memory": "1GiB"}, "ended with status 1"),
    "exit status": ("raise SystemExit(7)", {}, "ended with status 7, 0 is wanted"),
    "nothing written": ("", {}, "lacks measurements mean_of_all"),
    "no JSON": ("import sys; open(sys.argv[2] + '/result.json', 'w').write('{oops')", {}, "is no JSON"),
    "wrong type": (
        "import sys; open(sys.argv[2] + '/result.json', 'w').write('{\"measurements\": {\"mean_of_all\": \"many\"}}')",
        {},
        "measurements.mean_of_all",
    ),
    "unknown key": ("import sys; open(sys.argv[2] + '/result.json', 'w').write('{\"diagnosis\": 1}')", {}, "diagnosis: Extra inputs"),
    "link": ("import os, sys; os.symlink('/etc/hostname', sys.argv[2] + '/result.json')", {}, "is a link"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_program_is_an_error_with_words(fault: str, run: Run) -> None:
    script, resources, words = FAULTS[fault]
    begin = time.monotonic()
    with pytest.raises(ModelError, match=words.replace(".", r"\.")):
        run(script, {"measurements": [MEAN]}, resources=resources)
    assert time.monotonic() - begin < 20


def test_program_reaches_no_network(run: Run) -> None:
    import socket  # noqa: PLC0415

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        recorder = StepRecorder()
        with pytest.raises(ModelError, match="ended with status 1"):
            run(NETWORK.format(port=server.getsockname()[1]), {"measurements": [MEAN]}, recorder=recorder)
        with pytest.raises(BlockingIOError):
            server.accept()


def test_program_sees_nothing_of_the_nodes_environment(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_NODE", "x")
    script = (
        "import json, os, sys\nassert os.environ['MERCURE_IN_DIR'] == sys.argv[1] and os.environ['MONAI_OUTPUTPATH'] == sys.argv[2]\n"
        "json.dump({'measurements': {'mean_of_all': int('SECRET_OF_NODE' in os.environ)}}, open(sys.argv[2] + '/result.json', 'w'))"
    )
    assert run(script, {"measurements": [MEAN]}).measurements[0].value == 0


def test_what_a_program_leaves_running_ends_with_it(run: Run, tmp_path: Path) -> None:
    alive, child = tmp_path / "alive", tmp_path / "child.py"
    child.write_text(f"import time\nwhile True:\n    open({str(alive)!r}, 'w').write(str(time.time()))\n    time.sleep(0.05)\n")
    script = (
        "import json, os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, {str(child)!r}], start_new_session=True)\n"
        f"while not os.path.exists({str(alive)!r}): time.sleep(0.01)\n"
        "json.dump({'measurements': {'mean_of_all': 1}}, open(sys.argv[2] + '/result.json', 'w'))"
    )
    assert run(script, {"measurements": [MEAN]}).measurements[0].value == 1
    last = alive.stat().st_mtime_ns
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline:
        assert alive.stat().st_mtime_ns == last, "it still writes"


OTHER_GRID = SEGMENTER.replace("image.affine)", "image.affine @ np.diag([1, 1, 1.1, 1]))")


@pytest.mark.parametrize(
    ("script", "words"),
    [(OTHER_GRID, "lies on another grid than the images"), ("", "did not write ball.nii.gz; there is nothing"),
     ("import sys; open(sys.argv[2] + '/ball.nii.gz', 'wb').write(b'garbage')", "ball.nii.gz of the program cannot be read")],
)  # fmt: skip
def test_image_that_cannot_be_used_is_refused(script: str, words: str, run: Run) -> None:
    with pytest.raises(ModelError, match=words):
        run(script, {"segments": [BALL]})


DOCKER = """#!{python}
import json, os, subprocess, sys
argv = sys.argv[1:]
with open({record!r}, "a") as stream: stream.write(json.dumps(argv) + "\\n")
if argv[0] == "run":
    places = dict(reversed(argv[n + 1].split(":")[:2]) for n, word in enumerate(argv) if word == "--volume")
    env = dict(argv[n + 1].split("=", 1) for n, word in enumerate(argv) if word == "--env")
    payload = argv[argv.index("tester:1") + 1:]
    def real(text):
        for place, folder in places.items(): text = text.replace(place, folder)
        return text
    sys.exit(subprocess.run([real(word) for word in payload], env={{k: real(v) for k, v in env.items()}}).returncode)
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named docker that notes its arguments and runs the payload on this host."""
    folder, record = tmp_path / "bin", tmp_path / "docker.jsonl"
    folder.mkdir()
    program = folder / "docker"
    program.write_text(DOCKER.format(python=sys.executable, record=str(record)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return record


def test_container_gets_limits_and_no_network(docker: Path, run: Run) -> None:
    result = run(SEGMENTER, {"segments": [BALL], "measurements": [MEAN]}, network={"image": "tester:1"}, resources={"memory": "1GiB"})
    assert result.segments[0].mask.any()
    [argv] = [json.loads(line) for line in docker.read_text().splitlines()]
    options = " ".join(argv[: argv.index("tester:1")])
    for wanted in ("--network none", f"--memory {1 << 30}", "--cap-drop ALL", "--pull never", ":/input:ro", ":/output "):
        assert wanted in options + " "
    assert "program=docker" in result.parameters


def test_container_that_takes_too_long_is_killed_by_name(docker: Path, run: Run) -> None:
    with pytest.raises(ModelError, match="took longer"):
        run("import time; time.sleep(60)", {"measurements": [MEAN]}, network={"image": "tester:1"}, resources={"time_limit": "1s"})
    started, killed = [json.loads(line) for line in docker.read_text().splitlines()]
    assert killed == ["kill", started[started.index("--name") + 1]]


def test_bundle_of_a_program_is_added_and_faults_have_lines(tmp_path: Path) -> None:
    folder = tmp_path / "program"
    folder.mkdir()
    manifest = whole_manifest({"outputs": {"measurements": [MEAN]}})
    manifest["network"] = {"format": "command", "command": ["true"]}
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
    done = dicom_node("models", "add", folder, "--models-dir", tmp_path / "models")
    assert done.code == 0, done.err
    assert "command fp32" in done.out
    manifest["network"] = {"format": "command", "file": "x"}
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
    found = dicom_node("models", "verify", "--static", folder).err
    assert "format command names no program" in found
    assert "a program is named by command or image, not by file" in found


@pytest.mark.parametrize("blocks", [1, 3, 40, 200])
def test_of_what_a_program_writes_the_last_is_kept_and_for_this_user_only(tmp_path: Path, blocks: int) -> None:
    path, limit = tmp_path / "output.txt", 100_000
    path.write_text("of an earlier run")
    written = b"".join(f"{number:05d}".encode() * 1000 for number in range(blocks))
    with kept_output(path, limit) as stream, os.fdopen(os.dup(stream), "wb") as pipe:
        pipe.write(written)
    kept = path.read_bytes()
    assert kept == written[-limit:] or (limit <= len(kept) <= limit + (64 << 10) and written.endswith(kept))
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_program_s_output_goes_where_the_run_says_and_the_error_names_it(tmp_path: Path, run: Run) -> None:
    recorder = StepRecorder(output_file=tmp_path / "said.txt")
    script = "import sys\nprint('Phantom^Chest on stdout', flush=True)\nprint('and on stderr', file=sys.stderr)\nsys.exit(3)\n"
    with pytest.raises(ModelError, match="status 3") as caught:
        run(script, {"measurements": [MEAN]}, recorder=recorder)
    assert (tmp_path / "said.txt").read_text() == "Phantom^Chest on stdout\nand on stderr\n"
    assert str(tmp_path / "said.txt") in caught.value.hint
    assert "Phantom" not in str(caught.value) + caught.value.hint
