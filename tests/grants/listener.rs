//! The administrators' listener as a network sees it: clients that never finish, web servers in
//! front, commands that ask it, and whoever takes its place.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use authrelay::certs::Authority;
use authrelay::sandbox::LOGIN;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stage::Relay;
use crate::{free_port, http, registration};

const TOKEN: &str = "admin-token-9Zk4";

/// A relay whose `admin` has these keys besides its token.
async fn relay(admin: &str) -> Relay {
    let admin = format!("admin: {{token: {TOKEN}, {admin}}}\n");
    registration("grant: authorization_code")
        .append(&admin)
        .start()
        .await
}

/// Runs a command with the relay's file; its exit code and everything that it said.
async fn authrelay(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_authrelay"));
    command
        .args(arguments)
        .arg("--config")
        .arg(directory.join("proxy.yaml"));
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Scripts read the errors of `/api/…`, whatever refuses the request.
#[tokio::test(flavor = "multi_thread")]
async fn every_error_of_the_api_is_json() {
    let relay = relay("bind: '127.0.0.1:0', metrics_public: false").await;
    let base = format!("http://{}/api", relay.listener("admin"));
    let test = format!("/accounts/{LOGIN}/test");
    for (method, path, token, origin, status) in [
        ("GET", "/accounts", "", "", 401),
        ("GET", "/accounts", "wrong", "", 401),
        ("POST", "/reload", TOKEN, "http://elsewhere.test", 403),
        ("GET", "/nothing", TOKEN, "", 404),
        ("GET", "/reload", TOKEN, "", 405),
        ("POST", "/accounts/%ff/test", TOKEN, "", 400),
        ("POST", "/accounts/%ff/authorize", TOKEN, "", 400),
        ("DELETE", "/accounts/%ff/token", TOKEN, "", 400),
        (
            "POST",
            &format!("{test}?protocol=imap&protocol=smtp"),
            TOKEN,
            "",
            400,
        ),
        ("POST", &format!("{test}?protocol=ftp"), TOKEN, "", 400),
        ("GET", "/accounts/x/authorize", TOKEN, "", 400),
        ("POST", "/accounts/nobody/test", TOKEN, "", 404),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = http().request(method.clone(), format!("{base}{path}"));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if !origin.is_empty() {
            request = request.header("origin", origin);
        }
        let answer = request.send().await.unwrap();
        let case = format!("{method} {path}: {:?}", answer.headers());
        assert_eq!(answer.status(), status, "{case}");
        assert_eq!(
            answer.headers()["content-type"],
            "application/json",
            "{case}"
        );
        let is_challenged = answer.headers().contains_key("www-authenticate");
        assert_eq!(is_challenged, status == 401, "{case}");
        let json: serde_json::Value = answer.json().await.unwrap();
        assert!(
            !json["error"].as_str().unwrap().is_empty(),
            "{case}: {json}"
        );
    }
}

/// Half a request, and silence.
fn half(relay: &Relay, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(relay.listener("admin")).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn d23_halves_of_requests_do_not_keep_health_from_being_answered() {
    for head in [
        "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\ntoken=",
        "POST /api/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 16000\r\n\r\n",
        "GET /livez HTTP/1.1\r\n",
        "",
    ] {
        let relay = relay("bind: '127.0.0.1:0'").await;
        let held: Vec<_> = (0..600).map(|_| half(&relay, head)).collect();
        let admin = relay.listener("admin");
        for path in ["/livez", "/readyz", "/metrics", "/oauth/callback?state=x"] {
            let request = http().get(format!("http://{admin}{path}")).send();
            let answer = tokio::time::timeout(Duration::from_secs(5), request).await;
            let status = answer.expect("no answer in 5 s").unwrap().status().as_u16();
            assert_eq!(
                status,
                if path.contains("state") { 400 } else { 200 },
                "{path}"
            );
        }
        drop(held);
    }
}

/// A request that stops in the middle is ended, with or without others.
#[tokio::test(flavor = "multi_thread")]
async fn d23_a_request_has_a_deadline() {
    let relay = relay("bind: '127.0.0.1:0'").await;
    let head = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\ntoken=";
    let mut stream = half(&relay, head);
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let answer = tokio::task::spawn_blocking(move || {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    });
    let answer = answer.await.unwrap().expect("held for 30 s");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

/// What needs no token is logged as seldom as other clients' faults: 5 times a minute.
#[tokio::test]
async fn d14_strangers_do_not_fill_the_log_through_the_administrators_listener() {
    let relay = relay("bind: '127.0.0.1:0'").await;
    let admin = relay.listener("admin");
    let client = http();
    for number in 0..40 {
        let callback = client.get(format!(
            "http://{admin}/oauth/callback?state={number}&code=x"
        ));
        assert_eq!(callback.send().await.unwrap().status(), 400);
        let login = client
            .post(format!("http://{admin}/login"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body("token=wrong");
        assert_eq!(login.send().await.unwrap().status(), 403);
    }
    let log = relay.log.text();
    for what in ["no consent", "a wrong admin token was given"] {
        let logged = log.matches(what).count();
        assert!((1..30).contains(&logged), "{logged} × {what}\n{log}");
    }
}

/// A web server in front speaks HTTPS with the browser, and may put a `Host` of its own.
#[tokio::test]
async fn d31_everything_follows_public_url() {
    let own = ["/livez", "/audit", "/api", "/login", "/oauth/callback"];
    for base in ["", "/mail/relay", "/:mail/*"].into_iter().chain(own) {
        let relay = relay(&format!(
            "bind: '127.0.0.1:0', public_url: 'https://relay.contoso.com{base}'"
        ))
        .await;
        let admin = relay.listener("admin");
        // The path is cut off on the way, or not.
        for prefix in ["", base] {
            for host in [admin.to_string(), "relay.contoso.com".to_owned()] {
                let log_in = http()
                    .post(format!("http://{admin}{prefix}/login"))
                    .header("host", &host)
                    .header("origin", "https://relay.contoso.com")
                    .header("sec-fetch-site", "same-origin")
                    .header("content-type", "application/x-www-form-urlencoded")
                    .body(format!("token={TOKEN}"))
                    .send()
                    .await
                    .unwrap();
                assert_eq!(log_in.status(), 303, "{prefix} {host}");
                let header = |name: &str| log_in.headers()[name].to_str().unwrap().to_owned();
                assert_eq!(header("location"), format!("{base}/"));
                let cookie = header("set-cookie");
                assert!(cookie.contains("; Secure"), "{cookie}");
                assert!(cookie.contains(&format!("; Path={base}/;")), "{cookie}");
                let cookie = cookie.split(';').next().unwrap().to_owned();
                let page = http()
                    .get(format!("http://{admin}{prefix}/"))
                    .header("host", &host)
                    .header("cookie", &cookie)
                    .send()
                    .await
                    .unwrap();
                assert_eq!(page.status(), 200);
                let page = page.text().await.unwrap();
                for link in ["href=\"", "src=\"", "action=\""] {
                    for target in page
                        .split(link)
                        .skip(1)
                        .filter_map(|rest| rest.split('"').next())
                    {
                        assert!(target.starts_with(&format!("{base}/")), "{link}{target}");
                        if target.ends_with("css") || target.ends_with("js") {
                            let url = format!("http://{admin}{target}");
                            let file = http()
                                .get(url)
                                .header("host", &host)
                                .header("cookie", &cookie);
                            assert_eq!(file.send().await.unwrap().status(), 200, "{target}");
                        }
                    }
                }
                assert!(page.contains(&format!("data-base=\"{base}\"")), "{page}");
            }
        }
        let foreign = http()
            .post(format!("http://{admin}/login"))
            .header("host", "relay.contoso.com")
            .header("origin", "https://relay.contoso.com.evil.example")
            .body(format!("token={TOKEN}"));
        assert_eq!(foreign.send().await.unwrap().status(), 403);
        let form = http()
            .get(format!("http://{admin}{base}/"))
            .send()
            .await
            .unwrap();
        let form = form.text().await.unwrap();
        assert!(form.contains(&format!("action=\"{base}/login\"")), "{form}");
    }
}

/// An action is on the audit's record under whichever of its paths it was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn actions_are_recorded_whatever_the_path_of_public_url_is() {
    for base in ["", "/mail", "/api", "/api/rel"] {
        let relay = registration("grant: authorization_code")
            .append(&format!(
                "admin: {{token: {TOKEN}, bind: '127.0.0.1:0', public_url: 'https://relay.contoso.com{base}'}}\n\
                 audit: {{path: audit.jsonl}}\n"
            ))
            .start()
            .await;
        let admin = relay.listener("admin");
        for prefix in ["", base] {
            let reload = http()
                .post(format!("http://{admin}{prefix}/api/reload"))
                .bearer_auth(TOKEN);
            assert_eq!(
                reload.send().await.unwrap().status(),
                200,
                "{base} {prefix}"
            );
        }
        let written = relay
            .control
            .current()
            .finish_audit(Duration::from_secs(10));
        written.await;
        let records = std::fs::read_to_string(relay.directory().join("audit.jsonl")).unwrap();
        let reloads = records.matches("\"action\":\"reload\"").count();
        assert_eq!(reloads, 2, "{base}: {records}");
    }
}

/// Whatever the certificate is: the file has it, so it is the right one.
#[tokio::test(flavor = "multi_thread")]
async fn d33_commands_take_the_files_own_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let key_of_leaf = write("key", &key.serialize_pem());
    let leaf = rcgen::CertificateParams::new(vec!["elsewhere.test".into()]).unwrap();
    let itself = write("itself", &leaf.clone().self_signed(&key).unwrap().pem());
    let mut authority = leaf.clone();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_itself = write(
        "authority",
        &authority.clone().self_signed(&key).unwrap().pem(),
    );
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let ca = rcgen::CertifiedIssuer::self_signed(authority, ca_key).unwrap();
    // The authority's own certificate is not in the file.
    let private = write("private", &leaf.signed_by(&key, &ca).unwrap().pem());
    for certificate in [itself, authority_itself, private] {
        let relay = relay(&format!(
            "bind: '127.0.0.1:{}', tls: {{certificate: '{certificate}', key: '{key_of_leaf}'}}",
            free_port()
        ))
        .await;
        let (code, said) = authrelay(relay.directory(), &["accounts"]).await;
        assert!(code == Some(0) && !said.contains("warning"), "{said}");
        let (code, said) = authrelay(relay.directory(), &["reload"]).await;
        assert_eq!(code, Some(0), "{certificate}: {said}");
        let (code, said) = authrelay(relay.directory(), &["health"]).await;
        assert_eq!(code, Some(0), "{said}");
    }
}

/// Commands go to where the listener is on this machine. What `public_url` names may be a load
/// balancer's address.
#[tokio::test(flavor = "multi_thread")]
async fn commands_find_the_listener_whatever_its_public_address() {
    let folder = tempfile::tempdir().unwrap();
    let issued = Authority::new("here").unwrap();
    let issued = issued.issue(&["relay.test".into()]).unwrap();
    for (name, text) in [("chain", &issued.chain), ("key", &issued.key)] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let folder = folder.path().display();
    for public in [
        "https://192.0.2.7",
        "https://[2001:db8::1]:8443",
        "https://relay.test/mail",
    ] {
        let relay = relay(&format!(
            "bind: '0.0.0.0:{}', public_url: '{public}', tls: {{certificate: '{folder}/chain', key: '{folder}/key'}}",
            free_port()
        ))
        .await;
        for command in ["health", "accounts", "reload"] {
            let (code, said) = authrelay(relay.directory(), &[command]).await;
            assert!(
                code == Some(0) && !said.contains("warning"),
                "{public}: {said}"
            );
        }
    }
}

/// Whoever listens in the relay's place fills neither memory nor a terminal.
#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_answer_is_one_short_line() {
    let stranger = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = stranger.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = stranger.accept().await {
            tokio::spawn(async move {
                let _ = client.read(&mut [0; 1024]).await;
                let head = b"HTTP/1.1 503 no\r\n\r\n\x1b[31mred\r\nmore\n";
                let mut sent = client.write_all(head).await;
                while sent.is_ok() {
                    sent = client.write_all(&[b'.'; 4096]).await;
                }
            });
        }
    });
    let folder = crate::checks::Folder::new();
    let text = format!(
        "admin: {{bind: '127.0.0.1:{port}', token: admin-token-9Zk4}}\n{}",
        crate::checks::with("a secret")
    );
    let (code, said) = folder.command("health", &text);
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!said.contains('\u{1b}') && said.len() < 600, "{said}");
    let (code, said) = folder.command("reload", &text);
    assert_eq!(code, Some(69), "{said}");
}

/// The relay is down, and somebody else listens where it should be.
#[tokio::test(flavor = "multi_thread")]
async fn d39_the_token_is_not_sent_to_somebody_else() {
    let port = free_port();
    let relay = relay(&format!("bind: '127.0.0.1:{port}'")).await;
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(relay.directory()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    relay.end().await;
    let socket = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    let (heard, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in socket.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let _ = heard.send(String::from_utf8_lossy(&request[..read]).into_owned());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\nConnection: close\r\n\r\n0000000000000000000000000000000000000000000000000000000000000000");
        }
    });
    for arguments in [&["accounts"][..], &["reload"], &["health"]] {
        authrelay(folder.path(), arguments).await;
    }
    let mut authorize = Command::new(env!("CARGO_BIN_EXE_authrelay"))
        .args(["authorize", LOGIN, "--config"])
        .arg(folder.path().join("proxy.yaml"))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut requests = Vec::new();
    while requests.len() < 4 {
        requests.push(
            said.recv_timeout(Duration::from_secs(20))
                .expect("nobody asked"),
        );
    }
    let _ = authorize.kill();
    let _ = authorize.wait();
    requests.extend(said.try_iter());
    for request in requests {
        assert!(
            !request.contains(TOKEN) && !request.to_lowercase().contains("authorization"),
            "{request}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reload_asks_the_relay_and_says_what_came_of_it() {
    let relay = relay(&format!("bind: '127.0.0.1:{}'", free_port())).await;
    let (code, said) = authrelay(relay.directory(), &["reload"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("reloaded: "), "{said}");
    relay.rewrite(&[("protocol: pop3", "protocol: pop4")]);
    let (code, said) = authrelay(relay.directory(), &["reload"]).await;
    assert_eq!(code, Some(78), "{said}");
    assert!(
        said.contains("protocol: must be imap, pop3 or smtp (line "),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_whether_the_relay_serves() {
    let port = free_port();
    let relay = relay(&format!("bind: '127.0.0.1:{port}'")).await;
    let url = format!("http://127.0.0.1:{port}");
    let deep = format!("{url}/livez");
    for arguments in [
        &["health"][..],
        &["health", "--url", &url],
        &["health", "--url", &deep],
    ] {
        let (code, said) = authrelay(relay.directory(), arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
    }
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let (code, said) = authrelay(relay.directory(), &["health", "--url", &nobody]).await;
    assert!(code == Some(1) && said.contains(&nobody), "{said}");
    // Whether or not there is a file.
    let (code, _) = authrelay(Path::new("/nowhere"), &["health", "--url", &url]).await;
    assert_eq!(code, Some(0));
}

#[tokio::test]
async fn a_viewer_looks_and_changes_nothing() {
    let relay =
        relay("bind: '127.0.0.1:0', viewer_token: viewer-token-5Hq2, metrics_public: false").await;
    let admin = relay.listener("admin");
    let ask = |method: reqwest::Method, path: &str| {
        let request = http().request(method, format!("http://{admin}{path}"));
        request.bearer_auth("viewer-token-5Hq2").send()
    };
    for path in ["/", "/api/accounts", "/api/sessions", "/metrics"] {
        assert_eq!(
            ask(reqwest::Method::GET, path).await.unwrap().status(),
            200,
            "{path}"
        );
    }
    for (method, path) in [
        (reqwest::Method::POST, "/api/reload".to_owned()),
        (
            reqwest::Method::POST,
            format!("/api/accounts/{LOGIN}/authorize"),
        ),
        (reqwest::Method::POST, format!("/api/accounts/{LOGIN}/test")),
        (
            reqwest::Method::DELETE,
            format!("/api/accounts/{LOGIN}/token"),
        ),
    ] {
        assert_eq!(ask(method, &path).await.unwrap().status(), 403, "{path}");
    }
    let log_in = http()
        .post(format!("http://{admin}/login"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("token=viewer-token-5Hq2")
        .send()
        .await
        .unwrap();
    let cookie = log_in.headers()["set-cookie"].to_str().unwrap();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let page = http()
        .get(format!("http://{admin}/"))
        .header("cookie", &cookie)
        .send()
        .await
        .unwrap();
    let page = page.text().await.unwrap();
    assert!(page.contains(LOGIN) && !page.contains("data-do="), "{page}");
    let reload = http()
        .post(format!("http://{admin}/api/reload"))
        .header("cookie", &cookie);
    assert_eq!(reload.send().await.unwrap().status(), 403);
}
