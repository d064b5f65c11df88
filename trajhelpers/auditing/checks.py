"""Is each checkpoint of a run what it says it is? By hashes, sizes and headers, before any weights
are read; by the increments, afterwards.
"""

from ..kernel import ModelSetKernel, TrajectoryKernel
from ..sources.catalogue import choose_format
from ..sources.hub.address import is_hub
from ..sources.hub.buckets import HubBuckets
from ..sources.stores.address import is_in_a_store, shown
from .from_kernel import findings_in
from .local import local_revisions
from .report import Audit, Finding
from .rules import audit_revisions


def audit(source, revisions=None, every=1, skip=(), format=None, deep=None):
    """Look for steps that are missing, damaged or doubled, in both formats where a run has both,
    without reading weights; and, where there is a kernel, for those that are not on the path.

    Parameters
    ----------
    source : str, path or TrajectoryKernel
        ``"hf://OWNER/NAME"``, for which the hub's metadata suffice; or a folder (or list of files)
        as :func:`trajhelpers.open_trajectory` takes it, whose files are hashed. Or a kernel, by
        itself: that of a sample will do, ``th.audit(th.gram(trajectory, sample=0.01))``.
    revisions, every, skip
        As for :func:`trajhelpers.open_trajectory`.
    format : {"safetensors", "bin"}, optional
        The format that is to be read; the other is then not looked at.
    deep : TrajectoryKernel, optional
        The kernel of these checkpoints, which is audited with them.

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

    From a kernel (what one rule accounts for is not
    shown to the next, and what is found in a sample is beyond 3 standard errors):

    *Repeated*, an error, is a checkpoint equal to another one with a different one in between: as
    a whole, or in groups that hold 1 % of the parameters. *Still*: equal in a row.

    *Unrelated* are the checkpoints on one side of a break across which nothing is left of the
    first one: in groups that hold 9/10 of the way to it, the cosine with it is 0 within 4/√p, there
    and ever after, and the increment across is more than 4 times as long as those beside it. A run
    may forget its initialization, but not at one stroke.

    On a path, the nearer in time is the nearer in space, whatever the rate and the spacing.
    *Swapped* are two, up to 4 places apart, of which the earlier is farther from each of the 3
    before (2 at least), and nearer to each of the 3 after, by more than half of their own distance,
    all squared; a random walk in reverse has all of it, noise around one place none, and of a swing
    not all can agree. A *detour* is a checkpoint, or up to three in a row, through which the way is
    more than twice as long as is usual (median) among the 3 such before and after, against the
    direct one, which it cannot be where nearer is nearer. Instabilities swing out and back, too: a
    wrong file is besides twice as near to another step as to its neighbours; or as far from all as
    half of what the run has come. At either end: twice as near to another as to the neighbour.

    *Length*: an increment that is, a root of steps, more than 4 times longer (or shorter) than the
    medians of the 3 before and of the 3 after, and by more than 6 usual jumps (1.4826 × the median
    change of the logarithm from one to the next); at either end of the run, where there is one
    side, 30 times longer."""
    if isinstance(source, (TrajectoryKernel, ModelSetKernel)):
        return _audit_of_kernel(source, revisions, every, tuple(skip), format, deep)
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
        result.sampled = _sampled(deep)
    return result


def _audit_of_kernel(kernel, *options):
    if isinstance(kernel, ModelSetKernel):
        raise TypeError("source: a set of models is no path; give a TrajectoryKernel")
    if options != (None, 1, (), None, None):
        raise ValueError(
            "revisions, every, skip, format, deep: are for checkpoints; of a kernel, take part:"
            " kernel[::2]"
        )
    return Audit(repr(kernel), [], {}, *findings_in(kernel), _sampled(kernel))


def _sampled(kernel):
    return kernel.sample.in_words(kernel.p) if kernel.sample else ""
