"""What `audit export` prints, against the published schema of OCSF."""

import json
import os
import subprocess
import unittest

from ocsf.v1_5_0.events import Authentication

RECORDS = [
    {
        "event": "login",
        "session": "0011223344556677",
        "listener": "imap",
        "protocol": "imap",
        "client": "10.1.0.7:58376",
        "client_tls": "TLSv1.3 TLS_AES_128_GCM_SHA256",
        "login": "tickets@contoso.com",
        "mailbox": "tickets@contoso.com",
        "registration": "helpdesk",
        "upstream": "outlook.office365.com:993",
        "upstream_ip": "52.98.1.2",
        "outcome": "accepted",
        "phase": "relay",
        "login_ms": 212,
    },
    {
        "event": "login",
        "listener": "smtp",
        "protocol": "smtp",
        "client": "[2001:db8::9]:4000",
        "login": "root",
        "outcome": "refused",
        "fault": "client: credentials",
    },
    {
        "event": "session",
        "session": "0011223344556677",
        "listener": "smtp",
        "protocol": "smtp",
        "client": "10.1.0.7:58376",
        "login": "tickets@contoso.com",
        "outcome": "cancelled",
        "duration_ms": 61338,
        "messages": [{"from": "a@x.test", "to": ["b@x.test"], "size": 10, "reply": "250 ok"}],
    },
    {"event": "action", "person": "token", "action": "reload", "outcome": "accepted"},
    {"event": "dropped", "records": 3, "fault": "policy: audit"},
    {"event": "head", "signature": "AAAA"},
]


class Ocsf(unittest.TestCase):
    def test_every_record_is_an_authentication_event(self):
        common = {"v": 1, "time": "2026-11-25T14:42:10.162Z", "prev": "0" * 64, "hash": "1" * 64}
        lines = "".join(json.dumps({**common, **record}) + "\n" for record in RECORDS)
        done = subprocess.run(
            [os.environ["AUTHRELAY_STATIC"], "audit", "export", "--format", "ocsf", "-"],
            input=lines,
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
        events = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual(len(events), len(RECORDS))
        for event in events:
            with self.subTest(event=event["activity_name"]):
                # The class's attributes, their types and enumerations; unknown ones are refused.
                model = Authentication.model_validate(event)
                known = set(Authentication.model_fields)
                self.assertEqual(set(event) - known, set())
                self.assertEqual(model.class_uid, 3002)
                self.assertEqual(event["type_uid"], 300200 + event["activity_id"])


if __name__ == "__main__":
    unittest.main()
