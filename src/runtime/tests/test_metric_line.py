"""Which lines of a log are metrics."""

import math
import os
import random
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401

from nx_ec2_runtime.report import metric_line

PROGRESS = (
    ("step 500 | loss 3.16", {"step": 500, "loss": 3.16}),
    ("step 500 | loss 3.1600 | step time 12.34ms", {"step": 500, "loss": 3.16, "step_time": 12.34}),
    ("step 0: train loss 4.2, val loss 4.1", {"step": 0, "train_loss": 4.2, "val_loss": 4.1}),
    (
        "iter 100: loss 3.2, time 20.5ms, mfu 12.5%",
        {"iter": 100, "loss": 3.2, "time": 20.5, "mfu": 12.5},
    ),
    ("Epoch 1/10 - loss: 0.5 - acc: 0.8", {"Epoch": 1, "loss": 0.5, "acc": 0.8}),
    ("epoch 8/8  loss 0.1  accuracy 0.9", {"epoch": 8, "loss": 0.1, "accuracy": 0.9}),
    ("epoch=3 train/loss=1e-3 lr=0.01", {"epoch": 3, "train/loss": 0.001, "lr": 0.01}),
    ("\x1b[32mloss: nan\x1b[0m", {"loss": None}),
    ("loss=0.25", {"loss": 0.25}),
    ("val_loss: -2.5e-2", {"val_loss": -0.025}),
    ("  eval_accuracy           =      0.912", {"eval_accuracy": 0.912}),
    # Lightning and tqdm
    (
        "Epoch 0:  50%|\u2588\u2588   | 5/10 [00:01<00:01,  4.5it/s, v_num=0, train_loss=0.123]",
        {"Epoch": 0, "v_num": 0, "train_loss": 0.123},
    ),
    (
        "training: 100%|###| 100/100 [00:01<00:00, 99.9it/s, loss=0.35, acc=0.8]",
        {"loss": 0.35, "acc": 0.8},
    ),
    ("loss: 0.35:  12%|#  | 12/100 [00:01<00:10, 8.4it/s]", {"loss": 0.35}),
    (
        " 10%|# | 10/100 [00:03<00:30,  3.00it/s]{'loss': 0.5, 'epoch': 1.0}",
        {"loss": 0.5, "epoch": 1.0},
    ),
    (
        "Epoch 7:  88%|\u2588 | 7/8 [00:00<00:00, 292.69it/s, v_num=0_1, train_loss=0.0999, val_loss=0.140] ",
        {"Epoch": 7, "train_loss": 0.0999, "val_loss": 0.14},
    ),
    ("train: 100%|#| 8/8 [00:00<00:00, 9.1it/s, phase=warm-up, loss=0.25]", {"loss": 0.25}),
    # Lightning with rich
    (
        "Epoch 7/7  \u2501\u2501\u2578 8/8 0:00:00 \u2022 0:00:00 15.79it/s v_num: 0_1 train_loss: 0.030 val_loss: 0.089",
        {"Epoch": 7, "train_loss": 0.03, "val_loss": 0.089},
    ),
    (
        "Epoch 0/9  \u2501\u2501 4/8 0:00:00 \u2022 -:--:-- 15.79it/s v_num: 0.000 train_loss: 0.5",
        {"Epoch": 0, "v_num": 0, "train_loss": 0.5},
    ),
    # The Trainer, whose bar of an evaluation is above that of the training
    (
        "\x1b[A{'eval_loss': '0.6778', 'eval_runtime': '0.3718', 'epoch': '1'}",
        {"eval_loss": 0.6778, "eval_runtime": 0.3718, "epoch": 1},
    ),
    ("\x1b[?25l\x1b[2Kloss=0.25\x1b[?25h", {"loss": 0.25}),
    # Keras 2 and 3
    (
        "938/938 [==============================] - 3s 3ms/step - loss: 0.25 - val_loss: 0.13",
        {"loss": 0.25, "val_loss": 0.13},
    ),
    ("6/6 - 1s - 94ms/step - loss: 0.5123 - val_loss: 0.61", {"loss": 0.5123, "val_loss": 0.61}),
    (
        "1875/1875 - 3s - accuracy: 0.85 - loss: 0.41 - lr: 1.0e-03",
        {"accuracy": 0.85, "loss": 0.41, "lr": 0.001},
    ),
    (
        "  1/938 [>.............................] - ETA: 5:02 - loss: 2.3 - accuracy: 0.125\x08\x08",
        {"loss": 2.3, "accuracy": 0.125},
    ),
    (
        "\x1b[1m938/938\x1b[0m \x1b[32m\u2501\u2501\x1b[0m\x1b[37m\x1b[0m \x1b[1m3s\x1b[0m 3ms/step - accuracy: 0.925 - loss: 0.25",
        {"accuracy": 0.925, "loss": 0.25},
    ),
    # loggers: logging, Hydra, loguru
    ("INFO:root:epoch 3 loss 0.5", {"epoch": 3, "loss": 0.5}),
    ("2026-01-02 10:00:00,123 - model - INFO - epoch: 3, loss: 0.5", {"epoch": 3, "loss": 0.5}),
    ("[2026-01-02 10:00:00,123][__main__][INFO] - Epoch 1: loss=0.3", {"Epoch": 1, "loss": 0.3}),
    (
        "2026-01-02 10:00:00.123 | INFO     | __main__:main:10 - epoch 3 loss 0.5",
        {"epoch": 3, "loss": 0.5},
    ),
    # examples that many scripts begin with
    ("Train Epoch: 1 [640/60000 (1%)]\tLoss: 1.753", {"Train_Epoch": 1, "Loss": 1.753}),
    (
        "Test set: Average loss: 0.0567, Accuracy: 9815/10000 (98%)",
        {"Test_set_Average_loss": 0.0567, "Test_set_Accuracy": 9815},
    ),
    ("Val: loss=0.4", {"Val_loss": 0.4}),
    ("[1,  2000] loss: 2.173", {"loss": 2.173}),
    ("[epoch 3] loss: 0.123", {"epoch": 3, "loss": 0.123}),
    (
        "Epoch: [0][ 10/196]\tTime  0.251 ( 0.512)\tLoss 6.9e+00 (7.0e+00)\tAcc@1   0.00 (  0.10)",
        {"Epoch": 0, "Time": 0.251, "Loss": 6.9, "Acc@1": 0.0},
    ),
    (
        "| epoch   1 |   200/ 2928 batches | lr 5.00 | loss  6.92 | ppl  1012.3",
        {"epoch": 1, "lr": 5.0, "loss": 6.92, "ppl": 1012.3},
    ),
    ("[0]\ttrain-rmse:0.5\teval-rmse:0.6", {"iteration": 0, "train-rmse": 0.5, "eval-rmse": 0.6}),
    ("[100]\tvalid_0's auc: 0.9", {"iteration": 100, "valid_0_auc": 0.9}),
)
ARGUMENTS = (
    "{'lr': 0.001, 'batch_size': 32, 'epochs': 10}",
    "{'seed': 1, 'model': 'small', 'cuda': True, 'n_layers': 6, 'foo': 2}",
    '{"learning_rate": 1e-4, "max_steps": 500, "output": "artifacts", "eval_steps": 50}',
    "{'loss_weight': 0.5, 'dropout': 0.1, 'batch_size': 8}",
    "lr: 0.001",
    "batch_size=32",
    "seed: 1, epochs: 10",
    "loss_weight=0.5",
    "max_score: 10",
    "Namespace(lr=0.001, batch_size=32, loss='mse', epochs=10)",
    "TrainingArguments(learning_rate=5e-05, eval_accuracy=1)",
    "| lr          | 0.001 |",
    "| loss_weight | 0.5   |",
    "learning_rate: 0.001",
    "initial_accuracy: 0",
    "target_reward=100",
    "{'epochs': 3, 'target_accuracy': 0.9, 'lr': 0.1}",
    "{'lr': 0.001, 'loss': 'mse', 'epochs': 10}",
    "INFO:root:lr: 0.001, batch_size: 32",
    "[2026-01-02 10:00:00,123][__main__][INFO] - seed: 3",
)
ORDINARY = (
    "",
    " ",
    "ready",
    "step 3 of 12",
    "epoch 3",
    "step 3",
    "loss 3.16",
    "loss",
    "loss:",
    "=3",
    "loss: high",
    "loss: 3 apples and a pear",
    "Listening on port 8080",
    "listening: 8080",
    "2026-01-02 10:00:00 INFO loss 3",
    "error 404",
    "error: 404",
    "exit code: 1",
    "return 1",
    "Downloading: 100%",
    "took 3.2 s",
    "epoch 1 begins: loss 3 or so",
    "train size 1000, val size 200",
    "GPU 0: 1234 MB",
    "precision=16",
    "10.0.0.1: 22",
    " 33%|###   | 1/3 [00:01<00:02,  1.2s/it]",
    "Validation DataLoader 0: 100%|###| 10/10 [00:00<00:00, 50.0it/s]",
    "Epoch 1/5",
    "Downloading: 45%|## | 4.5M/10.0M [00:01<00:01, 4.5MB/s]",
    "10/10 files",
    "[INFO] listening: 8080",
    "[1] 1234",
    "***** train metrics *****",
    "loss.py:12: warning",
    "wrote score-3.json",
    "the loss of the step 3 was 4 at the end",
    "step 1 loss 2 !",
    "number of parameters: 10.65M",
    "loss 1.2.3",
    "loss: 0x10",
)


class MetricLineTest(unittest.TestCase):
    def test_progress_lines_are_metrics(self):
        for line, found in PROGRESS:
            with self.subTest(line):
                self.assertEqual(metric_line.parse(line.encode()), found)

    def test_arguments_and_ordinary_lines_are_no_metrics(self):
        for line in ARGUMENTS + ORDINARY:
            with self.subTest(line):
                self.assertIsNone(metric_line.parse(line.encode()))

    def test_a_dict_with_a_result_or_progress_is_a_metric_with_all_its_numbers(self):
        for line in (
            "{'loss': 0.5, 'learning_rate': 1e-05, 'phase': 'train'}",
            "{'step': 3, 'lr': 0.1}",
            '{"reward": 1, "batch_size": 2}',
            "{'answer': 42, 'of': 'all'}",
        ):
            with self.subTest(line):
                self.assertTrue(metric_line.parse(line.encode()))

    def test_a_line_of_other_words_is_never_a_metric(self):
        rng = random.Random(5)
        vocabulary = "port user id GPU step epoch time took bytes seed lr files of at in INFO worker pid line size 3 4.5 1e-3 10% 2/3 | , : = - ; [ ] ( ) \t {} '".split(
            " "
        )
        for _ in range(3000):
            line = rng.choice((" ", "", ": ")).join(
                rng.choice(vocabulary) for _ in range(rng.randrange(12))
            )
            self.assertIsNone(metric_line.parse(line.encode()), line)

    def test_any_line_is_parsed_in_a_short_time_into_json_numbers(self):
        rng = random.Random(6)
        pieces = [
            "50%|",
            "\u2501",
            "\u2022",
            "v_num: 0_1",
            "| 1/2 [00:01<00:01",
            "]",
            "[",
            "1/2 [==",
            "(",
            "2026-01-02 10:00:00",
            "INFO",
            "Test: ",
            "loss",
            "step",
            " ",
            ":",
            "=",
            "3",
            ".",
            "e9",
            "e999",
            "nan",
            "inf",
            "-",
            "|",
            "{",
            "}",
            "\x1b[1m",
            "\x00",
            "\u202e",
            "é",
            "a" * 70,
            "9" * 400,
            " " * 50,
            "\t",
        ]
        began = time.process_time()
        lines = ["".join(rng.choice(pieces) for _ in range(rng.randrange(40))) for _ in range(3000)]
        lines += [piece * (16000 // len(piece)) for piece in pieces] + [
            ("a " * 8000),
            ("loss " * 3000) + "3",
            "loss=1 " * 2000,
            ("a" * 61 + " ") * 200,
        ]
        for line in lines:
            found = metric_line.parse(line.encode("utf-8", "replace"))
            for name, value in (found or {}).items():
                self.assertTrue(
                    0 < len(name) <= metric_line.MAX_NAME_LENGTH
                    and (value is None or math.isfinite(value)),
                    line,
                )
        self.assertLess(time.process_time() - began, 20)


if __name__ == "__main__":
    unittest.main()
