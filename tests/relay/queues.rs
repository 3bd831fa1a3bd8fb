//! What mail servers that queue in front of authrelay do, and must not take for a refusal.

use authrelay::sandbox::{Fault, LOGIN, PASSWORD};
use authrelay::wire::Protocol::Smtp;

use crate::clock::still;
use crate::stage::Setup;

/// dma says MAIL without a login where AUTH was answered with 4xx, and returns the message to its
/// sender for a 5xx.
#[test]
fn f23_mail_behind_a_login_that_failed_for_now_is_told_to_come_again() {
    for fault in [
        Fault::TokenUnreachable,
        Fault::UpstreamBusyGreeting,
        Fault::SecretExpired,
    ] {
        still(|_| async move {
            let relay = Setup::default().start().await;
            relay.sandbox.set_fault(Some(fault));
            let mut client = relay.connect(Smtp).await;
            let auth = client.log_in(LOGIN, PASSWORD).await;
            assert!(auth.starts_with('4'), "{fault}: {auth}");
            let mail = client.ask("MAIL FROM:<a@contoso.test>\r\n", "\r\n").await;
            assert_eq!(mail, auth, "{fault}");
            // A wrong password is not told to come again, and before any login 530 stays.
            let auth = client.log_in(LOGIN, "wrong").await;
            assert!(auth.starts_with("535 "), "{fault}: {auth}");
            let mail = client.ask("MAIL FROM:<a@contoso.test>\r\n", "\r\n").await;
            assert!(mail.starts_with("530 5.7.0 "), "{fault}: {mail}");
        });
    }
}

/// `mailbox: {smtp: sender}` with a provider that has no limits: a mail service that wants one sender
/// left alone is left alone by that sender only.
#[test]
fn f62_a_sender_that_is_to_be_left_alone_holds_up_no_other() {
    const HELPDESK: &str = "MAIL FROM:<helpdesk@contoso.test>\r\n";
    still(|clock| async move {
        let relay = Setup::default()
            .replace("microsoft365", "own")
            .replace(
                "    grant: client_credentials\n",
                "    grant: client_credentials\n    scope: [\"https://outlook.office365.com/.default\"]\n",
            )
            .replace("mailbox: tickets@contoso.test", "mailbox: {smtp: sender}")
            .append("    smtp: {senders: [\"*@contoso.test\"], recipients: [\"*\"]}\n")
            .start()
            .await;
        let mut client = relay.session(Smtp).await;
        relay.sandbox.set_fault(Some(Fault::SmtpConcurrency));
        for command in [HELPDESK, "RCPT TO:<a@b.test>\r\n"] {
            let said = client.ask(command, "\r\n").await;
            assert!(said.starts_with("250 "), "{said}");
        }
        let said = client.ask("DATA\r\n", "\r\n").await;
        assert!(said.starts_with("432 4.3.2 "), "{said}");
        relay.sandbox.set_fault(None);
        let mut client = relay.session(Smtp).await;
        let said = client.ask(HELPDESK, "\r\n").await;
        assert!(said.starts_with("4"), "{said}");
        assert_eq!(relay.log.faults(), ["upstream: busy"]);
        let said = client
            .ask("MAIL FROM:<tickets@contoso.test>\r\n", "\r\n")
            .await;
        assert!(said.starts_with("250 2.1.0 "), "{said}");
        client.ask("RSET\r\n", "\r\n").await;
        clock.advance(std::time::Duration::from_secs(3601)).await;
        let mut client = relay.session(Smtp).await;
        let said = client.ask(HELPDESK, "\r\n").await;
        assert!(said.starts_with("250 2.1.0 "), "{said}");
    });
}
