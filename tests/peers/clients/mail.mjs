// Node's clients: mail.mjs imap|smtp none|starttls|implicit PORT CA LOGIN PASSWORD FILE
// imapflow writes the first message to FILE, after it has seen it arrive if the INBOX is empty;
// nodemailer sends FILE.
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { ImapFlow } from 'imapflow';
import { createTransport } from 'nodemailer';

const [protocol, mode, port, ca, user, pass, file] = process.argv.slice(2);
const options = {
  host: 'localhost',
  port: Number(port),
  secure: mode === 'implicit',
  auth: { user, pass },
  tls: { ca: readFileSync(ca) },
  logger: false,
};
if (protocol === 'imap') {
  const imap = new ImapFlow({ ...options, doSTARTTLS: mode === 'starttls' });
  await imap.connect();
  const { exists } = await imap.mailboxOpen('INBOX');
  if (exists === 0) {
    console.log('waiting');
    const arrived = once(imap, 'exists');
    imap.idle();
    await arrived;
  }
  const { source } = await imap.fetchOne('1', { source: true });
  writeFileSync(file, source);
  await imap.logout();
} else {
  const smtp = createTransport({ ...options, requireTLS: mode === 'starttls', ignoreTLS: mode === 'none' });
  await smtp.sendMail({ envelope: { from: user, to: 'node@peers.test' }, raw: readFileSync(file) });
  smtp.close();
}
