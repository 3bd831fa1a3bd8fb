"""Python's own clients against the sandbox; any surprise is an exception."""
import imaplib, os, poplib, smtplib, ssl, base64

user, token = os.environ["USER_"], os.environ["TOKEN"]
tls = ssl.create_default_context(cafile=os.environ["CA"])
sasl = f"user={user}\x01auth=Bearer {token}\x01\x01"

smtp = smtplib.SMTP("127.0.0.1", int(os.environ["SMTP"]), timeout=10)
smtp.starttls(context=tls)
smtp.ehlo()
assert smtp.has_extn("chunking") and smtp.esmtp_features["auth"] == " LOGIN XOAUTH2", smtp.esmtp_features
smtp.auth("XOAUTH2", lambda challenge=None: sasl, initial_response_ok=False)
smtp.sendmail(user, [user], "Subject: dots\r\n\r\n.\r\n..end\r\n")
smtp.quit()

imap = imaplib.IMAP4_SSL("127.0.0.1", int(os.environ["IMAP"]), ssl_context=tls, timeout=10)
assert "LOGINDISABLED" in imap.capabilities and "AUTH=XOAUTH2" in imap.capabilities
imap.authenticate("XOAUTH2", lambda challenge: sasl.encode())
assert imap.select("INBOX") == ("OK", [b"4"])
assert imap.uid("SEARCH", "UNSEEN")[1] == [b"1 2 3 4"]
assert imap.search(None, "OR", "SUBJECT", '"dots"', "NOT", "2:4")[1] == [b"1 4"]
fetched = imap.fetch("4", "(FLAGS UID RFC822.SIZE BODY[HEADER.FIELDS (SUBJECT)] BODY[TEXT])")[1]
assert fetched[0][1] == b"Subject: dots\r\n\r\n" and fetched[1][1] == b".\r\n..end\r\n", fetched
assert b"\\Seen" in imap.fetch("4", "(FLAGS)")[1][0]
assert imap.store("1", "+FLAGS", "\\Deleted")[1] == [b"1 (FLAGS (\\Deleted))"]
assert imap.expunge()[1] == [b"1"]
assert imap.uid("MOVE", "2", '"Archive"')[0] == "OK"
assert imap.status("Archive", "(MESSAGES UIDNEXT)")[1] == [b'"Archive" (MESSAGES 1 UIDNEXT 2)']
assert imap.append("INBOX", "(\\Seen $x)", None, b"Subject: appended\r\n\r\nx\r\n")[0] == "OK"
assert len(imap.list()[1]) == 6
assert imap.noop()[0] == "OK" and imap.close()[0] == "OK"
imap.logout()

pop = poplib.POP3_SSL("127.0.0.1", int(os.environ["POP3"]), context=tls, timeout=10)
assert pop.capa()["SASL"] == ["PLAIN", "XOAUTH2"]
assert pop._shortcmd("AUTH XOAUTH2").startswith(b"+")
pop._shortcmd(base64.b64encode(sasl.encode()).decode())
assert pop.stat()[0] == 3
assert pop.retr(2)[1] == [b"Subject: dots", b"", b".", b"..end"], pop.retr(2)
assert pop.top(2, 1)[1] == [b"Subject: dots", b"", b"."]
assert pop.uidl(2) == b"+OK 2 14-4", pop.uidl(2)
pop.dele(1)
pop.quit()
