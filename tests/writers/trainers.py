"""What training loops of well-known libraries write into their folders, on one CPU.

``python tests/writers/trainers.py OUT``"""

import os
import sys
import warnings
from pathlib import Path

import torch
from tiny import CLASSES, STEPS, Net, Oracle, batch, loss_of, train
from torch.utils.data import DataLoader, TensorDataset

warnings.simplefilter("ignore")
os.environ["WANDB_MODE"] = "disabled"


def data(steps=10):
    tokens, labels = zip(*(batch(step) for step in range(steps)))
    return TensorDataset(torch.cat(tokens), torch.cat(labels))


def loader():
    return DataLoader(data(), batch_size=8)


def lightning(out):
    import lightning as L
    from lightning.pytorch.callbacks import ModelCheckpoint

    oracle = Oracle()

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = Net()
            self.save_hyperparameters({"lr": 0.05, "where": Path("data")})

        def training_step(self, batch, index):
            return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), lr=0.05)

    class Watch(L.Callback):
        def on_train_epoch_end(self, trainer, module):
            if trainer.global_step % 5 == 0:
                oracle.add(trainer.global_step, module.named_parameters())

    keep = ModelCheckpoint(save_top_k=-1, every_n_train_steps=5)
    trainer = L.Trainer(
        max_steps=15,
        accelerator="cpu",
        default_root_dir=out / "run",
        callbacks=[keep, Watch()],
        enable_progress_bar=False,
        limit_train_batches=5,
        logger=L.pytorch.loggers.CSVLogger(out / "run"),
    )
    trainer.fit(Module(), loader())
    oracle.save(out)


def timm(out):
    """timm's CheckpointSaver with an average of the weights, as its train.py uses it."""
    import argparse

    from timm.utils import CheckpointSaver, ModelEmaV3

    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    average, oracle, averaged = ModelEmaV3(model, decay=0.9), Oracle(), Oracle()
    (out / "run").mkdir(parents=True)
    saver = CheckpointSaver(
        model=model,
        optimizer=optimizer,
        args=argparse.Namespace(model="net", lr=0.05),
        model_ema=average,
        checkpoint_dir=str(out / "run"),
        recovery_dir=str(out / "run"),
        max_history=10,
    )
    for epoch in range(3):
        train(model, optimizer, 5 * epoch, 5 * epoch + 5)
        average.update(model)
        saver.save_checkpoint(epoch, metric=0.5 + epoch / 10)
        oracle.add(epoch, model.named_parameters())
        averaged.add(epoch, average.module.named_parameters())
    oracle.save(out)
    averaged.save(out / "ema")


def fastai(out):
    from fastai.callback.tracker import SaveModelCallback
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner

    oracle, net = Oracle(), Net()
    learner = Learner(
        DataLoaders(loader(), loader()),
        net,
        loss_func=torch.nn.functional.cross_entropy,
        path=out / "run",
        cbs=SaveModelCallback(every_epoch=True, with_opt=True),
    )
    epoch = learner.add_cb  # the oracle is filled by a callback that comes last

    from fastai.callback.core import Callback

    class Watch(Callback):
        order = 99

        def after_epoch(self):
            oracle.add(self.epoch, net.named_parameters())

    epoch(Watch())
    with learner.no_bar(), learner.no_logging():
        learner.fit(3, lr=0.05)
    oracle.save(out)


def composer(out):
    from composer import Callback, ComposerModel, Trainer

    oracle = Oracle()

    class Model(ComposerModel):
        def __init__(self):
            super().__init__()
            self.net = Net()

        def forward(self, batch):
            return self.net(batch[0])

        def loss(self, outputs, batch):
            return torch.nn.functional.cross_entropy(outputs, batch[1])

    class Watch(Callback):
        def batch_end(self, state, logger):
            if state.timestamp.batch.value % 5 == 0:
                oracle.add(state.timestamp.batch.value, state.model.named_parameters())

    model = Model()
    trainer = Trainer(
        model=model,
        train_dataloader=loader(),
        max_duration="15ba",
        optimizers=torch.optim.AdamW(model.parameters(), lr=0.05),
        save_folder=str(out / "run"),
        save_interval="5ba",
        device="cpu",
        callbacks=[Watch()],
        progress_bar=False,
        log_to_console=False,
    )
    trainer.fit()
    trainer.close()
    oracle.save(out)


def accelerate(out):
    """Two networks and a project folder."""
    from accelerate import Accelerator
    from accelerate.utils import ProjectConfiguration

    settings = ProjectConfiguration(project_dir=out / "run", automatic_checkpoint_naming=True)
    accelerator = Accelerator(cpu=True, project_config=settings)
    generator, critic = Net(), torch.nn.Linear(CLASSES, 3)
    optimizer = torch.optim.AdamW([*generator.parameters(), *critic.parameters()], lr=0.05)
    generator, critic, optimizer = accelerator.prepare(generator, critic, optimizer)
    first, both = Oracle(), Oracle()
    for number, (start, step) in enumerate(zip((0, *STEPS), STEPS)):
        for done in range(start, step):
            optimizer.zero_grad()
            tokens, _ = batch(done)
            loss = loss_of(generator, done) + critic(generator(tokens)).square().mean()
            accelerator.backward(loss)
            optimizer.step()
        accelerator.save_state()
        first.add(number, generator.named_parameters())
        both.add(number, ((f"model.{name}", v) for name, v in generator.named_parameters()))
        both.add(number, ((f"model_1.{name}", v) for name, v in critic.named_parameters()))
    first.save(out)
    both.save(out / "both")


def ema_pytorch(out):
    """The usual pair of a network and its average."""
    from ema_pytorch import EMA

    model, oracle, averaged = Net(), Oracle(), Oracle()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    average = EMA(model, beta=0.9, update_after_step=0, update_every=1)
    (out / "run").mkdir(parents=True)
    for start, step in zip((0, *STEPS), STEPS):
        for done in range(start, step):
            train(model, optimizer, done, done + 1)
            average.update()
        content = {"model": model.state_dict(), "ema": average.state_dict(), "step": step}
        torch.save(content, out / "run" / f"step_{step}.pt")
        oracle.add(step, model.named_parameters())
        averaged.add(step, average.ema_model.named_parameters())
    oracle.save(out)
    averaged.save(out / "ema")


CASES = dict(
    lightning=lightning,
    timm=timm,
    fastai=fastai,
    composer=composer,
    accelerate=accelerate,
    ema_pytorch=ema_pytorch,
)

if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[2:] or CASES:
        try:
            CASES[name](Path(sys.argv[1]).absolute() / name)
        except Exception:
            if not os.environ.get("GO_ON"):
                raise
            import traceback

            traceback.print_exc()
