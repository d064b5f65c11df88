"""What of a pass was compared with checksums: by the time it ends, for the kernel to say."""

import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tqdm.auto import tqdm

from ..errors import ChecksumError
from ..reading.compared import NO_CHECKSUM, facts_of, in_words, sum_of_facts
from ..reading.lora import LowRankLayout
from ..reading.place import File
from ..reading.tensors import StoredTensor, is_far
from ..sources.protocol import Checks
from ..stored import Segment, Stored
from ..telling import bar, tell
from .ranks import ALONE, Ranks

_CHUNK = 16 << 20


def note_compared(
    source: dict[str, Any],
    trajectory: Stored,
    checks: Checks | None,
    verify: bool,
    ranks: Ranks = ALONE,
) -> None:
    """Into a kernel's source, and, where not all was compared, in a line."""
    several = []
    if checks:
        ranks.exchange(checks)
        several.append(checks.facts)
    if trajectory.origin.compared.get("files"):
        several.append(trajectory.origin.compared)
    elif verify:
        several.append(_compared_here(trajectory, ranks))
    facts = sum_of_facts(several)
    if not facts["files"]:
        return
    source["verified"] = facts
    if facts["not_compared"]:
        more = checks and not verify and facts["not_compared"].keys() - {NO_CHECKSUM}
        remedy = "; verify=True (--verify) reads the rest, and compares it" if more else ""
        tell(f"compared: {in_words(facts)}{remedy}")


def finish(checks: Checks | None) -> None:
    """Read, and compare, what a pass that fetches nothing ahead has left."""
    if checks is None:
        return
    with bar(unit="B", unit_scale=True, desc="verify", total=checks.to_fetch[1]) as shown:
        checks.finish()
        try:
            while not checks.wait(0.1):
                shown.update(checks.received - shown.n)
        finally:
            checks.cancel()
            checks.drain()


def confirm_nonfinite(
    trajectory: Stored, checks: Checks | None, rows: Sequence[int], segment: Segment
) -> None:
    """Of checkpoints that are about to be left out for what is in a segment: that their files do
    hold it, and it did not only arrive so.
    """
    if checks is None or trajectory.nonfinite != "skip-checkpoint":
        return
    checks.confirm(
        found
        for name, start, stop in segment
        for row in rows
        for found in trajectory.layout.tensors[name][row].ranges(start, stop)
        if is_far(found[0])
    )


def _compared_here(trajectory: Stored, ranks: Ranks) -> dict[str, Any]:
    """Files on this machine: zips have checksums of their records, others none."""
    files = list(dict(_files_here(trajectory)).values())[ranks.rank :: ranks.size]
    found: Counter[bool] = Counter()
    with bar(unit="B", unit_scale=True, desc="verify") as shown:
        shown.total = sum(file.size for file in files)
        for file in files:
            found[_compare_records(file, shown)] += 1
    facts = facts_of(
        len(files),
        {"crc32": found[True]} if found[True] else {},
        {NO_CHECKSUM: found[False]} if found[False] else {},
    )
    return sum_of_facts(ranks.meet(facts))


def _files_here(trajectory: Stored) -> Iterator[tuple[str, File]]:
    for tensor in _tensors(trajectory):
        places: Any = [tensor.place] if hasattr(tensor.place, "open") else tensor.places
        for one in places:
            if hasattr(one, "open") and not is_far(one):
                yield str(one), one


def _tensors(trajectory: Stored) -> Iterator[StoredTensor]:
    if isinstance(trajectory.layout, LowRankLayout):
        for lows in trajectory.layout.layers.values():
            for low in filter(None, lows):
                yield from (low.down, low.up)
    else:
        for tensors in trajectory.layout.tensors.values():
            yield from tensors


def _compare_records(file: File, shown: tqdm) -> bool:
    """Whether all could be compared; a ChecksumError where one is not what it should be."""
    with file.open() as opened:
        if opened.read(4) != b"PK\x03\x04":
            return False
        with zipfile.ZipFile(opened) as archive:
            entries = [entry for entry in archive.infolist() if entry.file_size]
            try:
                for entry in filter(_has_crc, entries):
                    with archive.open(entry) as record:
                        while content := record.read(_CHUNK):
                            shown.update(len(content))
            except zipfile.BadZipFile:
                raise ChecksumError(
                    f"{file}: record {entry.filename} is not what its CRC-32 says; fetch or save"
                    " it again"
                ) from None
    return all(map(_has_crc, entries))


def _has_crc(entry: zipfile.ZipInfo) -> bool:
    """Torch writes 0 where it is told to compute none."""
    return bool(entry.CRC)
