"""A small classifier with Lightning: checkpoints and metrics.csv in lightning_logs/version_N."""
import glob
import os

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch.utils.data import DataLoader, TensorDataset

from pause import pause


class Classifier(L.LightningModule):
    def __init__(self, lr=0.05):
        super().__init__()
        self.save_hyperparameters()
        self.layers = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Dropout(0.1), torch.nn.Linear(32, 2))

    def step(self, batch):
        x, y = batch
        return torch.nn.functional.cross_entropy(self.layers(x), y)

    def training_step(self, batch, _):
        pause(self.global_step)
        # A checkpoint of Lightning does not hold the state of the random numbers.
        torch.manual_seed(self.global_step)
        loss = self.step(batch)
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, _):
        self.log("val_loss", self.step(batch), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


def data(seed, count):
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, (x.sum(dim=1) > 0).long())


def main():
    L.seed_everything(1)
    # Before the trainer makes the next version.
    found = sorted(glob.glob("lightning_logs/version_*/checkpoints/last.ckpt"), key=os.path.getmtime)
    trainer = L.Trainer(
        max_epochs=8,
        accelerator="cpu",
        deterministic=True,
        log_every_n_steps=4,
        logger=[CSVLogger("."), TensorBoardLogger(".")],
        callbacks=[TQDMProgressBar(), ModelCheckpoint(save_last=True)],
    )
    loaders = DataLoader(data(1, 256), batch_size=32), DataLoader(data(2, 64), batch_size=32)
    trainer.fit(Classifier(), *loaders, ckpt_path=found[-1] if found else None)
    torch.save(trainer.lightning_module.state_dict(), "lightning_logs/weights.pt")


if __name__ == "__main__":
    main()
