"""A training that reports to W&B and to TensorBoard."""
import torch
import wandb
from torch.utils.tensorboard import SummaryWriter

config = {"epochs": 12, "lr": 0.1}


def main():
    torch.manual_seed(1)
    writer = SummaryWriter()
    with wandb.init(project="sums", config=config) as run:
        x = torch.rand(128, 4)
        y = x.sum(dim=1, keepdim=True)
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=run.config.lr)
        for epoch in range(run.config.epochs):
            loss = torch.nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            run.log({"epoch": epoch, "loss": loss.item()})
            writer.add_scalar("loss", loss.item(), epoch)
        torch.save(model.state_dict(), f"{run.dir}/model.pt")
    writer.close()


if __name__ == "__main__":
    main()
