"""The variables that a training gets, and placeholders in its arguments."""

import json
import os
import random
import re
import socket
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_sync  # noqa: F401

from nx_ec2_runtime.run import training_variables

RECORD = {"attempt": 1, "gpus": [], "totalGpus": 2, "resources": {"gpus": 0, "exclusive": False}}


def part(**more):
    return dict(
        {
            "id": "run-1",
            "project": "model",
            "outputDir": "artifacts",
            "metadata": {},
            "args": [],
            "command": None,
            "resumeArgs": [],
            "env": {},
            "mask": [],
            "datasets": [],
            "limits": {"cores": None, "memory": None},
        },
        **more,
    )


class Variables(unittest.TestCase):
    def of(self, **more):
        ours, others = training_variables.variables_of(
            part(**more), RECORD, run_dir="/home", project="/srv/model"
        )
        return dict(others, **ours)

    def test_a_script_for_sagemaker_finds_one_host(self):
        found = self.of()
        self.assertEqual([found["SM_CURRENT_HOST"]], json.loads(found["SM_HOSTS"]))
        self.assertEqual(str(len(os.sched_getaffinity(0))), found["SM_NUM_CPUS"])
        self.assertEqual("3", self.of(limits={"cores": 3, "memory": None})["SM_NUM_CPUS"])
        self.assertEqual("/srv/model/artifacts", found["SM_OUTPUT_DIR"])
        self.assertEqual(([], {}), (json.loads(found["SM_CHANNELS"]), json.loads(found["SM_HPS"])))

    def test_one_node_is_described_as_the_first_of_one(self):
        found = self.of()
        self.assertEqual(
            ("0", "1", "0", "1"),
            tuple(
                found[name]
                for name in (
                    "NX_EC2_NODE_RANK",
                    "NX_EC2_NUM_NODES",
                    "SM_CURRENT_HOST_RANK",
                    "SM_HOST_COUNT",
                )
            ),
        )
        self.assertEqual(found["SM_MASTER_ADDR"], found["NX_EC2_NODE_IPS"])
        with socket.create_server(
            (found["SM_MASTER_ADDR"], int(found["SM_MASTER_PORT"])),
            family=socket.AF_INET6 if ":" in found["SM_MASTER_ADDR"] else socket.AF_INET,
        ):
            # Another run starts while this one listens.
            self.assertNotEqual(found["SM_MASTER_PORT"], self.of()["SM_MASTER_PORT"])

    def test_a_local_instance_has_the_loopback_address(self):
        self.assertEqual(
            "127.0.0.1", training_variables.node_address({"NX_EC2_LOCAL_INSTANCE": "i-1"})
        )

    def test_it_finds_its_channels_and_hyperparameters(self):
        found = self.of(
            args=["--learning-rate", "0.1", "--name=a b", "--fast"],
            datasets=[{"path": "data/train-set"}, {"path": "eval"}],
        )
        self.assertEqual(["eval", "train-set"], json.loads(found["SM_CHANNELS"]))
        self.assertEqual("/srv/model/data/train-set", found["SM_CHANNEL_TRAIN_SET"])
        self.assertEqual(
            ("0.1", "a b", "true"),
            (found["SM_HP_LEARNING_RATE"], found["SM_HP_NAME"], found["SM_HP_FAST"]),
        )

    def test_any_argument_becomes_a_valid_variable_name(self):
        dice = random.Random(7)
        for _ in range(300):
            args = [
                "--" + "".join(dice.choice("aZ9-_.=/ é\n{}") for _ in range(dice.randrange(1, 8)))
                for _ in range(3)
            ]
            for name in self.of(args=args):
                self.assertRegex(name, r"\A[A-Z0-9_]+\Z")


class Placeholders(unittest.TestCase):
    def expand(self, text):
        return training_variables.expander(part(), "/h", "/w/model")(text)

    def test_placeholders_are_replaced_in_arguments_the_command_and_variables_but_not_in_secrets(
        self,
    ):
        told = part(
            args=["--out={outputDir}", "{checkpointDir}/last"],
            command=["./train", "{runId}"],
            resumeArgs=["{project}"],
            env={"OUT": "{outputDir}/x", "TOKEN": "{runId}"},
            mask=["TOKEN"],
        )
        found = training_variables.expanded(told, "/h", "/w/model")
        self.assertEqual(["--out=/w/model/artifacts", "/h/checkpoints/last"], found["args"])
        self.assertEqual((["./train", "run-1"], ["model"]), (found["command"], found["resumeArgs"]))
        self.assertEqual({"OUT": "/w/model/artifacts/x", "TOKEN": "{runId}"}, found["env"])
        self.assertIsNone(training_variables.expanded(part(), "/h", "/w")["command"])

    def test_other_braces_are_unchanged(self):
        for text in (
            "{epoch}",
            "{{runId}}",
            "{",
            "{}",
            "{ runId }",
            "${HOME}",
            "{runid}",
            '{"a": {"b": 1}}',
            "{{project}",
        ):
            self.assertEqual(text, self.expand(text))

    def test_in_any_text_only_placeholders_change(self):
        dice = random.Random(11)
        pieces = ["{runId}", "{project}", "{", "}", "{{", "}}", "a", "\\", "\\1", "{x}", "$", "\n"]
        for _ in range(1000):
            text = "".join(dice.choice(pieces) for _ in range(dice.randrange(8)))
            parts = re.split(r"(?<!\{)\{(?:runId|project)\}(?!\})", text)
            shown = self.expand(text)
            if len(parts) == 1:
                self.assertEqual(text, shown)
            at = 0
            for each in parts:
                at = shown.index(each, at) + len(each)

    def test_a_value_is_not_expanded_again(self):
        self.assertEqual(
            "{runId}", training_variables.expander(part(project="{runId}"), "/h", "/w")("{project}")
        )


if __name__ == "__main__":
    unittest.main()
