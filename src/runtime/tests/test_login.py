"""The variables that a login shell sets."""

import os
import pwd
import resource
import shutil
import tempfile
import time
import unittest
from unittest import mock

import test_sync  # noqa: F401  (puts the runtime on the path)

from nx_ec2_runtime.system import account as accounts
from nx_ec2_runtime.system import processes

PROFILE = """trap 'rm -f "$HOME/lock"' EXIT
touch "$HOME/lock"
sleep 300
"""


class LoginTest(unittest.TestCase):
    def setUp(self):
        self.home = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.home)
        own = pwd.getpwuid(os.getuid())
        self.account = pwd.struct_passwd(own[:5] + (self.home, shutil.which("bash")))

    def profile(self, text):
        with open(os.path.join(self.home, ".bash_profile"), "w") as file:
            file.write(text)

    def test_the_login_environment_has_the_variables_of_the_profile(self):
        self.profile("export FROM_PROFILE='a\nb'")
        self.assertEqual(accounts.login_environment(self.account)["FROM_PROFILE"], "a\nb")

    def test_a_local_instances_own_programs_come_first_whatever_the_profile_sets(self):
        self.profile("export PATH=/usr/sbin:/usr/bin:/local/bin")
        path = self.find_path(NX_EC2_LOCAL_INSTANCE="i-0", NX_EC2_LOCAL_BIN="/local/bin")
        self.assertEqual(path[:3], ["/local/bin", "/usr/sbin", "/usr/bin"])
        self.assertEqual(path.count("/local/bin"), 1)
        path = self.find_path(NX_EC2_LOCAL_BIN="/local/bin")
        self.assertEqual(path[:3], ["/usr/sbin", "/usr/bin", "/local/bin"])

    def find_path(self, **variables):
        with mock.patch.dict(os.environ, variables):
            return accounts.login_environment(self.account)["PATH"].split(":")

    def test_a_shell_that_does_not_end_is_ended_with_its_children_and_removes_its_lock(self):
        self.profile(PROFILE)
        said = []
        with mock.patch.object(accounts, "LOGIN_TIMEOUT_S", 1), mock.patch.object(
            accounts, "LOGIN_GRACE_S", 60
        ):
            found = accounts.login_environment(self.account, said.append)
        self.assertEqual((found["HOME"], os.listdir(self.home)), (self.home, [".bash_profile"]))
        self.assertRegex(said[0], "^the login shell of .* did not end within 1 s")

    def test_what_a_profile_leaves_running_is_ended(self):
        for ignore in ("", "trap '' TERM; "):
            self.profile(
                """setsid sh -c '%secho $$ > "$HOME/pid"; while :; do sleep 0.1; done' \\
                    < /dev/null > /dev/null 2>&1 &
                until [ -s "$HOME/pid" ]; do sleep 0.01; done
                export FROM_PROFILE=x
                """
                % ignore
            )
            with mock.patch.object(accounts, "LEFT_GRACE_S", 0.5):
                found = accounts.login_environment(self.account)
            self.assertEqual(found["FROM_PROFILE"], "x")
            self.assertNotIn("NX_EC2_LOGIN", found)
            with open(os.path.join(self.home, "pid")) as file:
                pid = int(file.read())
            os.remove(os.path.join(self.home, "pid"))
            self.assertNotIn(pid, [each for each, _ in processes.proc_pairs()])

    def test_no_more_than_a_limit_is_kept_of_what_a_profile_prints(self):
        self.profile("head -c 300000000 /dev/zero")
        said = []
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = accounts.login_environment(self.account, said.append)
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        self.assertLess(grown_kb, 100_000)
        self.assertEqual(found["HOME"], self.home)
        self.assertRegex(said[0], "^the login shell of .* printed more than 4194304 bytes")

    def test_a_login_shell_that_ignores_the_signal_is_killed(self):
        self.profile("trap '' TERM\nwhile :; do sleep 1; done")
        begun = time.monotonic()
        with mock.patch.object(accounts, "LOGIN_TIMEOUT_S", 0.5), mock.patch.object(
            accounts, "LOGIN_GRACE_S", 0.5
        ):
            accounts.login_environment(self.account)
        self.assertLess(time.monotonic() - begun, 200)


if __name__ == "__main__":
    unittest.main()
