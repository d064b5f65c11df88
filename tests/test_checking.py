"""Of files far away, whatever a pass reads of them in whatever order: healthy bytes are never
refused, and wrong ones are, or it is said that they were not compared.
"""

import hashlib
import zlib
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trajhelpers as th
from trajhelpers.sources.remote import checking as _checking
from trajhelpers.sources.remote import files as _files
from trajhelpers.sources.remote.checksums import Checksum, of_record
from trajhelpers.sources.remote.file import Tree

SIZE = 400


class Far:
    """The content of one file, and what of it arrives otherwise: ``{byte: times}``."""

    whole = "copy it"

    def __init__(self, content):
        self.content, self.wrong = content, {}

    def get_range(self, file, offset, view, stop):
        view[:] = self.content[offset : offset + len(view)]
        for at, times in self.wrong.items():
            if offset <= at < offset + len(view) and times:
                view[at - offset] ^= 1
                self.wrong[at] -= 1


class Listed:
    size, stamp = SIZE, "x"


class TreeOfOne(Tree):
    def checksum(self, path):
        return self.listed[path].checksum


def far_file(content, hashed):
    requests = Far(content)
    files = _files.RemoteFiles(requests)
    listed = Listed()
    value = hashlib.sha256(content).hexdigest()
    listed.checksum = Checksum("sha256", 0, SIZE, value) if hashed else None
    return requests, files, TreeOfOne(files, "s3://bucket", {"a": listed}).file("a")


ranges = st.lists(st.integers(0, SIZE), min_size=2, max_size=16, unique=True).map(
    lambda edges: list(zip(sorted(edges)[::2], sorted(edges)[1::2]))
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_a_pass_reads_is_right_or_refused_or_said(data):
    content = data.draw(st.binary(min_size=SIZE, max_size=SIZE))
    hashed, verify = data.draw(st.booleans()), data.draw(st.booleans())
    requests, files, file = far_file(content, hashed)
    for begin, end in data.draw(ranges, label="read at opening"):
        files.read(file, begin, end - begin)
    records = data.draw(st.one_of(st.just([]), ranges), label="records")
    files.expect_records(file, [of_record(b, e - b, zlib.crc32(content[b:e])) for b, e in records])
    pieces = data.draw(st.one_of(ranges, ranges.flatmap(st.permutations)), label="pieces")
    cuts = sorted(data.draw(st.sets(st.integers(1, len(pieces)))) | {0, len(pieces)})
    blocks = [[(file, *piece) for piece in pieces[a:b]] for a, b in zip(cuts, cuts[1:])]
    requests.wrong = data.draw(
        st.dictionaries(st.integers(0, SIZE - 1), st.sampled_from([1, 1000]), max_size=2),
        label="wrong",
    )
    is_healthy = not requests.wrong
    right = True
    with mock.patch.object(_files, "_WIDEST_GAP", 5), mock.patch.object(_checking, "_CHUNK", 30):
        try:
            checks = files.check(blocks, verify=verify)
            for block in blocks:
                fetch = files.fetch(block, checks)
                fetch.wait(None)
                right &= all(fetch.find(file, b, e - b) == content[b:e] for _, b, e in block)
            checks.finish()
            checks.wait(None)
        except th.CheckpointError:
            assert not is_healthy
            return
    facts = checks.facts
    assert (
        facts["files"] == 1 == sum([*facts["compared"].values(), *facts["not_compared"].values()])
    )
    assert right or facts["not_compared"]
    if verify and hashed:
        assert facts["compared"] == {"sha256": 1}


def test_what_is_read_twice_at_opening_must_be_the_same():
    requests, files, file = far_file(bytes(SIZE), True)
    files.read(file, 10, 50)
    requests.wrong = {55: 1}
    files.read(file, 60, 30)
    with pytest.raises(th.CheckpointError, match="arrives otherwise each time"):
        files.read(file, 40, 40)
