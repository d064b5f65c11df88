"""The miniature suite: its recipe is Pythia's, its text is what it says, its checkpoints are read
as the hub's are.
"""

import importlib.util
import json
import lzma
import math
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import trajhelpers as th
from trajhelpers.lab.data import DATA_FOLDER
from trajhelpers.lab.training import text as text_module
from trajhelpers.lab.training.gpt_neox import build_language_model
from trajhelpers.lab.training.recipes import LanguageRecipe
from trajhelpers.lab.training.tasks import language as language_task
from trajhelpers.lab.training.text import load_text

pytest.importorskip("transformers")

SMALL = LanguageRecipe(
    width=16,
    learning_rate=0.01,
    weight_decay=0.5,
    steps=40,
    batch_size=4,
    context=16,
    checkpoints_every=20,
)


def train(recipe, folder, **options):
    return th.training.train(recipe, folder, device="cpu", progress=False, **options)


def stop_at(last):
    return lambda step, log: step == last


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language") / "run"
    return folder, train(SMALL, folder)


def test_the_schedule_is_pythias_in_shape():
    """Worked out by hand for 1,000 steps: ten of warm-up, then from the peak down to a tenth."""
    recipe = SMALL.replace(steps=1000)
    assert [recipe.rate(step) for step in (0, 4, 9)] == pytest.approx(
        [0.001, 0.005, 0.01], rel=1e-15
    )
    assert recipe.rate(10) == 0.01
    assert recipe.rate(10 + 495) == pytest.approx(0.0055, rel=1e-12)  # half way
    assert recipe.rate(999) == pytest.approx(0.001, rel=1e-4) and recipe.rate(999) > 0.001


def test_decay_exposure_is_the_sum_of_rate_times_decay():
    recipe = SMALL.replace(steps=1000)
    # 1/10 + … + 10/10; the mean of a cosine's half period, but for its two ends
    warm_up, cosine = 0.01 * 5.5, 0.0055 * 990
    assert recipe.decay_exposure == pytest.approx(0.5 * (warm_up + cosine), rel=1e-3)
    assert recipe.replace(weight_decay=1.0).decay_exposure == pytest.approx(
        2 * recipe.decay_exposure, rel=1e-14
    )


@pytest.mark.parametrize(
    "change, message",
    [
        ({"width": 24}, "width: expected a multiple of 16"),
        (
            {"tokens": "words"},
            "tokens: expected one of characters, bpe-2048, shuffled, sums, got 'words'",
        ),
        ({"steps": 50}, "steps: expected a multiple of checkpoints_every, 20"),
        ({"learning_rate": 0}, "learning_rate: expected a number above 0"),
        ({"weight_decay": -1}, "weight_decay: expected a number from 0 on"),
        ({"layers": 0}, "layers: expected a whole number from 1 on"),
    ],
)
def test_a_recipe_refuses_what_makes_no_sense(change, message):
    with pytest.raises(ValueError, match=message):
        SMALL.replace(**change)


def test_a_recipe_reads_what_it_writes():
    assert LanguageRecipe.from_json(SMALL.to_json()) == SMALL
    assert SMALL.replace(weight_decay=0).id == SMALL.replace(weight_decay=0.0).id


def test_the_text_is_split_without_loss():
    characters = lzma.decompress((DATA_FOLDER / "bible-kjv.txt.xz").read_bytes()).decode()
    alphabet = sorted(set(characters))
    text = load_text()
    assert text.vocabulary == len(alphabet) == 63 and text.characters_per_token == 1
    train, validation = [
        "".join(alphabet[token] for token in text.tokens[split])
        for split in ("train", "validation")
    ]
    rebuilt, at_train, at_validation = [], 0, 0
    for piece in range(math.ceil(len(characters) / 2000)):
        if piece % 20 == 19:
            rebuilt.append(validation[at_validation : at_validation + 2000])
            at_validation += 2000
        else:
            rebuilt.append(train[at_train : at_train + 2000])
            at_train += 2000
    assert "".join(rebuilt) == characters
    assert at_validation == len(validation) and not re.search(
        r"^\w+:\d+ ", characters, re.MULTILINE
    )


def test_byte_pairs_decode_to_the_same_text():
    tokenizers = pytest.importorskip("tokenizers")
    text, characters = load_text("bpe-2048"), load_text()
    assert text.vocabulary == 2048
    tokenizer = tokenizers.Tokenizer.from_file(str(DATA_FOLDER / "bible-kjv-bpe-2048.json"))
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = sorted(
        set(lzma.decompress((DATA_FOLDER / "bible-kjv.txt.xz").read_bytes()).decode())
    )
    assert tokenizer.decode(text.tokens["validation"].tolist()) == "".join(
        alphabet[token] for token in characters.tokens["validation"]
    )
    assert text.characters_per_token == pytest.approx(
        len(characters.tokens["validation"]) / len(text.tokens["validation"])
    )


def test_shuffled_text_has_the_characters_of_the_text_and_no_order():
    plain, shuffled = load_text(), load_text("shuffled")
    counts = [
        torch.bincount(torch.cat(list(text.tokens.values())), minlength=63)
        for text in (plain, shuffled)
    ]
    assert torch.equal(*counts) and shuffled.vocabulary == 63
    tokens = shuffled.tokens["train"]
    # of neighbours: as often equal as two drawn at random, to five standard errors
    share = counts[1].double() / counts[1].sum()
    same = (tokens[1:] == tokens[:-1]).double().mean().item()
    expected = share.square().sum().item()
    assert abs(same - expected) < 5 * math.sqrt(expected / len(tokens))
    assert torch.equal(tokens, load_text("shuffled").tokens["train"])


def test_sums_are_right():
    text = load_text("sums")
    alphabet = sorted("0123456789+=\n")
    assert text.vocabulary == len(alphabet)
    # the first pieces lie before the first that is held out
    lines = "".join(alphabet[token] for token in text.tokens["train"][:38_000]).split("\n")[:-1]
    for line in lines:
        first, second, total = map(int, re.fullmatch(r"(\d+)\+(\d+)=(\d+)", line).groups())
        assert first + second == total and max(first, second) < 1000


def test_the_initialization_is_pythias():
    recipe = SMALL.replace(width=128, layers=4)
    for name, parameter in build_language_model(recipe, 63).named_parameters():
        values = parameter.detach().double()
        if parameter.dim() == 1:
            assert torch.all(
                values == (1.0 if "norm" in name and name.endswith("weight") else 0.0)
            ), name
            continue
        expected = (
            2 / 4 / math.sqrt(128)
            if re.search(r"attention\.dense|4h_to_h", name)
            else math.sqrt(2 / 5 / 128)
        )
        # A sample deviation of N normal numbers has a relative error of 1/√(2N); five of them.
        assert values.std().item() == pytest.approx(
            expected, rel=5 / math.sqrt(2 * values.numel())
        ), name
        assert abs(values.mean().item()) < 5 * expected / math.sqrt(values.numel()), name


def test_seeds_differ_and_leave_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = [
        build_language_model(SMALL.replace(seed=seed), 63).gpt_neox.embed_in.weight
        for seed in (0, 0, 1)
    ]
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_checkpoints_are_stored_as_the_hub_stores_pythias(trained):
    folder, _ = trained
    trajectory = th.open_trajectory(folder)
    assert trajectory.steps == (0, 1, 2, 4, 8, 16, 20, 40)
    assert set(trajectory.dtypes.values()) == {"float16"}
    assert len(trajectory.names) == 4 + 12 * SMALL.layers
    assert (
        "embed_out.weight" in trajectory.names
        and "gpt_neox.layers.0.attention.query_key_value.weight" in trajectory.names
    )
    config = json.loads((folder / "step0" / "config.json").read_text())
    assert (
        config["model_type"],
        config["num_attention_heads"],
        config["use_parallel_residual"],
        config["tie_word_embeddings"],
    ) == ("gpt_neox", 1, True, False)


def test_transformers_reads_a_checkpoint(trained):
    from transformers import GPTNeoXForCausalLM

    folder, log = trained
    model, report = GPTNeoXForCausalLM.from_pretrained(
        folder / "step40", output_loading_info=True, dtype=torch.float32
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    windows = load_text().tokens["validation"].unfold(0, 17, 16)[:1024]
    with torch.no_grad():
        losses = [
            torch.nn.functional.cross_entropy(model(window[None, :-1]).logits[0], window[1:]).item()
            for window in windows
        ]
    # Rounding to float16 moves each weight by a 2,048th part at most.
    assert np.mean(losses) == pytest.approx(log.validation_loss.iloc[-1], rel=2e-3)
    assert log.validation_bits.iloc[-1] == pytest.approx(log.validation_loss.iloc[-1] / math.log(2))


def test_training_is_adamw_on_the_windows_in_their_order(trained):
    """Four steps again, by hand: AdamW's formulas in float64, decay on matrices alone, clipped at
    norm one.
    """
    folder, _ = trained
    text = load_text()
    model = build_language_model(SMALL, text.vocabulary)
    windows = text.tokens["train"].unfold(0, 17, 16)
    order = torch.randperm(len(windows), generator=torch.Generator().manual_seed(0))
    moments = {
        name: (torch.zeros_like(p, dtype=torch.float64), torch.zeros_like(p, dtype=torch.float64))
        for name, p in model.named_parameters()
    }
    for step in range(4):
        batch = windows[order[4 * step : 4 * step + 4]]
        model.zero_grad()
        torch.nn.functional.cross_entropy(
            model(batch[:, :-1]).logits.flatten(0, 1), batch[:, 1:].flatten()
        ).backward()
        norm = math.sqrt(sum(p.grad.double().square().sum().item() for p in model.parameters()))
        rate = SMALL.rate(step)
        for name, p in model.named_parameters():
            gradient = p.grad.double() * min(1.0, 1.0 / norm)
            m, v = (
                0.9 * moments[name][0] + 0.1 * gradient,
                0.95 * moments[name][1] + 0.05 * gradient**2,
            )
            moments[name] = m, v
            step_size = (
                rate
                * (m / (1 - 0.9 ** (step + 1)))
                / ((v / (1 - 0.95 ** (step + 1))).sqrt() + 1e-8)
            )
            decay = rate * 0.5 if p.dim() == 2 else 0.0
            p.data = (p.double() * (1 - decay) - step_size).float()
    stored = {}
    from safetensors.torch import load_file

    for name, value in load_file(folder / "step4" / "model.safetensors").items():
        stored[name.replace("embed_out", "lm_head")] = value.double()
    for name, p in model.named_parameters():
        # float16 keeps 11 bits; entries whose gradient is near zero may step either way, by four
        # rates at most, and are few.
        close = (stored[name] - p.double()).abs() <= 2**-10 * p.double().abs() + 2e-5
        if name.endswith("query_key_value.bias"):
            # A constant added to all keys changes no softmax: where no rotation acts (dimensions 4
            # to 15 of the head) the gradient is nothing but rounding.
            close = torch.cat([close[:20], close[32:]])
        assert close.double().mean() > 0.99, name


def test_a_finished_run_is_returned_and_another_refused(trained):
    folder, log = trained
    again = train(SMALL, folder, resume=True)
    assert again.validation_loss.iloc[-1] == pytest.approx(log.validation_loss.iloc[-1])
    with pytest.raises(th.ExistingRunError, match="learning_rate differ"):
        train(SMALL.replace(learning_rate=0.02), folder, resume=True)
    with pytest.raises(th.ExistingRunError, match="holds a run already"):
        train(SMALL, folder)


def test_the_same_bits_again(trained, tmp_path):
    folder, _ = trained
    train(SMALL, tmp_path / "again")
    for step in (0, 40):
        assert (tmp_path / "again" / f"step{step}" / "model.safetensors").read_bytes() == (
            folder / f"step{step}" / "model.safetensors"
        ).read_bytes()


# ---- stopping and going on ----


def same_run(folder, log, trained):
    """The same files with the same bytes as the undisturbed run's, and its log."""
    whole_folder, whole = trained
    pd.testing.assert_frame_equal(
        log.drop(columns="seconds"), whole.drop(columns="seconds"), check_exact=True
    )
    names = sorted(path.relative_to(whole_folder) for path in whole_folder.rglob("*"))
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == names
    for name in names:
        if (folder / name).is_file() and name.name != "log.csv":
            assert (folder / name).read_bytes() == (whole_folder / name).read_bytes(), name


def test_stopped_and_resumed_to_the_same_bits(trained, tmp_path):
    """Training goes on from float32, though checkpoints are float16."""
    for stop in (2, 16, 40):
        log = train(SMALL, tmp_path, resume=True, on_checkpoint=stop_at(stop))
        assert "validation_loss" not in log and th.open_trajectory(tmp_path).steps[-1] == stop
    same_run(tmp_path, train(SMALL, tmp_path, resume=True), trained)


@pytest.mark.parametrize("half", [True, False], ids=["half a file", "before the state"])
def test_a_process_that_dies_while_it_writes_leaves_a_folder_that_opens(
    trained, tmp_path, monkeypatch, half
):
    class Killed(BaseException):
        pass

    def save_file(weights, path, metadata, really=language_task.save_file):
        really(weights, path, metadata=metadata)
        if "step16" in str(path):
            if half:
                path.write_bytes(path.read_bytes()[:100])
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(language_task, "save_file", save_file)
        train(SMALL, tmp_path)
    assert th.open_trajectory(tmp_path).steps == (0, 1, 2, 4, 8)
    assert (tmp_path / "step16" / "config.json").exists()
    same_run(tmp_path, train(SMALL, tmp_path, resume=True), trained)


KILLED = """
import sys, trajhelpers as th
recipe = th.training.LanguageRecipe.load(sys.argv[1])
th.training.train(recipe, sys.argv[2], device="cpu", resume=True, progress=False,
    on_checkpoint=lambda step, log: print(step, flush=True))
"""


@pytest.mark.slow
def test_killed_and_the_same_bits(tmp_path):
    recipe = SMALL.replace(steps=400)
    recipe.save(tmp_path / "recipe.json")
    command = [sys.executable, "-c", KILLED, tmp_path / "recipe.json", tmp_path / "run"]
    for reached in (8, 120, 300):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert any(int(line) >= reached for line in process.stdout)
            process.send_signal(signal.SIGKILL)
        assert th.open_trajectory(tmp_path / "run").steps[-1] >= reached
        assert (tmp_path / "run" / ".training_state.pt").exists(), "killed too late"
    for name in ("run", "whole"):
        subprocess.run([*command[:-1], tmp_path / name], check=True, stdout=subprocess.DEVNULL)
    whole = tmp_path / "whole"
    same_run(
        tmp_path / "run",
        th.training.read_log(tmp_path / "run"),
        (whole, th.training.read_log(whole)),
    )


def test_overwriting_leaves_nothing_of_a_longer_run_or_of_another_kind(tmp_path):
    train(SMALL.replace(steps=60), tmp_path)
    short = SMALL.replace(steps=20)
    train(short, tmp_path, overwrite=True)
    assert th.open_trajectory(tmp_path).steps == (0, 1, 2, 4, 8, 16, 20)
    widths = th.training.WidthRecipe(width=16, learning_rate=0.1, steps=6, checkpoints=2)
    with pytest.raises(th.ExistingRunError, match=r"another recipe .*recipe\.json: layers"):
        train(widths, tmp_path, resume=True)
    train(widths, tmp_path, overwrite=True)
    assert th.open_trajectory(tmp_path).steps == (0, 3, 6)
    train(short, tmp_path, overwrite=True)
    assert th.open_trajectory(tmp_path).steps == (0, 1, 2, 4, 8, 16, 20)


@pytest.mark.parametrize("resume", [False, True])
def test_folders_of_another_hand_are_not_written_into(tmp_path, resume):
    """A snapshot of the hub's, say; step 4 would have been replaced by ours."""
    (tmp_path / "step4").mkdir()
    (tmp_path / "step4" / "model.safetensors").write_bytes(b"of Pythia")
    with pytest.raises(th.ExistingRunError, match="no run of a recipe"):
        train(SMALL, tmp_path, resume=resume)
    assert [path.name for path in tmp_path.rglob("*")] == ["step4", "model.safetensors"]


# ---- the tokenizer ----


def test_the_tokenizer_is_trained_on_what_is_not_held_out(tmp_path, monkeypatch):
    """data/make.py asks the one function that also says what validation text is."""
    pytest.importorskip("tokenizers")
    path = Path(__file__).parents[1] / "data" / "make.py"
    spec = importlib.util.spec_from_file_location("make", path)
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    said = subprocess.CompletedProcess([], 0, stdout="Gen1:1 yes yes yes\nGen1:2 never never\n")
    monkeypatch.setattr(make, "HERE", tmp_path)
    monkeypatch.setattr(make.shutil, "which", lambda name: "/usr/bin/bible")
    monkeypatch.setattr(make.subprocess, "run", lambda *arguments, **options: said)
    asked = []

    def split_text(characters):
        asked.append(characters)
        return {"train": "yes yes yes", "validation": "never never"}

    monkeypatch.setattr(text_module, "split_text", split_text)
    make.text()
    assert asked == ["yes yes yes\nnever never\n"]
    vocabulary = json.loads((tmp_path / "bible-kjv-bpe-2048.json").read_text())["model"]["vocab"]
    assert "yes" in vocabulary and not any("v" in token for token in vocabulary)
