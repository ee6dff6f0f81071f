"""Writes the binaries that the training reads."""
import os
import pickle
import random

here = os.path.dirname(__file__)
draw = random.Random(1)
for split, count in (('train', 4000), ('val', 400)):
    letters = [0]
    for _ in range(count):
        letters.append((letters[-1] + draw.choice([1, 1, 1, 2])) % 26)
    with open(os.path.join(here, f'{split}.bin'), 'wb') as file:
        file.write(b''.join(each.to_bytes(2, 'little') for each in letters))
with open(os.path.join(here, 'meta.pkl'), 'wb') as file:
    pickle.dump({'vocab_size': 26}, file)
