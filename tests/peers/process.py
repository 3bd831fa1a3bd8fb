"""Child processes: they write to a file, are waited for by what they say, and end by their id."""

import re
import signal
import subprocess
import time


def until(condition, what, seconds=30):
    """What `condition` gives once it is true; an assertion fails if that takes too long."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class Child:
    """A process that runs until `stop`."""

    def __init__(self, name, arguments, folder, **options):
        self.name = name
        self.log = folder / f"{name}.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                **options,
            )

    def lines(self):
        """The whole lines that it has written."""
        return self.log.read_text(errors="replace").split("\n")[:-1]

    def wait_for(self, pattern, count=1):
        """The first `count` matches of `pattern` in its lines, once there are so many."""

        def matches():
            running = self.process.poll() is None
            found = [match for match in (re.search(pattern, line) for line in self.lines()) if match]
            assert running or len(found) >= count, f"{self.name} ended:\n{self.log.read_text()}"
            return found[:count] if len(found) >= count else None

        return until(matches, f"{count} × {pattern!r} from {self.name}")

    def exit_code(self, seconds=30):
        """How it ends by itself."""
        return self.process.wait(seconds)

    def stop(self, number=signal.SIGTERM):
        """Ends it if it still runs; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()
