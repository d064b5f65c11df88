"""Is each checkpoint of a run what it says it is? By hashes, sizes and headers, before any weights
are read; by the increments, afterwards.
"""

from ..sources.catalogue import choose_format
from ..sources.hub.address import is_hub
from ..sources.hub.buckets import HubBuckets
from ..sources.stores.address import is_in_a_store, shown
from .from_kernel import findings_in
from .local import local_revisions
from .report import Finding
from .rules import audit_revisions


def audit(source, revisions=None, every=1, skip=(), format=None, deep=None):
    """Look for steps that are missing, damaged or doubled, in both formats where a run has both,
    without reading weights.

    Parameters
    ----------
    source : str or path
        ``"hf://OWNER/NAME"``, for which the hub's metadata suffice; or a folder (or list of files)
        as :func:`trajhelpers.open_trajectory` takes it, whose files are hashed.
    revisions, every, skip
        As for :func:`trajhelpers.open_trajectory`.
    format : {"safetensors", "bin"}, optional
        The format that is to be read; the other is then not looked at.
    deep : TrajectoryKernel, optional
        The kernel of these checkpoints. Increments that are zero, or out of line with their
        neighbours, are noted.

    Returns
    -------
    Audit

    Raises
    ------
    CheckpointError, StepError
        Where there is nothing to audit. What is wrong with single checkpoints is not raised, but
        reported.

    Notes
    -----
    *Repeated* is a weight file (or shard) under two steps when the weights changed in between: a
    step between them holds another file, or their files of the other format differ. Steps in a row
    with the same file may be a run that stood still, and are only noted: Pythia's learning rate was
    0 in the first step, so that step 1 is step 0.

    An increment is noted when its length a root of steps is more than 4 times longer (or shorter)
    than the medians of the 3 before and of the 3 after, and by more than 6 usual jumps (1.4826 ×
    the median change of the logarithm from one to the next); at either end of the run, where there
    is one side, 30 times longer. A checkpoint is noted when the way through it is a detour: its two
    increments are together more than twice as long, against the direct way, as is usual (median)
    among the 3 such pairs before and after."""
    problems = {}
    on_hub = is_hub(source) or (isinstance(source, (list, tuple)) and any(map(is_hub, source)))
    if on_hub:
        from ..sources.hub.revisions import find_run

        catalogue, left_out, _, guesses = find_run(source, revisions, every, skip)
    else:
        if revisions is not None:
            raise ValueError(
                f"revisions: is for sources on the hub (hf://OWNER/NAME), not for {shown(source)}"
            )
        if is_in_a_store(source) or HubBuckets().accepts(source):
            raise ValueError(
                f"{shown(source)}: lies in a store; the audit looks at repositories on the hub and"
                " at folders of this machine"
            )
        catalogue, problems, left_out, guesses = local_revisions(source, every, skip)
    notes = [Finding("order", None, (), line) for line in guesses]
    notes += [Finding("left out", None, (), line) for line in left_out]
    result = audit_revisions(catalogue, format, problems)
    if not on_hub and format is None:
        # Of a folder, each step is read by itself, from safetensors where it has them.
        result.formats = {
            revision.key: choose_format([revision])[revision.key] for revision in catalogue
        }
    result.source = (
        source
        if isinstance(source, str)
        else ", ".join(map(str, source))
        if isinstance(source, (list, tuple))
        else str(source)
    )
    result.notes += notes
    if deep is not None:
        unknown = sorted(
            {int(step) for step in deep.steps} - {revision.step for revision in catalogue}
        )
        if unknown:
            raise ValueError(
                f"deep: the kernel has step {unknown[0]}, which is not among those that are"
                " audited; give the kernel of these checkpoints"
            )
        errors, notes = findings_in(deep)
        result.errors += errors
        result.notes += notes
    return result
