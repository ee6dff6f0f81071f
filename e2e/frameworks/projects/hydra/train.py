"""A training that Hydra configures, with results in its directory of each job."""
import logging
import os

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

log = logging.getLogger(__name__)


@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg: DictConfig) -> float:
    torch.manual_seed(cfg.seed)
    x = torch.rand(128, 4)
    y = x.sum(dim=1, keepdim=True)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=cfg.optimizer.lr)
    for epoch in range(cfg.epochs):
        loss = torch.nn.functional.mse_loss(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        log.info("epoch: %d, loss: %.4f", epoch, loss.item())
    torch.save(model.state_dict(), os.path.join(HydraConfig.get().runtime.output_dir, "model.pt"))
    return loss.item()


if __name__ == "__main__":
    main()
