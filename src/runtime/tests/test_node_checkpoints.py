"""Which checkpoint a run on several nodes resumes from, and which files each node gets."""

import hashlib
import json
import os
import pwd
import shutil
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from directory_store import Store
from runs import part

from nx_ec2_runtime.checkpoints.checkpoint_source import restore_from
from nx_ec2_runtime.checkpoints.set_upload import MOST_OF_NODES, named
from nx_ec2_runtime.checkpoints.whole_checkpoint import combined
from nx_ec2_runtime.report.node_records import node_bucket
from nx_ec2_runtime.report.signed_record import SigningKey
from nx_ec2_runtime.run.checkpoint_choice import CheckpointChoice, before, choose
from nx_ec2_runtime.run.node_manifests import NodeManifests
from nx_ec2_runtime.run.supervised_run import Failed
from nx_ec2_runtime.run_dir.node_path import node_path
from nx_ec2_runtime.system import atomic_files


def saved(n, unit, attempt=1):
    return {
        "n": n,
        "unit": unit,
        "sha256": "0" * 64,
        "size": 1,
        "files": 1,
        "at": n,
        "attempt": attempt,
    }


def entry(path, content):
    sha256 = hashlib.sha256(content.encode()).hexdigest()
    return {"path": path, "size": 1, "sha256": sha256, "executable": False, "parts": [sha256]}


def manifest(unit, *files, names=None):
    names = names or [{"name": unit, "kind": "directory"}]
    return {
        "v": 1,
        "n": 1,
        "unit": unit,
        "names": names,
        "at": 0,
        "attempt": 1,
        "files": list(files),
    }


def saved_each(seconds, until, keep):
    """What the record of a node names that saves at each of these steps, until a time."""
    kept = []
    for at in range(0, until + 1, seconds):
        entry = dict(saved(len(kept) + 1, "step-%d" % at), at=at * 1000)
        kept = list(named(kept + [entry], keep, several=True))
    return kept


def chosen_units(*kept, nodes=None):
    found = choose(kept, nodes or {})
    return found and [each and (each["n"], each["unit"]) for each in found]


class NamedTest(unittest.TestCase):
    def test_a_record_names_the_newest(self):
        kept = [saved(n, "step-%d" % n) for n in range(1, 10)]
        self.assertEqual(kept[-3:], named(kept, 3, several=False))

    def test_nodes_that_go_on_until_a_loss_is_noticed_name_what_the_lost_one_has(self):
        for seconds in (1, 5, 60, 1200):
            for keep in (1, 3):
                lost = saved_each(seconds, 1200, keep)
                others = saved_each(seconds, 1200 + 80, keep)
                with self.subTest(seconds=seconds, keep=keep):
                    last = lost[-1]["unit"]
                    found = choose([others, lost, others], {})
                    self.assertEqual([last] * 3, [each["unit"] for each in found])

    def test_a_node_that_uploads_later_than_another_has_one_in_common_with_it(self):
        for keep in (1, 2, 3):
            early, late = saved_each(3600, 4 * 3600, keep), saved_each(3600, 2 * 3600, keep)
            for nodes in ([early, late], [late, early]):
                self.assertEqual("step-7200", choose(nodes, {})[0]["unit"])

    def test_a_record_names_no_more_than_a_limit_unless_more_are_to_be_kept(self):
        kept = [dict(saved(n, "step-%d" % n), at=n) for n in range(1, 1001)]
        self.assertEqual(MOST_OF_NODES, len(named(kept, 3, several=True)))
        self.assertEqual(500, len(named(kept, 500, several=True)))


class ChooseTest(unittest.TestCase):
    def test_the_newest_of_the_first_node_where_it_alone_saves(self):
        self.assertEqual(
            chosen_units([saved(1, "step-1"), saved(2, "step-2")], [], []),
            [(2, "step-2"), None, None],
        )

    def test_the_newest_that_all_have_where_all_save(self):
        first = [saved(1, "step-1"), saved(2, "step-2"), saved(3, "step-3")]
        other = [saved(4, "step-1"), saved(7, "step-2")]
        self.assertEqual(chosen_units(first, other, []), [(2, "step-2"), (7, "step-2"), None])

    def test_the_newest_of_one_name(self):
        first = [saved(1, "last"), saved(2, "last")]
        self.assertEqual(chosen_units(first, [saved(5, "last")]), [(2, "last"), (5, "last")])

    def test_none_where_the_nodes_have_none_in_common(self):
        self.assertIsNone(chosen_units([saved(1, "step-1")], [saved(1, "step-2")]))
        self.assertIsNone(chosen_units([], [saved(1, "step-2")]))

    def test_those_of_attempts_with_another_number_of_nodes_are_not_put_together(self):
        nodes = {1: 3, 2: 2, 3: 3}
        first = [saved(1, "last", 1), saved(2, "last", 2)]
        second = [saved(1, "last", 1), saved(3, "last", 2)]
        third = [saved(1, "last", 1)]
        # The one of two nodes is newer; the third node's is none of it.
        self.assertEqual(
            chosen_units(first, second, third, nodes=nodes), [(2, "last"), (3, "last")]
        )
        # Of the newer attempt, the second node has saved another one: all three have the older.
        second[1] = saved(3, "other", 2)
        self.assertEqual(
            chosen_units(first, second, third, nodes=nodes),
            [(1, "last"), (1, "last"), (1, "last")],
        )
        # The third node took part again, and had not saved yet.
        first.append(saved(4, "step-4", 3))
        second.append(saved(4, "step-4", 3))
        third.append(saved(2, "step-3", 3))
        self.assertEqual(
            chosen_units(first, second, third, nodes=nodes),
            [(1, "last"), (1, "last"), (1, "last")],
        )

    def test_only_those_of_earlier_attempts(self):
        self.assertEqual(before([saved(1, "a", 1), saved(2, "b", 2)], 2), [saved(1, "a", 1)])


class GoneNodeTest(unittest.TestCase):
    """The first node chooses for two nodes what three have saved."""

    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        self.spec = part(
            "r",
            node={"rank": 0, "count": 2},
            store={"access": "role", "prefix": "run/r/", "bucket": "b"},
        )

        def bucket(access):
            directory = os.path.join(self.root, access["prefix"])
            os.makedirs(directory, exist_ok=True)
            return Store(directory)

        patch = mock.patch("nx_ec2_runtime.aws.bucket.role_bucket", bucket)
        patch.start()
        self.addCleanup(patch.stop)
        atomic_files.write_json(os.path.join(self.root, "checkpoints.json"), {"kept": self.kept})
        attempts = [{"n": n, "nodes": 3} for n in (1, 2)]
        run = mock.Mock(spec=self.spec, run_dir=self.root)
        run.spec, run.record = self.spec, {"attempt": 3, "attempts": attempts}
        self.choice = CheckpointChoice(run, mock.Mock())

    kept = [saved(1, "last", 1), saved(2, "last", 2)]

    def find(self, record):
        if record:
            data = SigningKey(self.spec).of_node(2).sign(dict(record, id="r"))
            node_bucket(self.spec, 2).overwrite("record.json", data)
        return self.choice.find([mock.Mock(record={"checkpoints": self.kept})])

    def test_what_it_has_saved_counts(self):
        found = self.find({"attempt": 2, "checkpoints": [saved(7, "last", 2)]})
        self.assertEqual([(0, 2), (1, 2), (2, 7)], [(each["rank"], each["n"]) for each in found])

    def test_a_record_of_it_from_before_its_last_attempt_is_not_believed(self):
        for record, why in (
            ({"attempt": 1, "checkpoints": []}, "older than its last attempt"),
            (None, "can't be read"),
        ):
            shutil.rmtree(os.path.join(self.root, "run"), ignore_errors=True)
            with self.assertRaises(Failed) as caught:
                self.find(record)
            self.assertEqual("RESTORE_FAILED", caught.exception.data["code"])
            self.assertIn(why, caught.exception.data["message"])


def combined_of(manifests, own):
    whole = combined(manifests, own)
    return whole.manifest, whole.places


class CombinedTest(unittest.TestCase):
    def test_each_node_gets_the_files_of_all_and_its_own_first(self):
        whole = {
            0: manifest("step-1", entry("step-1/meta", "m"), entry("step-1/0.pt", "zero")),
            1: manifest("step-1", entry("step-1/meta", "other"), entry("step-1/1.pt", "one")),
        }
        for own, meta in ((0, "m"), (1, "other"), (2, "m")):
            made, places = combined_of(whole, own)
            found = {each["path"]: each["sha256"] for each in made["files"]}
            self.assertEqual(sorted(found), ["step-1/0.pt", "step-1/1.pt", "step-1/meta"])
            self.assertEqual(found["step-1/meta"], entry("", meta)["sha256"])
            self.assertEqual(places[entry("", "one")["sha256"]], 1)
            self.assertEqual(set(places), {each["parts"][0] for each in made["files"]})

    def test_what_can_not_stand_beside_the_others_is_left_out(self):
        whole = {
            0: manifest("a", entry("a/b", "file")),
            1: manifest("a", entry("a/b/c", "below a file")),
            2: manifest("a", entry("a/d", "beside")),
        }
        made, places = combined_of(whole, 0)
        self.assertEqual([each["path"] for each in made["files"]], ["a/b", "a/d"])
        self.assertEqual(sorted(places.values()), [0, 2])


class Read(Store):
    """Tells what was read."""

    names = []

    def get(self, name, span=None, limit=0):
        self.names.append(name)
        return super().get(name)


class WholeTest(unittest.TestCase):
    """The first node puts together what all have saved, and each other reads that and its own."""

    count = 5

    def setUp(self):
        root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, root)
        Read.names = []

        def bucket(access):
            directory = os.path.join(root, access["prefix"])
            os.makedirs(directory, exist_ok=True)
            return Read(directory)

        patch = mock.patch("nx_ec2_runtime.aws.bucket.role_bucket", bucket)
        patch.start()
        self.addCleanup(patch.stop)

    def of(self, rank):
        store = {
            "access": "role",
            "prefix": "run/r/" + ("node/%d/" % rank if rank else ""),
            "bucket": "b",
        }
        spec = part("r", node={"rank": rank, "count": self.count}, store=store)
        run = mock.Mock(record={"attempt": 2})
        run.spec = spec
        return NodeManifests(run, mock.Mock())

    def save(self, *manifests):
        chosen = []
        for rank, each in enumerate(manifests):
            data = json.dumps(each).encode()
            node_bucket(self.of(0).run.spec, rank).put("checkpoint/1.json", data)
            sha256 = hashlib.sha256(data).hexdigest()
            chosen.append({"rank": rank, "n": 1, "sha256": sha256})
        return chosen

    def assert_as_each_from_each(self, chosen, sha256):
        for rank in range(self.count):
            manifests = self.of(rank)
            found, expected = manifests.whole(chosen, sha256), manifests.whole(chosen, None)
            self.assertEqual(files(expected), files(found))
            self.assertEqual(expected.places, found.places)
            self.assertEqual(expected.is_own, found.is_own)

    def test_requests_grow_with_the_number_of_nodes_and_not_with_its_square(self):
        chosen = self.save(*(self.shard(rank) for rank in range(self.count)))
        sha256 = self.of(0).publish(chosen)
        for rank in range(self.count):
            self.of(rank).whole(chosen, sha256)
        self.assertEqual(3 * self.count, len(Read.names))
        self.assert_as_each_from_each(chosen, sha256)

    def shard(self, rank):
        own = entry("step-1/%d.pt" % rank, "shard %d" % rank)
        return manifest("step-1", entry("step-1/meta", "of %d" % rank), own)

    def test_files_that_can_not_stand_beside_those_of_others_are_as_without_it(self):
        chosen = self.save(
            self.shard(0),
            manifest("step-1", entry("step-1/0.pt/a", "below a file")),
            self.shard(2),
            manifest("step-1", entry("step-1/1.pt", "another")),
        )
        self.assert_as_each_from_each(chosen, self.of(0).publish(chosen))

    def test_another_object_in_its_place_is_not_believed(self):
        chosen = self.save(self.shard(0), self.shard(1))
        sha256 = self.of(0).publish(chosen)
        node_bucket(self.of(0).run.spec, 0).put("checkpoint/resume-2.json", b'{"v": 1}')
        self.assert_as_each_from_each(chosen, sha256)

    def test_what_one_node_alone_has_saved_is_read_from_it(self):
        chosen = self.save(self.shard(0))
        self.assertIsNone(self.of(0).publish(chosen))
        self.assert_as_each_from_each(chosen, None)


class ResumeFromTest(unittest.TestCase):
    """A new run resumes from what all nodes of another one have saved."""

    def setUp(self):
        self.root = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.root)
        self.store = Store(tempfile.mkdtemp(dir=self.root))
        patch = mock.patch("nx_ec2_runtime.aws.bucket.open_bucket", lambda _: self.store)
        patch.start()
        self.addCleanup(patch.stop)

    def save(self, rank, n, **contents):
        """One file of each content. Returns the node as a source names it."""
        entries = []
        for name, content in contents.items():
            entries.append(dict(entry("step-1/" + name, content), size=len(content)))
            self._put(rank, "part/" + entries[-1]["sha256"], content.encode())
        data = json.dumps(manifest("step-1", *entries)).encode()
        self._put(rank, "checkpoint/%d.json" % n, data)
        return {"rank": rank, "n": n, "sha256": hashlib.sha256(data).hexdigest()}

    def _put(self, rank, name, data):
        path = os.path.join(self.store.directory, node_path(rank) + name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.store.put(node_path(rank) + name, data)

    def test_each_node_gets_the_files_of_all(self):
        first = self.save(0, 4, shard0="zero", meta="of 0")
        second = self.save(1, 7, shard1="one", meta="of 1")
        source = {"run": "r", "prefix": "r/", "urls": None, "nodes": [second]}
        source.update(n=4, sha256=first["sha256"])
        for rank, meta in ((0, "of 0"), (1, "of 1"), (2, "of 0")):
            home = tempfile.mkdtemp(dir=self.root)
            os.mkdir(os.path.join(home, "checkpoints"))
            restore_from(source, {}, home, account=pwd.getpwuid(os.getuid()), rank=rank)
            found = {}
            for name in ("shard0", "shard1", "meta"):
                with open(os.path.join(home, "checkpoints", "step-1", name)) as file:
                    found[name] = file.read()
            self.assertEqual({"shard0": "zero", "shard1": "one", "meta": meta}, found)


def files(whole):
    return sorted(whole.manifest["files"], key=lambda each: each["path"])


if __name__ == "__main__":
    unittest.main()
