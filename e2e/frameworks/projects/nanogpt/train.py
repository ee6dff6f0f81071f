"""A small GPT-like training: settings at the top, which the command line overrides; binaries that git ignores."""
import os
import pickle

import numpy as np
import torch
from torch.nn import functional as F

from pause import pause

# -----------------------------------------------------------------------------
out_dir = 'out'
eval_interval = 20
log_interval = 5
init_from = 'scratch' # 'scratch' or 'resume'
dataset = 'letters'
batch_size = 8
block_size = 16
n_embd = 32
learning_rate = 1e-2
max_iters = 100
device = 'cpu'
seed = 1337
# -----------------------------------------------------------------------------
config_keys = [k for k, v in globals().items() if not k.startswith('_') and isinstance(v, (int, float, bool, str))]
exec(open('configurator.py').read()) # overrides from the command line
config = {k: globals()[k] for k in config_keys}
# -----------------------------------------------------------------------------

os.makedirs(out_dir, exist_ok=True)
torch.manual_seed(seed)
data_dir = os.path.join('data', dataset)

def get_batch(split):
    data = np.memmap(os.path.join(data_dir, f'{split}.bin'), dtype=np.uint16, mode='r')
    ix = torch.randint(len(data) - block_size, (batch_size,))
    x = torch.stack([torch.from_numpy(data[i:i + block_size].astype(np.int64)) for i in ix])
    y = torch.stack([torch.from_numpy(data[i + 1:i + 1 + block_size].astype(np.int64)) for i in ix])
    return x, y

with open(os.path.join(data_dir, 'meta.pkl'), 'rb') as f:
    vocab_size = pickle.load(f)['vocab_size']

class Model(torch.nn.Module):
    def __init__(self, vocab_size, n_embd):
        super().__init__()
        self.wte = torch.nn.Embedding(vocab_size, n_embd)
        self.rnn = torch.nn.GRU(n_embd, n_embd, batch_first=True)
        self.head = torch.nn.Linear(n_embd, vocab_size)

    def forward(self, x, y):
        logits = self.head(self.rnn(self.wte(x))[0])
        return F.cross_entropy(logits.flatten(0, 1), y.flatten())

model_args = dict(vocab_size=vocab_size, n_embd=n_embd)
iter_num = 0
best_val_loss = 1e9
if init_from == 'scratch':
    print("Initializing a new model from scratch")
    model = Model(**model_args)
elif init_from == 'resume':
    print(f"Resuming training from {out_dir}")
    ckpt_path = os.path.join(out_dir, 'ckpt.pt')
    checkpoint = torch.load(ckpt_path, map_location=device, weights_only=False)
    model = Model(**checkpoint['model_args'])
    model.load_state_dict(checkpoint['model'])
    iter_num = checkpoint['iter_num']
    best_val_loss = checkpoint['best_val_loss']
optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
if init_from == 'resume':
    optimizer.load_state_dict(checkpoint['optimizer'])
    torch.set_rng_state(checkpoint['rng_state'])
print(f"number of parameters: {sum(p.numel() for p in model.parameters()) / 1e6:.2f}M")

@torch.no_grad()
def estimate_loss():
    return {split: torch.stack([model(*get_batch(split)) for _ in range(4)]).mean().item() for split in ('train', 'val')}

first = iter_num
while True:
    if iter_num % eval_interval == 0 and (iter_num > first or iter_num == 0):
        losses = estimate_loss()
        print(f"step {iter_num}: train loss {losses['train']:.4f}, val loss {losses['val']:.4f}")
        best_val_loss = min(best_val_loss, losses['val'])
        if iter_num > 0:
            checkpoint = {
                'model': model.state_dict(),
                'optimizer': optimizer.state_dict(),
                'model_args': model_args,
                'iter_num': iter_num,
                'best_val_loss': best_val_loss,
                'rng_state': torch.get_rng_state(),
                'config': config,
            }
            print(f"saving checkpoint to {out_dir}")
            torch.save(checkpoint, os.path.join(out_dir, 'ckpt.pt'))
    pause(iter_num)
    loss = model(*get_batch('train'))
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    if iter_num % log_interval == 0:
        print(f"iter {iter_num}: loss {loss.item():.4f}, time 1.25ms, mfu 0.10%")
    iter_num += 1
    if iter_num > max_iters:
        break
