"""The unit tests' program, built for Windows."""

import os
import shutil
import subprocess
import unittest
from pathlib import Path

from world import FOLDER

REPOSITORY = Path(__file__).resolve().parents[2]

# What runs sh, printf or openssl, and what the kernel of Linux tells of sockets and Windows does not.
OTHERS = (
    "config::tests::access::a_program_that_closes_its_output_and_lives_on_is_ended",
    "config::tests::grants::certificates_sign_with_rsa_keys_encrypted_or_not",
    "config::tests::secrets_come_from_files_and_commands_and_lose_one_line_end",
    "program::tests::a_program_is_done_when_it_has_ended",
    "program::tests::failures_say_why_within_bounds",
    "program::tests::what_it_started_ends_with_it",
    "stream::connection::tests::d17_a_reset_is_told_while_octets_are_unread",
    "stream::connection::tests::d17_an_end_is_no_reset",
)


@unittest.skipUnless("UNIT_TESTS" in os.environ, "UNIT_TESTS is not set")
class UnitTest(unittest.TestCase):
    def test_the_unit_tests_pass(self):
        program = FOLDER / "bin" / "units.exe"
        shutil.copy(os.environ["UNIT_TESTS"], program)
        skipped = [word for name in OTHERS for word in ("--skip", name)]
        done = subprocess.run(
            ["wine64", program, *skipped, "--exact"], capture_output=True, text=True, timeout=600, cwd=REPOSITORY
        )
        self.assertEqual(done.returncode, 0, done.stdout[-8000:] + done.stderr[-2000:])
        self.assertIn("test result: ok. ", done.stdout)
        # Each is there by its name.
        self.assertIn(f" {len(OTHERS)} filtered out", done.stdout)
