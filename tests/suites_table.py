"""Prints what a user types and sees for each published suite, as a table in Markdown:
`python tests/suites_table.py`. It opens each row of suites.py against the stand-in hub.
"""

import sys
import tempfile
from pathlib import Path

import pytest
from standin_hub import StandInHub
from suites import IN_MAIN, MULTIBERTS, ROWS
from test_suites import as_bin, fill, save, state
from written_runs import unpack

import trajhelpers as th
from trajhelpers.reading.steps import Position, span
from trajhelpers.telling import silently


def main():
    print("| suite | what is typed | what is seen |\n|---|---|---|")
    for row in ROWS:
        source = f"hf://{row.repository}"
        options = "".join(f", {name}={value!r}" for name, value in row.typed.items())
        with a_hub() as hub:
            fill(hub, row)
            seen = what_is_seen(source, **row.typed)
        shown = options if len(options) < 90 else f"{options[:80]} …"
        line(row.suite, f"open_trajectory({source!r}{shown})", seen)
    with a_hub() as hub:
        for value, repository in enumerate(MULTIBERTS):
            hub.add(repository, "main", {"pytorch_model.bin": as_bin(state(value))})
        sources = [f"hf://{repository}" for repository in MULTIBERTS]
        line("MultiBERTs", f"open_trajectory([{sources[0]!r}, …])", what_is_seen(sources))
    for name, (repository, paths, under, _) in IN_MAIN.items():
        files = {
            path: save(state(value)) if path.endswith(".safetensors") else as_bin(state(value))
            for path, value in paths.items()
        }
        in_main(name, repository, files, under)
    for name, repository, writer, case in (
        ("neo_7b, Megatron", "m-a-p/neo_7b", "megatron_ranks", "two_by_two"),
        ("neox-ckpt-pythia", "EleutherAI/neox-ckpt-pythia-14m-v1", "replicas", "neox"),
    ):
        with tempfile.TemporaryDirectory() as folder:
            run = unpack(writer, case, Path(folder)) / "run"
            files = [path for path in run.rglob("*") if path.is_file()]
            in_main(
                name, repository, {path.relative_to(run).as_posix(): path for path in files}, ""
            )


def in_main(name, repository, files, under):
    with a_hub() as hub:
        hub.add(repository, "main", files)
        source = f"hf://{repository}{under}"
        line(name, f"open_trajectory({source!r})", what_is_seen(source))


class a_hub:
    def __enter__(self):
        self.patch, self.folder = pytest.MonkeyPatch(), tempfile.TemporaryDirectory()
        self.hub = StandInHub().__enter__()
        self.hub.connect(self.patch, Path(self.folder.name))
        return self.hub

    def __exit__(self, *_):
        self.hub.__exit__(None, None, None)
        self.patch.undo()
        self.folder.cleanup()


def what_is_seen(source, **options):
    try:
        with silently():
            trajectory = th.open_trajectory(source, **options)
    except th.TrajectoryError as error:
        return f"**asks**: {error}" if isinstance(error, th.StepError) else f"**refuses**: {error}"
    positions = [Position(one.step, one.run, one.tokens) for one in trajectory.checkpoints]
    opened = f"opens {trajectory.n}: {span(positions)}"
    return "; ".join([opened, *(f"“{note}”" for note in trajectory.notes)])


def line(*cells):
    print("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
