//! Grants that ask for nobody's consent.

use std::path::Path;
use std::process::Command;

use authrelay::sandbox::{CLIENT_ID, LOGIN, TENANT};
use authrelay::wire::Protocol::{Imap, Pop3, Smtp};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::stage::Setup;
use crate::{assert_logs_in, registration};

fn openssl(folder: &Path, arguments: &str) {
    let status = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "openssl {arguments}");
}

/// An RSA key and certificate.
fn app_key(folder: &Path) {
    openssl(
        folder,
        "req -x509 -newkey rsa:2048 -nodes -keyout app.key -out app.pem -subj /CN=app -days 2",
    );
}

fn part(jwt: &str, index: usize) -> Value {
    let part = jwt.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_certificate_proves_the_client() {
    let folder = tempfile::tempdir().unwrap();
    app_key(folder.path());
    openssl(
        folder.path(),
        "pkcs8 -topk8 -in app.key -out sealed.key -passout pass:open-sesame",
    );
    let at = folder.path().display();
    for key in [
        format!("{{certificate: {at}/app.pem, key: {at}/app.key}}"),
        format!("{{certificate: {at}/app.pem, key: {at}/sealed.key, passphrase: open-sesame}}"),
    ] {
        let relay = registration(&format!("grant: client_credentials\ncertificate: {key}"))
            .start()
            .await;
        assert_logs_in(&relay, Imap).await;
        assert_logs_in(&relay, Smtp).await;
        let seen = relay.sandbox.seen();
        assert_eq!(seen.token_requests, 1);
        assert!(seen.token[0].contains("assertion"), "{:?}", seen.token);
    }
}

/// PS256 and x5t#S256 as Entra wants them, a fresh jti each time, no more than five minutes; and
/// the signature is that of the key.
#[tokio::test]
async fn assertions_are_what_entra_documents() {
    let folder = tempfile::tempdir().unwrap();
    app_key(folder.path());
    let forms = listen_for_forms().await;
    let at = folder.path().display();
    let setup = Setup::default()
        .replace(
            &format!(
                "    grant: client_credentials\n    client_secret: \"{}\"\n",
                authrelay::sandbox::CLIENT_SECRET
            ),
            &format!(
                "    grant: client_credentials\n    certificate: {{certificate: {at}/app.pem, key: {at}/app.key}}\n"
            ),
        )
        .token_url(&format!("http://{}/token", forms.0));
    let relay = setup.start().await;
    crate::log_in(&relay, Imap).await;
    let form = forms.1.lock().unwrap()[0].clone();
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["client_id"], CLIENT_ID);
    assert_eq!(form["scope"], "https://outlook.office365.com/.default");
    assert_eq!(
        form["client_assertion_type"],
        "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
    );
    assert!(form.get("client_secret").is_none());
    let jwt = form["client_assertion"].as_str().unwrap();
    let (head, claims) = (part(jwt, 0), part(jwt, 1));
    assert_eq!(head["alg"], "PS256");
    assert_eq!(head["typ"], "JWT");
    assert_eq!(head["x5t#S256"].as_str().unwrap().len(), 43);
    assert_eq!(claims["iss"], CLIENT_ID);
    assert_eq!(claims["sub"], CLIENT_ID);
    assert_eq!(claims["aud"], format!("http://{}/token", forms.0));
    let number = |name: &str| claims[name].as_u64().unwrap();
    assert!(number("exp") - number("nbf") <= 300, "{claims}");
    assert!(claims["jti"].as_str().unwrap().len() >= 20);
    // openssl is the second opinion on the signature.
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    std::fs::write(folder.path().join("signed"), signed).unwrap();
    std::fs::write(
        folder.path().join("signature"),
        URL_SAFE_NO_PAD.decode(signature).unwrap(),
    )
    .unwrap();
    openssl(
        folder.path(),
        "x509 -in app.pem -pubkey -noout -out public.pem",
    );
    openssl(
        folder.path(),
        "dgst -sha256 -verify public.pem -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:digest -signature signature signed",
    );
}

/// A token endpoint that refuses and remembers what it was sent.
async fn listen_for_forms() -> (
    std::net::SocketAddr,
    std::sync::Arc<std::sync::Mutex<Vec<Value>>>,
) {
    use axum::extract::Form;
    let forms = std::sync::Arc::<std::sync::Mutex<Vec<Value>>>::default();
    let seen = forms.clone();
    let take = move |Form(form): Form<std::collections::HashMap<String, String>>| async move {
        seen.lock().unwrap().push(json!(form));
        (
            axum::http::StatusCode::BAD_REQUEST,
            axum::Json(json!({"error": "invalid_client"})),
        )
    };
    let router = axum::Router::new().route("/token", axum::routing::post(take));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(socket, router).await });
    (address, forms)
}

/// What Kubernetes gives a workload, valid until `exp`.
fn workload_token(exp: u64) -> String {
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = encode(json!({"alg": "RS256", "typ": "JWT"}));
    let claims = encode(json!({
        "iss": "https://kubernetes.test", "sub": "system:serviceaccount:mail:authrelay",
        "aud": "api://AzureADTokenExchange", "exp": exp,
    }));
    format!("{head}.{claims}.c2ln\n")
}

/// The file of a federated identity is read anew each time.
#[tokio::test]
async fn a_federated_token_file_is_read_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    std::fs::write(&file, workload_token(1)).unwrap();
    let keys = format!(
        "grant: client_credentials\nfederated: {{file: {}}}",
        file.display()
    );
    let relay = registration(&keys).start().await;
    let reply = crate::log_in(&relay, Imap).await;
    assert!(reply.starts_with("a NO [CONTACTADMIN] "), "{reply}");
    drop(relay);
    let relay = registration(&keys).start().await;
    std::fs::write(&file, workload_token(4_000_000_000)).unwrap();
    assert_logs_in(&relay, Imap).await;
}

/// The variables that the Kubernetes webhook sets stand for the file, the client, the tenant and
/// the cloud.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_federated_identity_is_the_environments() {
    let prepared = registration("grant: client_credentials\nfederated: {}")
        .replace(&format!("    client_id: {CLIENT_ID}\n"), "")
        .replace(&format!("    tenant: {TENANT}\n"), "")
        .prepare()
        .await;
    // With the token endpoint that Microsoft 365 has, in whatever cloud.
    let yaml = std::fs::read_to_string(prepared.path()).unwrap();
    let lines: Vec<_> = yaml
        .lines()
        .filter(|line| !line.contains("token_url:"))
        .collect();
    std::fs::write(prepared.path(), lines.join("\n")).unwrap();
    let file = prepared.path().with_file_name("token");
    std::fs::write(&file, workload_token(4_000_000_000)).unwrap();
    let token_url = prepared.sandbox.token_url_tls();
    let authority = token_url.split_once(TENANT).unwrap().0;
    let doctor = |missing: &str| {
        let variables = [
            ("AZURE_FEDERATED_TOKEN_FILE", file.to_str().unwrap()),
            ("AZURE_CLIENT_ID", CLIENT_ID),
            ("AZURE_TENANT_ID", TENANT),
            ("AZURE_AUTHORITY_HOST", authority),
        ];
        let output = Command::new(env!("CARGO_BIN_EXE_authrelay"))
            .args(["doctor", LOGIN, "--protocol", "imap", "--config"])
            .arg(prepared.path())
            .envs(variables.into_iter().filter(|(name, _)| *name != missing))
            .output()
            .unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let (well, text) = doctor("");
    assert!(well, "{text}");
    assert_eq!(prepared.sandbox.seen().token_requests, 1);
    for (missing, what) in [
        (
            "AZURE_FEDERATED_TOKEN_FILE",
            "AZURE_FEDERATED_TOKEN_FILE is not set",
        ),
        ("AZURE_CLIENT_ID", "client_id"),
        ("AZURE_TENANT_ID", "tenant is missing"),
    ] {
        let (well, text) = doctor(missing);
        assert!(!well && text.contains(what), "without {missing}: {text}");
    }
}

#[tokio::test]
async fn a_service_account_asks_for_each_mailbox() {
    let folder = tempfile::tempdir().unwrap();
    app_key(folder.path());
    let key = json!({
        "type": "service_account",
        "client_email": "relay@project.iam.gserviceaccount.com",
        "private_key_id": "0123456789abcdef",
        "private_key": std::fs::read_to_string(folder.path().join("app.key")).unwrap(),
        "token_uri": "https://oauth2.googleapis.com/token",
    });
    let path = folder.path().join("key.json");
    std::fs::write(&path, key.to_string()).unwrap();
    let relay = registration(&format!(
        "grant: service_account\nkey: {{file: {}}}",
        path.display()
    ))
    .replace(&format!("    client_id: {CLIENT_ID}\n"), "")
    .replace("accounts:\n", "accounts:\n  - {login: other, registration: sandbox, mailbox: helpdesk@contoso.test, password: p}\n")
    .start()
    .await;
    assert_logs_in(&relay, Imap).await;
    assert_logs_in(&relay, Pop3).await;
    assert_eq!(relay.sandbox.seen().token_requests, 1);
    let reply = relay.connect(Imap).await.log_in("other", "p").await;
    assert!(reply.starts_with("a OK "), "{reply}");
    assert_eq!(relay.sandbox.seen().token_requests, 2, "a token of its own");
}

#[tokio::test]
async fn the_managed_identity_of_the_machine_is_asked() {
    let relay =
        registration("grant: managed_identity\nurl: AUTHORITY/metadata/identity/oauth2/token")
            .start()
            .await;
    assert_logs_in(&relay, Imap).await;
    let seen = relay.sandbox.seen();
    assert_eq!(seen.token[0], "metadata https://outlook.office365.com");
}

#[tokio::test]
async fn a_command_prints_a_token_or_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let relay = registration(&format!(
        "grant: command\ncommand: [cat, {}]",
        file.display()
    ))
    .replace(&format!("    client_id: {CLIENT_ID}\n"), "")
    .start()
    .await;
    let token = relay.sandbox.issue_token().unwrap();
    std::fs::write(&file, format!("{token}\n")).unwrap();
    assert_logs_in(&relay, Imap).await;
    // What a token endpoint would answer; the token before was revoked.
    relay.sandbox.revoke_tokens();
    let token = relay.sandbox.issue_token().unwrap();
    let answer = json!({"access_token": token, "expires_in": "3599", "token_type": "Bearer"});
    std::fs::write(&file, answer.to_string()).unwrap();
    assert_logs_in(&relay, Smtp).await;
    assert_eq!(relay.sandbox.seen().token_requests, 0);
}

#[tokio::test]
async fn a_command_that_fails_is_named() {
    for (command, detail) in [
        (
            "['false']",
            "the token command false failed: exit status: 1",
        ),
        (
            "[/nowhere/token]",
            "the token command /nowhere/token cannot be run",
        ),
        ("[echo]", "the token command echo printed no token"),
        ("[echo, '[]']", "the token command echo printed no token"),
        (
            "[echo, '\"token\"']",
            "the token command echo printed no token",
        ),
        (
            "[echo, '{}']",
            "the token command echo printed JSON without an access_token",
        ),
    ] {
        let relay = registration(&format!("grant: command\ncommand: {command}"))
            .replace(&format!("    client_id: {CLIENT_ID}\n"), "")
            .start()
            .await;
        let reply = crate::log_in(&relay, Imap).await;
        assert!(reply.starts_with("a NO [UNAVAILABLE] "), "{reply}");
        assert!(relay.log.text().contains(detail), "{}", relay.log.text());
    }
}

/// d40: a command is done when it has ended, and whatever it started ends with it.
#[tokio::test]
async fn d40_a_command_ends_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let relay = |script: &str| {
        std::fs::write(at.join("run"), script).unwrap();
        registration(&format!(
            "grant: command\ncommand: [sh, {}]",
            at.join("run").display()
        ))
        .replace(&format!("    client_id: {CLIENT_ID}\n"), "")
        .append("limits: {upstream_timeout: 2s}\n")
        .start()
    };
    let is_gone = |name: &str| {
        let pid = std::fs::read_to_string(at.join(name)).unwrap();
        let status = format!("/proc/{}/status", pid.trim());
        std::fs::read_to_string(status).map_or(true, |text| text.contains("State:\tZ"))
    };
    let gone = async |name: &str| {
        for _ in 0..300 {
            if is_gone(name) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{name} lives on");
    };
    let here = at.display();
    // Something in the background holds the output open.
    let one = relay(&format!(
        "sleep 77 & echo $! > {here}/one; cat {here}/token"
    ))
    .await;
    std::fs::write(at.join("token"), one.sandbox.issue_token().unwrap()).unwrap();
    assert_logs_in(&one, Imap).await;
    gone("one").await;
    // Below a shell, without an end.
    let two = relay(&format!("sleep 77 & echo $! > {here}/two; wait")).await;
    let reply = crate::log_in(&two, Imap).await;
    assert!(reply.starts_with("a NO [UNAVAILABLE] "), "{reply}");
    assert!(
        two.log.text().contains("did not end within 2 seconds"),
        "{}",
        two.log.text()
    );
    gone("two").await;
    // Its complaints are said, within bounds, and are no lines of ours.
    let three =
        relay("yes complaint | head -c 300000 >&2; echo 'vault is sealed' >&2; exit 7").await;
    crate::log_in(&three, Imap).await;
    let log = three.log.text();
    assert!(
        log.contains("failed: exit status: 7: vault is sealed"),
        "{log}"
    );
    assert!(log.len() < 20_000 && !log.contains("complaint"));
}
