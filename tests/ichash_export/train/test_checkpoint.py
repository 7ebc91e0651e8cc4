"""Checkpoints: what goes in comes out, and a broken one says so."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.optim import SGD, Adam

from ichash_export.train import checkpoint as module
from ichash_export.train.checkpoint import CHECKPOINT, Checkpoint, checkpoint_path, load, load_record, save
from ichash_export.train.options import TrainingOptions
from ichash_export.train.run_record import ItemCounts, ModelSizes, RunIdentity, RunLog, RunRecord
from milvus_ichash.errors import InputError


def _record(epoch: int = 0) -> RunRecord:
    return RunRecord(
        identity=RunIdentity(
            method="tiny", bits=8, settings={"rate": 0.1 + 0.2, "list": [1, None]}, options=TrainingOptions(), data={}
        ),
        sizes=ModelSizes(dims={"image": 4}, classes=2, bits=8),
        label_names=("a", "b"),
        counts=ItemCounts(training_items=9, complete_items=9, observed={"image": 9}, validation_items=0),
        versions={},
        log=RunLog(epochs=9, epoch=epoch),
    )


def _trained(seed: int = 0) -> tuple[nn.Module, dict[str, torch.optim.Optimizer]]:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    optimizers = {"adam": Adam(net[0].parameters(), lr=0.1), "sgd": SGD(net[2].parameters(), lr=0.1, momentum=0.9)}
    _step(net, optimizers)
    return net, optimizers


def _step(net: nn.Module, optimizers: dict[str, torch.optim.Optimizer]) -> None:
    net.zero_grad()
    net(torch.arange(20.0).reshape(5, 4)).square().mean().backward()
    for optimizer in optimizers.values():
        optimizer.step()


def test_optimisers_go_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    net, optimizers = _trained()
    record = _record(3)
    record.log.add({"loss": 1 / 3}, {"observed": 2 / 3})
    save(
        tmp_path / "c",
        Checkpoint(record, net.state_dict(), optimizers={name: o.state_dict() for name, o in optimizers.items()}),
    )
    _step(net, optimizers)
    found = load(tmp_path / "c")
    other, fresh = _trained(seed=1)
    other.load_state_dict(found.weights)
    for name, optimizer in fresh.items():
        optimizer.load_state_dict(found.optimizers[name])
    _step(other, fresh)
    assert found.record == load_record(tmp_path / "c") == record
    torch.testing.assert_close(other.state_dict(), net.state_dict(), atol=0, rtol=0)


_LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text("ab", max_size=3)
)
_TREES = st.recursive(
    _LEAVES | st.lists(st.integers(-9, 9), max_size=4).map(torch.tensor),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text("ab", max_size=3) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tree=st.dictionaries(st.text("ab", min_size=1), _TREES, max_size=2))
def test_any_nesting_survives(tree: dict, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("c") / "c"
    save(path, Checkpoint(_record(), {}, optimizers={"o": tree}))
    assert _same(load(path).optimizers["o"], tree)


def _same(a: object, b: object) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return list(a) == list(b) and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and a == b


def test_parts_stay_apart_and_shared_memory_is_no_problem(tmp_path: Path) -> None:
    x = torch.arange(6.0).reshape(2, 3)
    save(
        tmp_path / "c", Checkpoint(_record(), {"w": x, "tied": x, "turned": x.T}, best={"w": x + 1}, state={"w": x > 2})
    )
    found = load(tmp_path / "c")
    made = ({"w": x, "tied": x, "turned": x.T}, {"w": x + 1}, {"w": x > 2})
    torch.testing.assert_close((found.weights, found.best, found.state), made, atol=0, rtol=0)
    assert found.optimizers == {}


def test_no_pickle_and_readable_by_anyone(tmp_path: Path) -> None:
    net, optimizers = _trained()
    save(
        tmp_path / "c",
        Checkpoint(_record(), net.state_dict(), optimizers={n: o.state_dict() for n, o in optimizers.items()}),
    )
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads((tmp_path / "c").read_bytes())  # noqa: S301
    with safe_open(tmp_path / "c", "np") as file:
        assert "weights/0.weight" in file.keys()  # noqa: SIM118
        assert json.loads(file.metadata()["ichash"])["info"] == _record().model_dump(mode="json")
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o644


def test_a_write_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "c", Checkpoint(_record(1), {}))

    def half(tensors: object, path: Path, metadata: object) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_file", half)
    with pytest.raises(InputError, match=r"cannot be written: .*No space left"):
        save(tmp_path / "c", Checkpoint(_record(2), {}))
    assert load_record(tmp_path / "c") == _record(1)
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


def test_a_part_left_by_a_killed_process_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / f"{CHECKPOINT}.part").write_bytes(b"half")
    save(tmp_path / CHECKPOINT, Checkpoint(_record(1), {}))
    assert [p.name for p in tmp_path.iterdir()] == [CHECKPOINT]


@pytest.mark.parametrize("cut", [0, 5, 200, -1])
def test_a_truncated_file_is_named(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "c"
    save(path, Checkpoint(_record(), _trained()[0].state_dict()))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(InputError, match="is not a whole checkpoint"):
        load(path)


NO_RECORD = {"ichash": '{"format": 1, "optimizers": {}, "info": {"identity": 1}}'}


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "there is no checkpoint at"),
        (lambda path: save_file({"x": torch.zeros(1)}, path), "is not a whole checkpoint of milvus-ichash"),
        (lambda path: save_file({}, path, metadata=NO_RECORD), "is not a whole checkpoint of milvus-ichash"),
        (
            lambda path: save_file({}, path, metadata={"ichash": '{"format": 99}'}),
            "checkpoint format 99; this version reads format 1",
        ),
    ],
    ids=["no file", "other tensors", "no record", "a newer format"],
)
def test_what_is_no_checkpoint(tmp_path: Path, write: Callable[[Path], None], message: str) -> None:
    write(tmp_path / CHECKPOINT)
    with pytest.raises(InputError, match=message):
        load(checkpoint_path(tmp_path))


def test_a_checkpoint_is_that_of_a_run_or_a_file(tmp_path: Path) -> None:
    assert checkpoint_path(tmp_path) == tmp_path / CHECKPOINT
    assert checkpoint_path(tmp_path / "other") == tmp_path / "other"


def test_a_checkpoint_is_whole_while_another_process_replaces_it(tmp_path: Path) -> None:
    """Files of changing size, so that a header of one read with the tensors of another is seen."""
    path = tmp_path / "checkpoint.safetensors"
    save(path, _numbered(0))
    writer = multiprocessing.get_context("fork").Process(target=_write_on, args=(path,), daemon=True)
    writer.start()
    seen: set[int] = set()
    while len(seen) < 100:
        assert writer.is_alive()
        read = load(path)
        assert torch.equal(read.weights["w"], _numbered(read.record.log.epoch).weights["w"])
        seen.add(load_record(path).log.epoch)
    writer.kill()
    writer.join()


def _numbered(k: int) -> Checkpoint:
    return Checkpoint(_record(k), {"w": torch.full((1000 + k % 7 * 100,), float(k))})


def _write_on(path: Path) -> None:
    for k in range(1, 10**9):
        save(path, _numbered(k))
