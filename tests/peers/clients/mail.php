<?php
// PHP's imap extension (UW IMAP's c-client): mail.php imap|pop3 FLAG PORT CA LOGIN PASSWORD FILE
// writes the first message to FILE. FLAG is as in imap_open: ssl, notls, or tls/tls-sslv23 (what
// c-client means by tls alone is TLS 1.0).
[, $protocol, $flag, $port, $ca, $login, $password, $file] = $argv;
putenv("SSL_CERT_FILE=$ca");
$mailbox = imap_open("{localhost:$port/$protocol/$flag}INBOX", $login, $password);
if ($mailbox === false) {
    fwrite(STDERR, implode("\n", imap_errors() ?: []) . "\n");
    exit(1);
}
file_put_contents($file, imap_fetchheader($mailbox, 1) . imap_body($mailbox, 1));
imap_close($mailbox);
