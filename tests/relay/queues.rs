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
