"""A training whose parameters, metrics and model are MLflow's."""
import mlflow
import torch


def main(epochs=12, lr=0.1):
    torch.manual_seed(1)
    mlflow.set_experiment("sums")
    with mlflow.start_run():
        mlflow.log_params({"epochs": epochs, "lr": lr})
        x = torch.rand(128, 4)
        y = x.sum(dim=1, keepdim=True)
        model = torch.nn.Linear(4, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        for epoch in range(epochs):
            loss = torch.nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mlflow.log_metric("loss", loss.item(), step=epoch)
            print(f"epoch {epoch}: loss={loss.item():.4f}")
        torch.save(model.state_dict(), "model.pt")
        mlflow.log_artifact("model.pt", artifact_path="model")


if __name__ == "__main__":
    main()
