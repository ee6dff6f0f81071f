"""The connections between the nodes of a run: what comes by them is believed of nodes alone."""

import base64
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from directory_store import Store
from nodes import Nodes
from runs import KEY, part

from nx_ec2_runtime.report import node_links, node_records
from nx_ec2_runtime.report.heartbeat_message import BODY, MESSAGE_BYTES, Dialogue, Rejected
from nx_ec2_runtime.report.node_links import NodeLinks
from nx_ec2_runtime.report.node_records import NodeRecords
from nx_ec2_runtime.report.signed_record import SigningKey
from nx_ec2_runtime.system import processes

SPEC = {"id": "r", "signingKey": KEY}
OTHER_KEY = base64.b64encode(bytes(31) + b"x").decode()


def dialogue(rank, count=3, instance=None, **spec):
    key = SigningKey({**SPEC, **spec})
    return Dialogue(key, rank, count=count, instance=instance or "i-%d" % rank)


def random_bytes(chance, size):
    return bytes(chance.randrange(256) for _ in range(size))


def exchange(one, other, rounds=1):
    """The messages that `one` and `other` send in some rounds."""
    sent = []
    for _ in range(rounds):
        for sender, receiver in ((one, other), (other, one)):
            message = sender.next()
            sent.append(message)
            receiver.take(message)
    return sent


class DialogueTest(unittest.TestCase):
    def assert_rejected(self, receiver, message, how=None):
        with self.assertRaises(Rejected, msg=how):
            receiver.take(message)

    def test_each_end_knows_the_other_after_its_answer(self):
        one, other = dialogue(0), dialogue(2)
        self.assertTrue(one.may_send and other.may_send)
        exchange(one, other)
        self.assertFalse(one.is_proven or other.is_proven)
        exchange(one, other, 20)
        self.assertTrue(one.is_proven and other.is_proven)
        self.assertEqual((2, other.instance), one.peer)
        self.assertEqual((0, one.instance), other.peer)

    def test_all_messages_have_one_size(self):
        sent = exchange(dialogue(0), dialogue(1), 300)
        self.assertEqual({MESSAGE_BYTES}, set(map(len, sent)))

    def test_nothing_changed_is_taken(self):
        chance = random.Random(1)
        for at in range(MESSAGE_BYTES):
            for number in (0, 1):
                one, other = dialogue(0), dialogue(1)
                exchange(one, other, number)
                message = bytearray(one.next())
                message[at] ^= chance.randrange(1, 256)
                self.assert_rejected(other, bytes(message), (at, number))

    def test_nothing_of_another_size_is_taken(self):
        message = dialogue(0).next()
        for data in (b"", message[:-1], message + b"x", message * 2, message[: BODY.size]):
            self.assert_rejected(dialogue(1), data, len(data))

    def test_random_bytes_are_rejected_and_nothing_else_happens(self):
        chance = random.Random(2)
        for _ in range(2000):
            receiver = dialogue(chance.randrange(3))
            self.assert_rejected(
                receiver, random_bytes(chance, chance.randrange(2 * MESSAGE_BYTES))
            )
            self.assertIsNone(receiver.peer)

    def test_nothing_is_taken_twice_or_in_another_order(self):
        one, other = dialogue(0), dialogue(1)
        exchange(one, other, 2)
        first, second = one.next(), one.next()
        self.assert_rejected(other, second)
        other.take(first)
        self.assert_rejected(other, first)
        other.take(second)

    def test_what_was_said_on_another_connection_proves_nothing(self):
        one, other = dialogue(0), dialogue(1)
        of_other = exchange(one, other, 5)[1::2]
        later = dialogue(0)
        # The greeting can be repeated, and answers nothing.
        later.take(of_other[0])
        self.assertFalse(later.is_proven)
        for message in of_other[1:]:
            self.assert_rejected(later, message)

    def test_a_node_is_not_answered_by_its_own_messages(self):
        for rank in (0, 1):
            one = dialogue(rank)
            self.assert_rejected(one, one.next())
            self.assert_rejected(dialogue(rank), dialogue(rank).next())

    def test_only_nodes_of_this_run_are_heard(self):
        for stranger in (
            dialogue(0, signingKey=OTHER_KEY),
            dialogue(0, id="s"),
            dialogue(0, count=4),
            dialogue(2),
        ):
            self.assert_rejected(dialogue(1), stranger.next())
        self.assert_rejected(dialogue(0), dialogue(3).next())

    def test_a_connection_belongs_to_one_instance(self):
        one, other = dialogue(0), dialogue(1)
        exchange(one, other, 2)
        stranger = dialogue(1, instance="i-other")
        stranger.peer_nonce, stranger.sent = other.peer_nonce, other.sent
        self.assert_rejected(one, stranger.next())


class LinksTest(unittest.TestCase):
    """Ends in this process, by a clock of our own."""

    def setUp(self):
        self.now = 100.0
        patch = mock.patch.object(node_links, "TICK_S", 0.01)
        patch.start()
        self.addCleanup(patch.stop)
        self.first = self.end(0)
        self.first.listen()

    def end(self, rank, instance=None, key=KEY):
        found = NodeLinks(
            SigningKey({**SPEC, "signingKey": key}),
            rank,
            3,
            instance=instance or "i-%d" % rank,
            address="127.0.0.1",
            find_target=lambda: ("127.0.0.1", self.first.port),
            clock=lambda: self.now,
        )
        self.addCleanup(found.close)
        return found

    def turn(self, *ends, until=lambda: False, rounds=2000):
        for _ in range(rounds):
            for each in ends:
                each.turn()
            if until():
                return
        if rounds == 2000:
            self.fail("it did not come to that")

    def connect(self, *others):
        def have_met():
            return all(
                each.has_been(0, "i-0") and self.first.has_been(each.rank, each.instance)
                for each in others
            )

        self.turn(self.first, *others, until=have_met)

    def test_nodes_that_hear_each_other_have_nothing_broken(self):
        others = [self.end(1), self.end(2)]
        self.connect(*others)
        for _ in range(30):
            self.now += 1.0
            self.turn(self.first, *others, rounds=3)
        self.assertFalse(any(each.is_any_broken for each in (self.first, *others)))
        self.assertEqual(2, len(self.first.links))

    def test_a_connection_that_ends_is_broken_until_there_is_another(self):
        other = self.end(1)
        self.connect(other)
        other.close()
        self.turn(self.first, until=lambda: self.first.is_any_broken)
        self.now += 3.0
        self.assertEqual(3.0, self.first.broken_s(1, "i-1"))
        self.assertIsNone(self.first.broken_s(2, "i-2"))
        again = self.end(1)
        self.turn(self.first, again, until=lambda: not self.first.is_any_broken)

    def test_another_node_connects_again_when_the_first_has_another_port(self):
        other = self.end(1)
        self.connect(other)
        self.first.close()
        self.turn(other, until=lambda: other.is_any_broken)
        self.first = self.end(0)
        self.first.listen()
        self.now += node_links.MAX_RETRY_S
        self.turn(self.first, other, until=lambda: not other.is_any_broken)

    def test_a_connection_without_heartbeats_is_broken(self):
        other = self.end(1)
        self.connect(other)
        # Nothing closes it, as where an instance has lost its network.
        for _ in range(int(node_links.HEARTBEAT_TIMEOUT_S)):
            self.turn(self.first, rounds=3)
            self.assertFalse(self.first.is_any_broken)
            self.now += 1.0
        self.now += 1.0
        self.turn(self.first, until=lambda: self.first.is_any_broken)
        self.assertEqual([], self.first.links)

    def test_a_node_that_was_stopped_itself_reads_before_it_judges(self):
        other = self.end(1)
        self.connect(other)
        for _ in range(20):
            self.now += 1.0
            self.turn(other, rounds=3)
            # The other one has been heard by nobody.
            other.links[0].heard = self.now
        self.turn(self.first, rounds=3)
        self.assertFalse(self.first.is_any_broken)

    def test_an_instance_in_the_place_of_another_does_not_hide_its_loss(self):
        self.connect(self.end(1, "i-old"))
        before = self.first.links[0]
        new = self.end(1, "i-new")
        self.connect(new)
        self.first._close(before)
        self.assertIsNotNone(self.first.broken_s(1, "i-old"))
        self.assertIsNone(self.first.broken_s(1, "i-new"))

    def strangers(self, count):
        found = []
        for _ in range(count):
            found.append(socket.create_connection(("127.0.0.1", self.first.port)))
            self.addCleanup(found[-1].close)
        return found

    def test_rubbish_is_cut_and_is_no_node(self):
        chance, other = random.Random(3), self.end(1)
        self.connect(other)
        for size in (1, MESSAGE_BYTES - 1, MESSAGE_BYTES, MESSAGE_BYTES + 1, 100_000):
            with self.subTest(size=size):
                [stranger] = self.strangers(1)
                self.turn(self.first, until=lambda: len(self.first.links) == 2)
                link = self.first.links[-1]
                stranger.settimeout(10)
                stranger.sendall(random_bytes(chance, size))
                if size < MESSAGE_BYTES:
                    self.turn(self.first, rounds=5)
                    self.assertEqual(size, len(link.held))
                    stranger.shutdown(socket.SHUT_WR)
                self.turn(self.first, until=lambda: link not in self.first.links)
                self.assertLess(len(link.held), MESSAGE_BYTES + node_links.READ_BYTES)
        self.assertEqual(1, len(self.first.nodes))
        self.assertFalse(self.first.is_any_broken)

    def test_another_run_is_no_node(self):
        stranger = self.end(1, key=OTHER_KEY)
        self.turn(self.first, stranger, rounds=20)
        self.assertEqual(({}, {}), (self.first.nodes, stranger.nodes))

    def test_connections_that_say_nothing_are_few_and_end(self):
        other = self.end(1)
        self.connect(other)
        most = node_links.MAX_UNPROVEN + self.first.count
        for _ in range(3):
            self.strangers(most // 2)
            self.turn(self.first, other, rounds=most)
        self.assertEqual(most + 1, len(self.first.links))
        self.now += node_links.PROOF_TIMEOUT_S + 0.1
        self.turn(self.first, other, rounds=3)
        self.assertEqual(1, len(self.first.links))
        self.assertFalse(self.first.is_any_broken)

    def test_without_a_way_to_the_first_it_tries_less_and_less_often(self):
        other, asked = self.end(1), []
        port = self.first.port
        self.first.close()
        other.find_target = lambda: asked.append(self.now) or ("127.0.0.1", port)
        for _ in range(600):
            self.now += 0.1
            other.turn()
        self.assertEqual(
            [1, 2, 4, 8, 15, 15],
            [round(later - at) for at, later in zip(asked, asked[1:])][:6],
        )
        self.assertIn("127.0.0.1, port %d: Connection refused" % port, other.problem)
        self.assertEqual((None, False), (other.broken_s(0, "i-0"), other.is_any_broken))


class LimitTest(unittest.TestCase):
    """How long a node may be silent."""

    def setUp(self):
        self.root, self.now = tempfile.mkdtemp(), 100.0
        self.addCleanup(shutil.rmtree, self.root)
        spec = part(
            "r",
            node={"rank": 0, "count": 2},
            store={"access": "role", "prefix": "run/r/", "bucket": "b"},
        )
        with mock.patch("nx_ec2_runtime.aws.bucket.role_bucket", lambda access: Store(self.root)):
            self.records = NodeRecords(self.root, spec, clock=lambda: self.now)
        self.records.entries["1"]["record"] = self.record = {
            "instance": "i-1",
            "attempt": 1,
            "outcome": None,
        }
        self.nodes = self.records.links.nodes

    def limit(self):
        return self.records._limit_s(1, self.record)

    def test_a_broken_connection_shortens_it(self):
        self.assertEqual(60.0, self.limit())
        [peer] = [(1, dialogue(1).instance)]
        self.nodes[peer] = self.now
        self.assertEqual(60.0, self.limit())
        self.now += node_records.BROKEN_S
        self.assertEqual(15.0, self.limit())
        self.record["instance"] = "i-2"
        self.assertEqual(60.0, self.limit())

    def test_nothing_lengthens_it(self):
        self.nodes[1, dialogue(1).instance] = 0.0
        with mock.patch.object(node_records, "HEARTBEAT_TIMEOUT_S", 4.0):
            self.assertEqual(4.0, self.limit())

    def test_a_node_that_has_not_begun_the_attempt_needs_no_connection(self):
        self.records.attempt = 2
        for _ in range(2):
            self.assertIsNone(self.records.link_warning())
            self.now += node_records.NO_LINK_S + 1

    def test_it_is_said_once_that_there_is_no_connection(self):
        self.assertIsNone(self.records.link_warning())
        self.now += node_records.NO_LINK_S + 1
        self.assertIn("node 0 has no connection to node 1 (", self.records.link_warning())
        self.assertIsNone(self.records.link_warning())


class LossTest(Nodes):
    """Only a broken connection shows within the time of the test that a node is lost."""

    silence_s = 3600.0

    def setUp(self):
        super().setUp()
        for what, value in (
            ("node_links.HEARTBEAT_INTERVAL_S", 0.5),
            ("node_links.HEARTBEAT_TIMEOUT_S", 3.0),
            ("node_records.BROKEN_HEARTBEAT_TIMEOUT_S", 5.0),
            ("node_records.BROKEN_S", 1.0),
        ):
            patch = mock.patch("nx_ec2_runtime.report." + what, value)
            patch.start()
            self.addCleanup(patch.stop)

    def start(self, count):
        self.start_all(count, "each('started', %d)\ntime.sleep(600)" % count)
        self.wait(lambda: all(self.phase(rank) == "running" for rank in range(count)))
        self.wait(lambda: self.connected(0) >= count - 1)

    def connected(self, rank):
        """How many connections the node's reporter has to others."""
        [pid] = self.reporters(self.run_dir(rank))
        directory, found = "/proc/%d/fd" % pid, 0
        with open("/proc/%d/net/tcp" % pid) as file:
            established = {words[9] for words in map(str.split, file) if words[3] == "01"}
        for name in os.listdir(directory):
            try:
                link = os.readlink(os.path.join(directory, name))
            except OSError:
                continue
            found += link.startswith("socket:[") and link[8:-1] in established
        return found

    def assert_lost(self, rank, ranks):
        states = self.ends(3, ranks)
        self.assertEqual(["interrupted"] * len(ranks), self.outcomes(states), self.told())
        for state in states:
            failed = state["failedNode"]
            self.assertEqual((rank, "lost"), (failed["rank"], failed["why"]))

    def test_a_node_that_vanishes_is_lost(self):
        self.start(3)
        self.kill(2, reporter=True)
        self.assert_lost(2, [0, 1])

    def test_the_first_that_vanishes_is_lost(self):
        self.start(3)
        self.kill(0, reporter=True)
        self.assert_lost(0, [1, 2])

    def test_a_node_that_hangs_is_lost(self):
        self.start(2)
        for pid in [self.state(1)["supervisor"], *self.reporters(self.run_dir(1))]:
            processes.send(pid, signal.SIGSTOP)
        self.assert_lost(1, [0])

    def test_a_reporter_that_is_started_again_connects_again(self):
        self.start(2)
        before = self.stored(0)["heartbeatPort"]
        for rank in (0, 1):
            for pid in self.reporters(self.run_dir(rank)):
                processes.send(pid, signal.SIGKILL)
        self.wait(lambda: self.stored(0)["heartbeatPort"] not in (None, before))
        self.wait(lambda: self.reporters(self.run_dir(0)) and self.connected(0) >= 1)
        self.assertEqual([None] * 2, [self.state(rank)["outcome"] for rank in range(2)])

    def test_nodes_without_a_connection_write_more_often_and_are_not_lost(self):
        class Cut(node_links.Link):
            def receive(self, now):
                super().receive(now)
                if self.dialogue.received > 2:
                    raise OSError()

        for what, value in (
            ("node_links.Link", Cut),
            ("node_links.MIN_RETRY_S", 3600.0),
            ("node_links.MAX_RETRY_S", 3600.0),
            ("record_upload.HEARTBEAT_INTERVAL_S", 3600.0),
            ("record_upload.BROKEN_HEARTBEAT_INTERVAL_S", 0.5),
        ):
            patch = mock.patch("nx_ec2_runtime.report." + what, value)
            patch.start()
            self.addCleanup(patch.stop)
        self.start_all(2, "each('started', 2)\ntime.sleep(600)")
        self.wait(lambda: all(self.phase(rank) == "running" for rank in range(2)))
        first = self.stored(0)["heartbeat"]
        # Within far more than the time after which a silent node is lost.
        self.wait(lambda: self.stored(0)["heartbeat"] > first + 20)
        self.assertEqual([None] * 2, [self.state(rank)["outcome"] for rank in range(2)])
        self.assertEqual([0, 0], [self.connected(rank) for rank in range(2)])


if __name__ == "__main__":
    unittest.main()
