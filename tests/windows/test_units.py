"""The unit tests' program, built for Windows."""

import os
import shutil
import subprocess
import unittest

from world import FOLDER


@unittest.skipUnless("UNIT_TESTS" in os.environ, "UNIT_TESTS is not set")
class UnitTest(unittest.TestCase):
    def test_the_unit_tests_pass(self):
        program = FOLDER / "bin" / "units.exe"
        shutil.copy(os.environ["UNIT_TESTS"], program)
        done = subprocess.run(["wine64", program], capture_output=True, text=True, timeout=600, cwd=FOLDER)
        self.assertEqual(done.returncode, 0, done.stdout[-8000:] + done.stderr[-2000:])
        self.assertIn("test result: ok. ", done.stdout)
