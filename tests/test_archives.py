"""Runs in zip and tar archives, read where they lie; and archives that were made to deceive."""

import io
import shutil
import stat
import struct
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from hub_runs import saved
from standin_store import StandInWeb
from test_stores import run, state

import trajhelpers as th
from trajhelpers.sources.archives import is_archive, open_archive
from trajhelpers.sources.disk import LocalFile


def packed(folder, target, top="", kind=zipfile.ZIP_STORED, format=tarfile.PAX_FORMAT):
    """By the libraries that write them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [f"{top}{path.relative_to(folder).as_posix()}" for path in files]
    if target.suffix == ".zip":
        with zipfile.ZipFile(target, "w", kind) as archive:
            for path, name in zip(files, names):
                archive.write(path, name)
    else:
        with tarfile.open(target, "w", format=format) as archive:
            for path, name in zip(files, names):
                archive.add(path, name)
    return target


def gram(source, **options):
    return th.gram(th.open_trajectory(source), device="cpu", **options)


def same(kernel, other):
    assert kernel.names == other.names and list(kernel.steps) == list(other.steps)
    np.testing.assert_array_equal(kernel.increments, other.increments)


@pytest.mark.parametrize("top", ["", "./", "run/", "./a/b/"])
@pytest.mark.parametrize("name", ["run.zip", "run.tar"])
def test_an_archive_is_a_run_like_the_folder_in_it(tmp_path, name, top):
    run(tmp_path)
    archive = packed(tmp_path / "run", tmp_path / name, top)
    before = set(tmp_path.rglob("*"))
    trajectory = th.open_trajectory(archive)
    inner = top.removeprefix("./")
    assert trajectory.sources[0] == f"{archive}/{inner}checkpoint-1/model.safetensors"
    assert trajectory.config == {"a": 1}
    same(th.gram(trajectory, device="cpu"), gram(tmp_path / "run"))
    assert set(tmp_path.rglob("*")) == before, "nothing is unpacked"


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_that_are_too_long_for_a_header(tmp_path, format):
    folder = tmp_path / "run" / ("a" * 90) / ("b" * 60) / "steps"
    folder.mkdir(parents=True)
    for step in (1, 2):
        torch.save(state(step), folder / f"step_{step}.pt")
    same(gram(packed(tmp_path / "run", tmp_path / "x.tar", format=format)), gram(folder))


def test_what_other_programs_pack(tmp_path):
    for step in (1, 2):
        (tmp_path / "run").mkdir(exist_ok=True)
        torch.save(state(step), tmp_path / "run" / f"step_{step}.pt")
    for kind in ("zip", "tar"):
        archive = shutil.make_archive(str(tmp_path / f"by-shutil-{kind}"), kind, tmp_path, "run")
        if kind == "tar":
            same(gram(archive), gram(tmp_path / "run"))
        else:
            with pytest.raises(th.CheckpointError, match=r"step_1.pt: is compressed.*zip -0"):
                gram(archive)


def test_several_archives(tmp_path):
    """Runs are joined; archives of one checkpoint each are checkpoints."""
    for name, steps in (("a", (1, 2)), ("b", (3, 4))):
        run(tmp_path / name, steps=steps)
        packed(tmp_path / name / "run", tmp_path / f"{name}.tar")
        for step in steps:
            one = tmp_path / name / "run" / f"checkpoint-{step}"
            packed(one, tmp_path / f"step_{step}.zip")
    joined = th.open_trajectory([tmp_path / "a.tar", tmp_path / "b.tar"])
    assert joined.steps == (1, 2, 3, 4)
    expected = gram([tmp_path / "a" / "run", tmp_path / "b" / "run"])
    np.testing.assert_array_equal(th.gram(joined, device="cpu").increments, expected.increments)
    listed = th.open_trajectory([tmp_path / f"step_{step}.zip" for step in (1, 2, 3, 4)])
    assert listed.steps == (1, 2, 3, 4)
    np.testing.assert_array_equal(th.gram(listed, device="cpu").increments, expected.increments)


@pytest.mark.parametrize("name", ["run.zip", "run.tar"])
@pytest.mark.parametrize("memory", [2**31, 8_000])
def test_an_archive_far_away(tmp_path, name, memory):
    run(tmp_path)
    archive = packed(tmp_path / "run", tmp_path / name)
    with StandInWeb() as web:
        web.files[name] = archive.read_bytes()
        trajectory = th.open_trajectory(f"{web.endpoint}/{name}")
        opened = len(web.requests)
        far = th.gram(trajectory, device="cpu", memory=memory)
        near = th.gram(
            th.open_trajectory(tmp_path / "run"),
            device="cpu",
            memory=memory,
            partial=tmp_path / "near.partial",
        )
        same(far, near)
        if memory > 10_000:
            assert len(web.requests) - opened <= 4 + 1, "a request a file, neighbours together"
        assert far.source["stamps"] == [[[name, far.source["stamps"][0][0][1]]]] * 3


def test_the_audit_wants_it_unpacked(tmp_path):
    run(tmp_path)
    with pytest.raises(th.CheckpointError, match="is in an archive; unpack it"):
        th.audit(packed(tmp_path / "run", tmp_path / "a.tar"))


# What is no archive of checkpoints


def test_which_names_mean_an_archive():
    for name in ("a.zip", "a.tar", "A.TAR", "a.tar.gz", "a.tgz"):
        assert is_archive(name)
    for name in ("a.pt", "a.pth.tar", "a.npz", "zip", "a.safetensors"):
        assert not is_archive(name)


@pytest.mark.parametrize("how", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_as_a_whole(tmp_path, how):
    run(tmp_path)
    for name in (f"run.tar.{how[2:]}", "run.tar"):
        with tarfile.open(tmp_path / name, how) as archive:
            archive.add(tmp_path / "run", "run")
        with pytest.raises(th.CheckpointError, match=f"{name}: is compressed as a whole.*tar xf"):
            th.open_trajectory(tmp_path / name)


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_a_checkpoint_of_torch_under_the_name_of_an_archive(tmp_path, ending):
    torch.save(state(1), tmp_path / f"a.{ending}")
    with pytest.raises(th.CheckpointError, match=r"ends in \.pt"):
        th.open_trajectory(tmp_path / f"a.{ending}")


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"x" * 5000, bytes(20000)])
@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_something_else(tmp_path, ending, content):
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content)
    with pytest.raises(th.TrajectoryError, match=f"a.{ending}"):
        th.open_trajectory(path)


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_an_archive_that_is_cut_short(tmp_path, ending, keep):
    run(tmp_path)
    whole = packed(tmp_path / "run", tmp_path / f"whole.{ending}").read_bytes()
    path = tmp_path / f"a.{ending}"
    path.write_bytes(whole[: int(keep * len(whole))])
    try:
        gram(path)
    except th.TrajectoryError as error:
        assert f"a.{ending}" in str(error)
    else:
        assert keep == 0.99 and ending == "tar", "only what fills the last record is gone"


# Archives that were made to deceive

NAMES = [
    "../step_1.pt",
    "/step_1.pt",
    "a/../../step_1.pt",
    "a//step_1.pt",
    "a\\step_1.pt",
    "a/./b.pt",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_names_that_lead_elsewhere(tmp_path, ending, name):
    path = tmp_path / f"a.{ending}"
    members = {name: saved(state(1)), "step_2.pt": saved(state(2))}
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for one, content in members.items():
                archive.writestr(zipfile.ZipInfo(one), content)
    else:
        with tarfile.open(path, "w") as archive:
            for one, content in members.items():
                member = tarfile.TarInfo(one)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    with pytest.raises(th.CheckpointError, match="leads elsewhere"):
        th.open_trajectory(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_two_files_of_one_name(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    content = saved(state(1))
    if ending == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for _ in range(2):
                archive.writestr("step_1.pt", content)
    else:
        with tarfile.open(path, "w") as archive:
            for name in ("step_1.pt", "./step_1.pt"):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    with pytest.raises(th.CheckpointError, match="two files in it have the name 'step_1.pt'"):
        th.open_trajectory(path)


def test_links_are_not_followed(tmp_path):
    run(tmp_path)
    (tmp_path / "secret.pt").write_bytes(saved(state(9)))
    (tmp_path / "run" / "step_99.pt").symlink_to(tmp_path / "secret.pt")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(tmp_path / "run", ".")
        hard = tarfile.TarInfo("step_98.pt")
        hard.type, hard.linkname = tarfile.LNKTYPE, "../secret.pt"
        archive.addfile(hard)
        pipe = tarfile.TarInfo("step_97.pt")
        pipe.type = tarfile.FIFOTYPE
        archive.addfile(pipe)
    (tmp_path / "run" / "step_99.pt").unlink()
    packed(tmp_path / "run", tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        link = zipfile.ZipInfo("step_99.pt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "../secret.pt")
    for name, links in (("a.tar", ("99", "98", "97")), ("a.zip", ("99",))):
        trajectory = th.open_trajectory(tmp_path / name)
        assert trajectory.steps == (1, 2, 10)
        for step in links:
            assert any(f"step_{step}.pt: is a link" in line for line in trajectory.left_out)


def test_a_sparse_file(tmp_path):
    """As GNU tar packs one: its bytes are not where its size says."""
    header = tarfile.TarInfo("step_1.pt")
    header.size, header.type = 512, tarfile.GNUTYPE_SPARSE
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (0, 512)
    block[483:495] = b"%011o\0" % 4096
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    second = tarfile.TarInfo("step_2.pt")
    second.size = 512
    (tmp_path / "a.tar").write_bytes(
        bytes(block) + b"x" * 512 + second.tobuf() + b"y" * 512 + bytes(10240)
    )
    with pytest.raises(th.CheckpointError, match="step_1.pt: is sparse"):
        th.open_trajectory(tmp_path / "a.tar")


@pytest.mark.parametrize("size", [-1, -512, -1024, 2**40])
def test_a_tar_that_would_be_read_for_ever(tmp_path, size):
    """A size below nothing leads back to the same header."""
    header = tarfile.TarInfo("step_1.pt")
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = (
        (size % 2**96).to_bytes(12, "big") if size < 0 else b"\x80" + size.to_bytes(11, "big")
    )
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    for kind in (b"0", b"x", b"L"):
        block[156:157] = kind
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        (tmp_path / "a.tar").write_bytes(bytes(block) * 2 + bytes(10240))
        with pytest.raises(th.CheckpointError, match="a.tar"):
            th.open_trajectory(tmp_path / "a.tar")


def test_members_over_the_same_bytes(tmp_path):
    """The directory names one record twice, under two names."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("step_1.pt", saved(state(1)))
        archive.writestr("step_2.pt", saved(state(2)))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    second = content.rindex(b"PK\x01\x02")
    struct.pack_into("<L", content, second + 42, 0)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(th.CheckpointError, match="overlaps another"):
        th.open_trajectory(tmp_path / "a.zip")


def test_a_member_that_ends_beyond_its_place(tmp_path):
    """The record's own header has a longer name than the directory says, which moves it."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("step_1.pt", saved(state(1)))
        archive.writestr("step_2.pt", saved(state(2)))
    content = bytearray((tmp_path / "a.zip").read_bytes())
    struct.pack_into("<H", content, 28, 200)
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(th.CheckpointError, match="step_1.pt ends beyond its place"):
        th.open_trajectory(tmp_path / "a.zip")


def test_reads_stay_within_a_member(tmp_path):
    run(tmp_path)
    folder, _ = open_archive(LocalFile(packed(tmp_path / "run", tmp_path / "a.tar")))
    file = folder.file("checkpoint-1/model.safetensors")
    whole = (tmp_path / "run/checkpoint-1/model.safetensors").read_bytes()
    with file.open() as opened:
        assert opened.read() == whole and opened.seek(-5, 2) and opened.read() == whole[-5:]
    found = np.zeros(10, np.uint8)
    file.read_into(100, found)
    assert found.tobytes() == whole[100:110]
    with pytest.raises(th.CheckpointError, match="model.safetensors: has .* bytes, where"):
        file.read_into(file.size - 5, found)
