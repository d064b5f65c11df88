"""Segments: lists of ranges (name, start, stop) of flattened tensors, of which groups are made."""


def columns_of(segment):
    return sum(stop - start for _, start, stop in segment)


def blocks_of(segments, begin, end, columns):
    """Cut columns ``begin`` to ``end`` of all segments, laid end to end, into blocks that hold
    columns of one segment each.
    """
    at = 0
    for index, segment in enumerate(segments):
        block, width = [], 0
        for name, start, stop in segment:
            first, last = start + max(0, begin - at), min(stop, start + end - at)
            at += stop - start
            while first < last:
                upto = min(last, first + columns - width)
                block.append((name, first, upto))
                width += upto - first
                first = upto
                if width == columns:
                    yield index, block, width
                    block, width = [], 0
        if block:
            yield index, block, width


def united(segments):
    """By name, the sorted ranges that any of the segments has, without overlaps."""
    found = {}
    for segment in segments:
        for name, start, stop in segment:
            found.setdefault(name, []).append((start, stop))
    for name, ranges in found.items():
        united = []
        for start, stop in sorted(ranges):
            if united and start <= united[-1][1]:
                united[-1] = united[-1][0], max(united[-1][1], stop)
            else:
                united.append((start, stop))
        found[name] = united
    return found
