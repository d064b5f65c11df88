"""Checkpoints of several networks, as diffusers and sentence-transformers save them.

``python tests/writers/components.py OUT``"""

import sys
from pathlib import Path

import torch
from tiny import STEPS, Oracle


def perturb(model, step):
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for value in model.parameters():
            value += 0.01 * torch.randn(value.shape, generator=generator)


def diffusers(out):
    """accelerate's state of a UNet that is trained, and of its average, as the text_to_image script
    saves them: unet/, unet_ema/, optimizer.bin.
    """
    from accelerate import Accelerator
    from diffusers import UNet2DModel
    from diffusers.training_utils import EMAModel

    settings = dict(
        sample_size=8,
        in_channels=1,
        out_channels=1,
        block_out_channels=(4, 4),
        layers_per_block=1,
        norm_num_groups=2,
        down_block_types=("DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        add_attention=False,
    )
    torch.manual_seed(0)
    unet, accelerator = UNet2DModel(**settings), Accelerator(cpu=True)
    average = EMAModel(
        unet.parameters(), decay=0.9, model_cls=UNet2DModel, model_config=unet.config
    )
    optimizer = torch.optim.AdamW(unet.parameters(), lr=0.01)
    unet, optimizer = accelerator.prepare(unet, optimizer)

    def save(models, weights, where):
        average.save_pretrained(Path(where) / "unet_ema")
        for model in models:
            model.save_pretrained(Path(where) / "unet")
            weights.pop()

    accelerator.register_save_state_pre_hook(save)
    oracle = Oracle()
    for step in STEPS:
        perturb(unet, step)
        average.step(unet.parameters())
        accelerator.save_state(str(out / "run" / f"checkpoint-{step}"))
        oracle.add(step, unet.named_parameters())
    oracle.save(out)


def sentence_transformers(out):
    """A transformer, a pooling without weights and a dense layer, in 0_…, 1_…, 2_Dense/."""
    import tempfile

    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    words = {"[UNK]": 0, "[PAD]": 1, "a": 2, "b": 3}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    config = BertConfig(
        vocab_size=4,
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        max_position_embeddings=8,
    )
    with tempfile.TemporaryDirectory() as folder:
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
        fast = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]"
        )
        fast.save_pretrained(folder)
        transformer = Transformer(folder)
    model = SentenceTransformer(modules=[transformer, Pooling(4), Dense(4, 3)], device="cpu")
    oracle, dense = Oracle(), Oracle()
    for step in STEPS:
        perturb(model, step)
        model.save(str(out / "run" / f"checkpoint-{step}"), create_model_card=False)
        oracle.add(step, transformer.auto_model.named_parameters())
        dense.add(step, model[2].named_parameters())
    oracle.save(out)
    dense.save(out / "dense")


CASES = dict(diffusers=diffusers, sentence_transformers=sentence_transformers)

if __name__ == "__main__":
    for name in sys.argv[2:] or CASES:
        CASES[name](Path(sys.argv[1]).absolute() / name)
