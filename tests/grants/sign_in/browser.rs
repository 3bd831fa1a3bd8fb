//! A browser with its cookies, which follows no redirect by itself, and a relay to sign in to.

use std::collections::BTreeMap;

use reqwest::Method;
use url::Url;

use super::provider::{CLIENT, Provider, SECRET};
use crate::stage::Relay;
use crate::{http, registration};

pub const TOKEN: &str = "admin-token-9Zk4-5Hq2";

/// The address by which browsers know the relay.
pub const PUBLIC: &str = "http://localhost:8025";

pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub cookies: Vec<String>,
    pub body: String,
}

/// A relay whose `admin.users` has these lists, with an audit file.
pub async fn relay(provider: &Provider, lists: &str) -> Relay {
    below(provider, PUBLIC, lists).await
}

/// The same, where browsers know it by another address.
pub async fn below(provider: &Provider, public_url: &str, lists: &str) -> Relay {
    let users = format!(
        "{{issuer: '{}', client_id: {CLIENT}, client_secret: {SECRET}, {lists}}}",
        provider.url
    );
    let admin = format!(
        "admin:\n  bind: '127.0.0.1:0'\n  public_url: '{public_url}'\n  token: {TOKEN}\n  users: {users}\naudit: {{path: audit.jsonl}}\n"
    );
    registration("grant: authorization_code")
        .append(&admin)
        .start()
        .await
}

pub struct Browser<'a> {
    relay: &'a Relay,
    pub cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    pub fn new(relay: &'a Relay) -> Self {
        Self {
            relay,
            cookies: BTreeMap::new(),
        }
    }

    /// Asks for a path, or for an address below `public_url`.
    pub async fn ask(&mut self, method: Method, target: &str, headers: &[(&str, &str)]) -> Answer {
        let admin = self.relay.listener("admin");
        let path = target.strip_prefix(PUBLIC).unwrap_or(target);
        let mut request = http().request(method, format!("http://{admin}{path}"));
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let header = |name: &str| {
            let values = answer.headers().get_all(name).iter();
            let values = values.map(|value| value.to_str().unwrap().to_owned());
            values.collect::<Vec<_>>()
        };
        let set = header("set-cookie");
        for cookie in &set {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            match value {
                "" => drop(self.cookies.remove(name)),
                value => drop(self.cookies.insert(name.to_owned(), value.to_owned())),
            }
        }
        Answer {
            status: answer.status().as_u16(),
            location: header("location").pop(),
            cookies: set,
            body: answer.text().await.unwrap(),
        }
    }

    pub async fn get(&mut self, target: &str) -> Answer {
        self.ask(Method::GET, target, &[]).await
    }

    pub async fn post(&mut self, target: &str) -> Answer {
        self.ask(Method::POST, target, &[]).await
    }

    /// Begins a sign-in; where the identity provider sends the browser back to.
    pub async fn begin(&mut self) -> Redirect {
        let answer = self.get("/oidc/start").await;
        assert_eq!(answer.status, 303, "{}", answer.body);
        Redirect::of(&answer.location.unwrap())
    }

    /// A sign-in from beginning to end.
    pub async fn sign_in(&mut self) -> Answer {
        let back = self.begin().await.back();
        self.get(&back).await
    }
}

/// An authorization request, as the identity provider gets it.
pub struct Redirect {
    pub parameters: BTreeMap<String, String>,
}

impl Redirect {
    pub fn of(location: &str) -> Self {
        let url = Url::parse(location).unwrap();
        let pairs = url.query_pairs();
        let parameters = pairs.map(|(name, value)| (name.into_owned(), value.into_owned()));
        Self {
            parameters: parameters.collect(),
        }
    }

    /// The answer with a code.
    pub fn back(&self) -> String {
        let parameters = &self.parameters;
        let code = format!("{}.{}", parameters["nonce"], parameters["code_challenge"]);
        self.back_with(&[("code", &code)])
    }

    /// Another answer for the same state.
    pub fn back_with(&self, more: &[(&str, &str)]) -> String {
        let mut url = Url::parse(&self.parameters["redirect_uri"]).unwrap();
        url.query_pairs_mut()
            .extend_pairs(more)
            .append_pair("state", &self.parameters["state"]);
        url.into()
    }
}

/// The actions on the audit record: person, action, login, outcome.
pub fn actions(relay: &Relay) -> Vec<[String; 4]> {
    let text = std::fs::read_to_string(relay.directory().join("audit.jsonl")).unwrap();
    let records = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let actions = records.filter(|record| record["event"] == "action");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    actions
        .map(|record| ["person", "action", "login", "outcome"].map(|key| text(&record[key])))
        .collect()
}
