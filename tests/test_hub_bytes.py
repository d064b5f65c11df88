"""A hub that sends wrong bytes of the right length: nothing that was made of them is returned."""

import json

import numpy as np
import pytest
import torch
from hub_runs import check_exactly, checkpoint, save, saved, whole_numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from standin_hub import StandInHub

import trajhelpers as th
from trajhelpers.sources.remote import files as _files

REPO, SOURCE = "somebody/model", "hf://somebody/model"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setattr(_files, "_FIRST_WAIT", 0.001)
    with StandInHub() as hub:
        hub.connect(monkeypatch, tmp_path / "home")
        yield hub


STATES = [whole_numbers(seed) for seed in range(3)]


def put(hub, folder, kind="safetensors", shards=1, states=STATES, old=False):
    """By step, the files."""
    found = []
    for step, state in enumerate(states):
        found.append(checkpoint(state, folder / f"step{step}", kind, shards, old))
        hub.add(REPO, f"step{step}", found[-1])
    return found
