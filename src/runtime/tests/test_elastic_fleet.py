"""A run on MIN:MAX nodes whose instances are kept by fleets, with no client."""

import os
import sys
import types
import unittest
from unittest import mock

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from elastic_world import ElasticWorld, Killed
from test_fleet import stop

from nx_ec2_runtime.fleet import fleet_run
from nx_ec2_runtime.fleet.elastic_decision import by_rank
from nx_ec2_runtime.report import node_start
from nx_ec2_runtime.system.errors import Failure


class ElasticFleetTest(unittest.TestCase):
    def one(self, world, rank):
        """The instance that is a node of the last attempt."""
        name = world.record(rank)["instance"]
        return next(each for each in world.alive() if each.name == name)

    def lose(self, world, rank):
        self.one(world, rank).is_gone = True

    def counts(self, world):
        return [count for _, count, _ in world.attempts]

    def test_trains_on_all_and_leaves_nothing(self):
        world = ElasticWorld(self)
        self.assertEqual("succeeded", world.ends()["outcome"])
        self.assertEqual([4], self.counts(world))
        self.assertEqual(4, world.made)

    def test_begins_on_what_there_is_capacity_for_and_grows(self):
        world = ElasticWorld(self)
        world.capacity = 2
        world.until(lambda: world.trains(2))
        world.capacity = 4
        world.until(lambda: world.trains(4))
        self.assertEqual("succeeded", world.ends()["outcome"])
        self.assertEqual([2, 4], self.counts(world))

    def test_continues_at_once_on_those_that_are_left_and_grows_again(self):
        for rank in (0, 1, 3):
            with self.subTest(rank=rank):
                world = ElasticWorld(self)
                world.until(lambda world=world: world.trains(4) and world.record()["checkpoints"])
                self.lose(world, rank)
                since = world.now
                world.until(lambda world=world: world.trains(3))
                self.assertLess(world.now - since, 130 if rank == 0 else 110)
                self.assertEqual("succeeded", world.ends()["outcome"])
                self.assertEqual([4, 3, 4], self.counts(world))
                self.assertEqual(5, world.made)

    def test_does_not_grow_where_it_is_not_to(self):
        world = ElasticWorld(self, grow_after=None)
        world.until(lambda: world.trains(4))
        self.lose(world, 2)
        self.assertEqual("succeeded", world.ends()["outcome"])
        self.assertEqual([4, 3], self.counts(world))

    def test_waits_for_others_where_too_few_are_left(self):
        world = ElasticWorld(self, least=3)
        world.until(lambda: world.trains(4))
        self.lose(world, 0)
        self.lose(world, 2)
        world.until(lambda: len(world.attempts) == 2)
        self.assertIn(self.counts(world)[1], (3, 4))
        self.assertEqual("succeeded", world.ends()["outcome"])

    def test_ends_where_too_few_are_left_and_none_come(self):
        world = ElasticWorld(self, least=3)
        world.until(lambda: world.trains(4))
        world.capacity = 0
        self.lose(world, 0)
        self.lose(world, 2)
        ended = world.ends()
        self.assertEqual(
            ("interrupted", "not-replaced"), (ended["outcome"], ended["stop"]["reason"])
        )
        self.assertEqual(1, len(world.attempts))

    def test_ends_where_too_few_are_started(self):
        world = ElasticWorld(self)
        world.capacity = 1
        ended = world.ends()
        self.assertEqual("setup-failed", ended["outcome"])
        self.assertEqual("NODES_MISSING", ended["failure"]["code"])
        self.assertEqual([], world.attempts)

    def test_several_are_taken_back_with_notice(self):
        world = ElasticWorld(self)
        world.until(lambda: world.trains(4))
        taken = [self.one(world, 1), self.one(world, 0)]
        for each in taken:
            each.is_noticed = True
        for _ in range(10):
            world.step()
        for each in taken:
            each.is_gone = True
        world.until(lambda: world.trains(2))
        self.assertEqual("succeeded", world.ends()["outcome"])

    def test_an_instance_that_can_not_be_prepared_is_given_up(self):
        world = ElasticWorld(self)
        world.capacity = 2
        world.until(lambda: world.trains(2))
        world.unprepared, world.capacity = {2}, 4
        world.until(lambda: 2 not in world.fleets)
        self.assertEqual("succeeded", world.ends()["outcome"])
        self.assertEqual([2, 3], self.counts(world))
        # One for each fleet.
        self.assertEqual(4, world.made)

    def test_a_node_that_is_lost_while_it_is_prepared_is_replaced(self):
        world = ElasticWorld(self)
        world.capacity = 3
        world.until(lambda: world.trains(3))
        world.capacity = 4
        world.until(lambda: (world.record(3) or {}).get("outcome", 0) is None)
        self.lose(world, 3)
        world.until(lambda: world.trains(4))
        self.assertEqual([3, 4], self.counts(world))

    def test_a_cancelled_run_leaves_nothing(self):
        for rank in (0, 1):
            world = ElasticWorld(self)
            world.until(lambda world=world: world.trains(4))
            world.objects["stop"] = types.SimpleNamespace(
                data=stop(), etag="x", at=world.now, refused=None
            )
            self.lose(world, rank)
            self.assertEqual("cancelled", world.ends()["outcome"])
            self.assertEqual([4], self.counts(world))

    def test_a_training_that_loses_its_machines_and_saves_nothing_has_failed(self):
        world = ElasticWorld(self)
        for attempt in range(1, 5):
            world.until(lambda n=attempt: world.trained and world.trained[-1][1] == n)
            self.lose(world, 0)
        ended = world.ends()
        self.assertEqual(("failed", "CRASH_LOOP"), (ended["outcome"], ended["failure"]["code"]))

    def test_decisions_that_were_deleted_or_forged_are_made_again(self):
        for data in (None, b"{}"):
            world = ElasticWorld(self)
            world.until(lambda world=world: world.trains(4) and world.record()["checkpoints"])
            if data is None:
                del world.objects["members.json"]
            else:
                world.put("members.json", data)
            self.lose(world, 1)
            world.until(lambda world=world: len(world.attempts) == 2)
            self.assertEqual("succeeded", world.ends()["outcome"])

    def test_a_process_that_is_killed_at_any_step_is_taken_up(self):
        for seed in range(6):
            world = ElasticWorld(self, seed=seed)

            def fault(_, world=world):
                if world.random.random() < 0.05:
                    raise Killed()

            world.fault = fault
            world.until(lambda world=world: world.trains(4) and world.record()["checkpoints"])
            self.lose(world, seed % 4)
            self.assertEqual("succeeded", world.ends()["outcome"], world.log)

    def test_instances_that_vanish_at_any_moment(self):
        for seed in range(10):
            with self.subTest(seed=seed):
                world = ElasticWorld(self, seed=seed)
                end = world.now + 600

                def lose_one(world=world):
                    for each in world.alive():
                        if world.random.random() < 0.002:
                            each.is_gone = True
                        elif world.random.random() < 0.001:
                            each.is_noticed = True

                while world.now < end and world.fleets:
                    lose_one()
                    world.step()
                    for each in world.alive():
                        if each.is_noticed and world.random.random() < 0.05:
                            each.is_gone = True
                for each in world.alive():
                    each.is_gone = each.is_gone or each.is_noticed
                self.assertIn(world.ends()["outcome"], ("succeeded", "failed"))

    def test_grows_after_a_retry_by_the_same_nodes(self):
        world = ElasticWorld(self)
        world.capacity = 3
        world.until(lambda: world.trains(3) and world.record()["checkpoints"])
        for rank in range(3):
            self.one(world, rank).save(attempt=2)
        world.capacity = 4
        world.until(lambda: world.trains(4))
        self.assertEqual([(1, 3), (3, 4)], [each[:2] for each in world.attempts])
        self.assertEqual("succeeded", world.ends()["outcome"])

    def test_an_instance_that_shuts_down_ends_what_is_its_own(self):
        world = ElasticWorld(self)
        world.until(lambda: world.trains(4))
        other, first = self.one(world, 2), self.one(world, 0)
        other.fleet.close()
        self.assertEqual((3, True), (len(world.fleets), world.template))
        first.fleet.close()
        self.assertFalse(world.template)

    def test_a_node_that_can_not_be_started_is_given_up_and_fails_the_first_attempt(self):
        world = ElasticWorld(self)
        world.unstartable = {1}
        self.assertEqual("setup-failed", world.ends()["outcome"])
        self.assertEqual([], world.trained)

    def test_no_process_tells_of_an_instance_whose_program_has_failed(self):
        world = ElasticWorld(self)
        world.until(lambda: world.trains(4))
        fleet = self.one(world, 1).fleet
        tellers = []
        tell = fleet.presence.keep_telling

        def keep_telling(call):
            tellers.append(tell(call))
            return tellers[0]

        fleet.presence.keep_telling = keep_telling
        with mock.patch.object(fleet_run.Fleet, "run_to_completion", side_effect=KeyError):
            self.assertRaises(KeyError, fleet.run_to_completion)
        self.assertRaises(ProcessLookupError, os.kill, tellers[0], 0)

    def test_a_node_whose_preparation_was_ended_by_another_instance_is_given_up(self):
        world = ElasticWorld(self)
        world.capacity = 3
        world.until(lambda: world.trains(3))
        world.capacity = 4
        world.until(lambda: (world.record(3) or {}).get("outcome", 0) is None)
        joining = self.one(world, 3)
        joining.end("interrupted", "superseded")
        world.until(lambda: joining.slot not in world.fleets)
        self.assertEqual("succeeded", world.ends()["outcome"])
        self.assertEqual([3], self.counts(world))

    def test_a_first_node_that_still_gets_its_files_is_waited_for(self):
        world = ElasticWorld(self)

        def fault(what):
            if what == "begin" and world.now < 2000:
                raise Failure("RUN_ACTIVE", "it still gets its files")

        world.fault = fault
        while not world.attempts:
            self.assertLess(world.now, 2100)
            world.put("starting.json", node_start.sign(world.key, int(world.now)))
            world.step()
        self.assertEqual(
            ["attempt 1 has 4 of 4 nodes"], [x for x in world.log if "of 4 nodes" in x]
        )

    def test_each_keeps_its_rank_where_there_is_such_a_rank(self):
        for left, before, ranks in (
            (["a", "c", "d"], ["a", "b", "c", "d"], ["a", "d", "c"]),
            (["b", "c"], ["a", "b", "c"], ["c", "b"]),
            (["a", "b"], [], ["a", "b"]),
            (["a", "x"], ["a"], ["a", "x"]),
        ):
            self.assertEqual(ranks, by_rank(left, before))


if __name__ == "__main__":
    unittest.main()
