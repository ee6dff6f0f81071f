"""A small classifier with the Trainer of Hugging Face, made from a configuration."""
import os

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from pause import pause


class Data(torch.utils.data.Dataset):
    def __init__(self, seed, count):
        self.words = torch.randint(0, 60, (count, 12), generator=torch.Generator().manual_seed(seed))

    def __len__(self):
        return len(self.words)

    def __getitem__(self, at):
        words = self.words[at]
        return {"input_ids": words, "attention_mask": torch.ones_like(words), "labels": (words[0] > 30).long()}


class Pause(TrainerCallback):
    def on_step_end(self, args, state, control, **_):
        pause(state.global_step)


def main():
    set_seed(1)
    config = BertConfig(
        vocab_size=60, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, num_labels=2
    )
    args = TrainingArguments(
        output_dir="output",
        num_train_epochs=3,
        per_device_train_batch_size=16,
        learning_rate=1e-3,
        logging_steps=5,
        save_steps=10,
        save_total_limit=2,
        eval_strategy="epoch",
        report_to="none",
        seed=1,
        use_cpu=True,
    )
    trainer = Trainer(
        model=BertForSequenceClassification(config),
        args=args,
        train_dataset=Data(1, 256),
        eval_dataset=Data(2, 64),
        callbacks=[Pause()],
    )
    last = get_last_checkpoint("output") if os.path.isdir("output") else None
    if last:
        print(f"Resuming from {last}")
    trainer.train(resume_from_checkpoint=last)
    trainer.save_model()


if __name__ == "__main__":
    main()
