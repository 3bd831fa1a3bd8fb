//! SMTP: pipelined scripts of clients against a mail service that is a plain reference. What
//! arrives, in which order, and what the record says must equal what the service decided, with and
//! without rules.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use authrelay::relay::{ClosedBy, MessageOutcome, MessageReport, Policy, SmtpRules, Tracker};
use authrelay::wire::address::Pattern;
use tokio::time::Instant;

use super::random::Random;
use super::server::{Final, Server};
use super::session::{IDLE, Opened, Session, Throttle};
use super::wire::Wired;

/// What a client does, in order.
#[derive(Debug, Clone)]
enum Item {
    /// A command, or a chunk with its octets.
    Command(Vec<u8>),
    /// A message's text, sent only after 354 unless the client is blind.
    Text(Vec<u8>),
    /// Waits for every reply so far.
    Wait,
}

struct Client {
    wire: Wired,
    random: Random,
    script: Vec<Item>,
    next: usize,
    /// Octets of the item that is being sent.
    sending: Vec<u8>,
    /// Sends texts whatever the reply to DATA is.
    blind: bool,
    /// Its messages have no end.
    endless: bool,
    input: Vec<u8>,
    /// Codes of the replies so far.
    replies: Vec<u16>,
    /// Inside a reply of several lines.
    inside: bool,
    /// Replies that are due for what was sent.
    due: usize,
    data_at: usize,
    pub sent: Vec<u8>,
    gone: bool,
}

impl Client {
    fn act(&mut self) {
        let came = std::mem::take(&mut self.wire.0.borrow_mut().to_peer);
        self.input.extend_from_slice(&came);
        while let Some(end) = self.input.iter().position(|octet| *octet == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let text = String::from_utf8_lossy(&line).into_owned();
            let code = text.get(..3).and_then(|code| code.parse().ok());
            let code: u16 = code.unwrap_or_else(|| panic!("no reply: {text:?}"));
            assert!(text.ends_with("\r\n"), "{text:?}");
            self.inside = text.as_bytes()[3] == b'-';
            if !self.inside {
                self.replies.push(code);
            }
        }
        if self.wire.0.borrow().reset || self.gone {
            return;
        }
        if self.sending.is_empty() && !self.begin_next() {
            return;
        }
        let octets = match self.random.below(3) {
            0 => 1 + self.random.below(self.sending.len()),
            _ => self.sending.len(),
        };
        let piece: Vec<u8> = self
            .sending
            .drain(..octets.min(self.sending.len()))
            .collect();
        self.sent.extend_from_slice(&piece);
        self.wire.0.borrow_mut().to_relay.extend(piece);
    }

    fn begin_next(&mut self) -> bool {
        let Some(item) = self.script.get(self.next) else {
            return false;
        };
        match item.clone() {
            Item::Wait => {
                if self.replies.len() < self.due {
                    return false;
                }
            }
            Item::Command(octets) => {
                if octets.to_ascii_uppercase().starts_with(b"DATA") {
                    self.data_at = self.due;
                }
                self.due += 1;
                self.sending = octets;
            }
            Item::Text(octets) => {
                let reply = self.replies.get(self.data_at).copied();
                if !self.blind && reply.is_none() {
                    return false;
                }
                if self.blind || reply == Some(354) {
                    // What is not taken for a text is taken for commands, each with its reply.
                    self.due += 1;
                    self.sending = octets;
                }
            }
        }
        self.next += 1;
        !self.sending.is_empty()
    }

    /// Whether it gets every reply without a word too many.
    fn is_patient(&self) -> bool {
        !self.blind && !self.endless
    }

    fn is_done(&self) -> bool {
        self.next == self.script.len() && self.sending.is_empty()
    }
}

/// The mail service of one session, by the connections that were opened to it.
struct Service {
    servers: Vec<Server>,
    opened: Opened,
    moody: bool,
    random: Random,
}

impl Service {
    fn act(&mut self) {
        for (_, wire) in self.opened.borrow().iter().skip(self.servers.len()) {
            let random = Random::new(self.random.next());
            let server = Server::new(wire.clone(), self.moody, random);
            self.servers.push(server);
        }
        self.servers.iter_mut().for_each(Server::act);
    }

    fn say_all(&mut self) {
        self.servers.iter_mut().for_each(Server::say_all);
    }

    /// The connection in use ends unasked.
    fn die(&mut self, reset: bool) {
        if let Some(server) = self.servers.last_mut() {
            server.die(reset);
        }
    }

    fn wire(&self) -> Option<Wired> {
        Some(self.servers.last()?.wire.clone())
    }

    fn has_message_in_flight(&self) -> bool {
        self.servers.iter().any(Server::has_message_in_flight)
    }

    fn finals(&self) -> Vec<Final> {
        let finals = self.servers.iter().flat_map(|server| &server.finals);
        finals.cloned().collect()
    }

    /// Messages that were accepted, as they came.
    fn accepted(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.servers.iter().flat_map(|server| &server.accepted)
    }

    fn received(&self) -> Vec<u8> {
        let received = self.servers.iter().map(|server| &server.received[..]);
        received.collect::<Vec<_>>().concat()
    }

    fn mails(&self) -> usize {
        self.servers.iter().map(|server| server.mails).sum()
    }

    /// Every message went to the upstream of its sender.
    fn check(&self, what: &str) {
        for (server, (mailbox, _)) in self.servers.iter().zip(self.opened.borrow().iter()) {
            let Some(mailbox) = mailbox else { continue };
            for done in &server.finals {
                assert!(done.from.eq_ignore_ascii_case(mailbox), "{mailbox}: {what}");
            }
        }
    }
}

/// A message's text. `repaired`: LF ends its lines as well as CRLF; with `bare` LF alone does.
fn text(random: &mut Random, repaired: bool, bare: bool) -> Vec<u8> {
    let words: &[&[u8]] = &[
        b"Subject: x\r\n",
        b"From: <a@good.test>\r\n",
        b"\r\n",
        b".x\r\n",
        b"..\r\n",
        b"A\n.\nMAIL FROM:<evil@bad.test>\r\n",
        b"body\r\n",
        b"\r",
        b"\xff\x00\r\n",
        b"a long line of a body that is not short at all\r\n",
    ];
    let mut text = Vec::new();
    for _ in 0..random.below(6) {
        text.extend_from_slice(random.one_of(words));
    }
    // No end within, and a line's end before the last dot.
    text.extend_from_slice(b"z\r\n");
    while let Some(at) = memchr::memmem::find(&text, b"\r\n.\r\n") {
        text.remove(at + 2);
    }
    if text.starts_with(b".\r\n") {
        text.insert(0, b'x');
    }
    text.extend_from_slice(b".\r\n");
    if bare {
        text.retain(|octet| *octet != b'\r');
    }
    if repaired {
        // No end within: an end is a dot and a line end behind a line end.
        let last = text.len() - if bare { 2 } else { 3 };
        for at in 0..last {
            let line = at == 0 || text[at - 1] == b'\n';
            let rest = &text[at..];
            if line && (rest.starts_with(b".\n") || rest.starts_with(b".\r\n")) {
                text[at] = b'x';
            }
        }
    }
    text
}

fn script(random: &mut Random, repaired: bool, bare: bool) -> Vec<Item> {
    let senders = [
        "a@good.test",
        "b@good.test",
        "A@good.test",
        "evil@bad.test",
        "",
    ];
    let recipients = ["c@good.test", "d@good.test", "x@bad.test"];
    let mut items = Vec::new();
    let end = random.one_of(&["\r\n", "\r\n", "\r\n", "\n"]);
    let command = |text: &str| Item::Command(format!("{text}{end}").into_bytes());
    for _ in 0..1 + random.below(4) {
        if random.once_in(4) {
            items.push(command(
                random.one_of(&["NOOP", "RSET", "EHLO x", "VRFY x", "MAIL", "FOO"]),
            ));
        }
        items.push(command(&format!("MAIL FROM:<{}>", random.one_of(&senders))));
        if random.once_in(3) {
            items.push(Item::Wait);
        }
        for _ in 0..random.below(3) + usize::from(!random.once_in(8)) {
            items.push(command(&format!(
                "rcpt to:<{}>",
                random.one_of(&recipients)
            )));
        }
        if random.once_in(6) {
            items.push(command(random.one_of(&[
                "MAIL FROM:<a@good.test>",
                "RSET",
                "EHLO y",
                "NOOP",
            ])));
        }
        match random.below(5) {
            0..=2 => {
                items.push(command("DATA"));
                items.push(Item::Text(text(random, repaired, bare)));
            }
            3 => {
                let message: &[u8] = random.one_of(&[
                    &b"x\r\n.MAIL FROM:<q@bad.test>\r\n"[..],
                    b"From: <q@bad.test>\r\nTo: <x@y>\r\nSubject: a header of several chunks\r\n\r\ntext\r\n",
                ]);
                let mut message = message.iter().cycle();
                for _ in 0..1 + random.below(3) {
                    let octets = random.below(30);
                    let last = if random.once_in(2) { " LAST" } else { "" };
                    let mut chunk = format!("BDAT {octets}{last}{end}").into_bytes();
                    chunk.extend(message.by_ref().take(octets));
                    items.push(Item::Command(chunk));
                    if random.once_in(6) {
                        items.push(command("RCPT TO:<c@good.test>"));
                    }
                    if random.once_in(3) {
                        items.push(Item::Wait);
                    }
                }
            }
            _ => {}
        }
        if random.once_in(2) {
            items.push(Item::Wait);
        }
    }
    if random.once_in(2) {
        items.push(command("QUIT"));
    }
    items
}

fn rules(random: &mut Random) -> SmtpRules {
    let pattern = |text: &str| Some(vec![Pattern::parse(text).unwrap()]);
    let policy = random.once_in(2).then(|| Policy {
        senders: pattern("*@good.test"),
        recipients: pattern("*@good.test"),
        max_size: random.once_in(2).then_some(40),
        from: random.once_in(3).then(|| "box@good.test".to_owned()),
    });
    // Each sender an upstream of its own: whom that is checked against is in the policy.
    let by_sender = policy.as_ref().is_some_and(|policy| policy.from.is_none());
    let by_sender = by_sender && random.once_in(2);
    SmtpRules {
        rate_limited: random.once_in(2),
        repair_line_ends: random.once_in(4),
        chunking: true,
        by_sender: by_sender.then(|| "250-authrelay\r\n250 CHUNKING\r\n".into()),
        policy,
    }
}

/// What disturbed a session.
#[derive(Debug, Default, Clone, Copy)]
struct Disturbed {
    client: bool,
    upstream: bool,
    ended: bool,
}

struct World {
    random: Random,
    now: Instant,
    rules: SmtpRules,
    throttle: Rc<RefCell<Throttle>>,
    actors: Vec<(Session, Client, Service, Disturbed)>,
    calm: bool,
    hastened: usize,
}

pub fn play(mut random: Random) {
    let now = Instant::now();
    let rules = match random.once_in(3) {
        true => SmtpRules {
            repair_line_ends: random.once_in(4),
            ..SmtpRules::default()
        },
        false => rules(&mut random),
    };
    let throttle = Rc::new(RefCell::new(Throttle {
        limit: 1 + random.below(2),
        held: 0,
    }));
    let calm = random.once_in(2);
    let actors = (0..1 + random.below(3)).map(|_| {
        let tracker = Tracker::with_rules(rules.clone());
        let by_sender = rules.by_sender.is_some();
        let permits = Some(throttle.clone());
        let session = Session::new(tracker, permits, by_sender, &mut random, now);
        let repaired = rules.repair_line_ends;
        // Where nobody repairs it, what LF alone ends never ends.
        let bare = random.once_in(if repaired { 2 } else { 40 });
        let client = Client {
            wire: session.client.clone(),
            random: Random::new(random.next()),
            script: script(&mut random, repaired, bare),
            next: 0,
            sending: Vec::new(),
            blind: random.once_in(4),
            endless: bare && !repaired,
            input: Vec::new(),
            replies: Vec::new(),
            inside: false,
            due: 0,
            data_at: 0,
            sent: Vec::new(),
            gone: false,
        };
        let service = Service {
            servers: Vec::new(),
            opened: session.opened.clone(),
            moody: random.once_in(2),
            random: Random::new(random.next()),
        };
        (session, client, service, Disturbed::default())
    });
    let actors = actors.collect();
    World {
        random,
        now,
        rules,
        throttle,
        actors,
        calm,
        hastened: 0,
    }
    .play();
}

impl World {
    fn play(mut self) {
        for step in 0.. {
            assert!(step < 100_000, "it never ends");
            let actor = self.random.below(self.actors.len());
            self.act(actor);
            if !self.calm && self.random.once_in(12) {
                self.disturb(actor);
            }
            for (other, (session, ..)) in self.actors.iter_mut().enumerate() {
                // The others run when it is their turn, or a permit may have come free.
                if other == actor || step % 4 == 0 {
                    session.run(self.now);
                }
            }
            self.check_in_flight();
            if self.actors.iter().all(|(session, ..)| session.over) {
                break;
            }
            if step > 200 {
                self.hasten();
            }
        }
        assert_eq!(self.throttle.borrow().held, 0, "a permit is still held");
        for at in 0..self.actors.len() {
            self.check(at);
        }
    }

    fn act(&mut self, actor: usize) {
        let calm = self.calm;
        let (session, client, server, disturbed) = &mut self.actors[actor];
        if session.over {
            return;
        }
        match self.random.once_in(2) {
            true => server.act(),
            false => client.act(),
        }
        if client.is_done() && self.random.once_in(6) {
            let settled = client.replies.len() >= client.due || !calm;
            if settled && !client.gone {
                client.gone = true;
                client.wire.0.borrow_mut().peer_ended = true;
                disturbed.client |= client.replies.len() < client.due;
            }
        }
    }

    /// After a while everybody who waits for nothing comes to an end, or the clock does it.
    fn hasten(&mut self) {
        for (session, client, server, disturbed) in &mut self.actors {
            for wire in [Some(session.client.clone()), server.wire()]
                .into_iter()
                .flatten()
            {
                wire.0.borrow_mut().window = usize::MAX;
            }
            server.act();
            server.say_all();
            client.act();
            let settled = client.replies.len() >= client.due;
            if client.is_done() && !client.gone && (settled || !(self.calm && client.is_patient()))
            {
                client.gone = true;
                client.wire.0.borrow_mut().peer_ended = true;
                disturbed.client |= client.replies.len() < client.due;
            }
        }
        let open = self.actors.iter().filter(|(session, ..)| !session.over);
        if let Some(until) = open.map(|(session, ..)| session.until()).min()
            && self.random.once_in(20)
        {
            let waits_in_vain = |session: &mut Session, client: &Client| {
                session.recorded().end.is_none() && client.is_patient() && !client.gone
            };
            let mut open = self.actors.iter_mut().filter(|(session, ..)| !session.over);
            let in_vain = open.all(|(session, client, ..)| waits_in_vain(session, client));
            assert!(
                !self.calm || !in_vain || self.hastened < 2_000,
                "a reply is due and never comes: {:?}",
                self.actors
                    .iter()
                    .filter(|(session, ..)| !session.over)
                    .map(|(_, client, service, _)| (
                        &client.script[client.next.min(client.script.len())..],
                        client.due,
                        &client.replies,
                        String::from_utf8_lossy(&client.sent),
                        String::from_utf8_lossy(&service.received()).into_owned()
                    ))
                    .collect::<Vec<_>>()
            );
            self.hastened += 1;
            if self.calm && in_vain {
                return;
            }
            for (_, _, _, disturbed) in &mut self.actors {
                disturbed.ended = true;
            }
            self.now = self.now.max(until);
        }
    }

    fn disturb(&mut self, actor: usize) {
        let now = self.now;
        let (session, client, server, disturbed) = &mut self.actors[actor];
        if session.over {
            return;
        }
        match self.random.below(9) {
            0 => {
                disturbed.client = true;
                client.gone = true;
                session.client.0.borrow_mut().reset = true;
            }
            1 => {
                disturbed.client = true;
                client.gone = true;
                session.client.0.borrow_mut().peer_ended = true;
            }
            2 => {
                disturbed.upstream = true;
                let reset = self.random.once_in(2);
                server.die(reset);
            }
            3 => {
                disturbed.ended = true;
                let within = Duration::from_secs(self.random.below(40) as u64);
                session.drain(within, now);
            }
            4 => {
                disturbed.ended = true;
                session.stop(now);
            }
            5 | 6 => {
                let wire = match self.random.once_in(2) {
                    true => session.client.clone(),
                    false => server.wire().unwrap_or_else(|| session.client.clone()),
                };
                let window = self.random.below(40);
                wire.0.borrow_mut().window = window;
            }
            7 => {
                for wire in [Some(session.client.clone()), server.wire()]
                    .into_iter()
                    .flatten()
                {
                    wire.0.borrow_mut().window = usize::MAX;
                }
            }
            _ => {
                let time = match self.random.once_in(30) {
                    true => IDLE * 2,
                    false => Duration::from_millis(self.random.below(3_000) as u64),
                };
                for (_, _, _, disturbed) in &mut self.actors {
                    disturbed.ended |= time > Duration::from_secs(60);
                }
                // Deadlines are met as they come.
                let target = now + time;
                while self.now < target {
                    let open = self.actors.iter().filter(|(session, ..)| !session.over);
                    let until = open.map(|(session, ..)| session.until()).min();
                    self.now = until.unwrap_or(target).clamp(self.now, target);
                    let at = self.now;
                    for (session, ..) in &mut self.actors {
                        session.run(at);
                    }
                    if until.is_none_or(|until| until <= at) && at < target {
                        self.now = (at + Duration::from_millis(1)).min(target);
                    }
                }
            }
        }
    }

    fn check_in_flight(&self) {
        if !self.rules.rate_limited {
            return;
        }
        let in_flight = |(session, _, service, _): &&(Session, Client, Service, Disturbed)| {
            !session.over && service.has_message_in_flight()
        };
        let in_flight = self.actors.iter().filter(in_flight).count();
        let limit = self.throttle.borrow().limit;
        assert!(
            in_flight <= limit,
            "{in_flight} messages in flight, {limit} may be"
        );
    }

    fn check(&mut self, at: usize) {
        let ruled = self.rules.policy.is_some() || self.rules.rate_limited;
        let policy = self.rules.policy.clone();
        let (session, client, server, disturbed) = &mut self.actors[at];
        client.act();
        let recorded = session.recorded();
        let end = recorded.end.clone();
        // Who is cut off may have half a reply; a final reply never stands inside of another.
        let told_why = end.as_ref().is_some_and(|end| !end.reply.is_empty());
        if told_why && client.wire.has_everything() {
            assert!(client.input.is_empty(), "the client got half a line");
            assert!(!client.inside, "a final reply stands inside another");
        }
        let ours = |message: &MessageReport| {
            let reply = message.reply.as_deref().unwrap_or_default();
            reply.contains("this relay")
        };
        // Said unasked, it answers what the service has not seen: the client tries again.
        let unasked = |message: &MessageReport| {
            let reply = message.reply.as_deref().unwrap_or_default();
            disturbed.upstream && reply.starts_with("421")
        };
        let told = recorded.messages.iter();
        let told: Vec<_> = told
            .filter(|message| {
                message.outcome != MessageOutcome::Lost && !ours(message) && !unasked(message)
            })
            .map(|message| Final {
                from: message.from.clone(),
                to: message.to.clone(),
                size: message.size,
                accepted: message.outcome == MessageOutcome::Accepted,
            })
            .collect();
        let lost = recorded.messages.iter();
        let lost = lost
            .filter(|message| message.outcome == MessageOutcome::Lost || unasked(message))
            .count();
        let refused_here = recorded
            .messages
            .iter()
            .filter(|message| ours(message))
            .count();
        let (all, received) = (server.finals(), server.received());
        let finals = without_size(&all, policy.as_ref());
        let told = without_size(&told, policy.as_ref());
        let what = format!(
            "recorded {:?} of {:?}, end {end:?}, {disturbed:?}, {:?}\nsent {:?}\ngot  {:?}",
            recorded.messages,
            all,
            self.rules,
            String::from_utf8_lossy(&client.sent),
            String::from_utf8_lossy(&received),
        );
        server.check(&what);
        assert!(finals.starts_with(&told), "{what}");
        // A refusal of DATA that did not arrive is of a message that had not begun.
        let untold = all.iter().skip(told.len());
        let begun = untold.filter(|done| done.accepted || done.size > 0);
        assert!(begun.count() <= lost + refused_here, "{what}");
        let undisturbed = !disturbed.client && !disturbed.upstream && !disturbed.ended;
        if undisturbed {
            assert_eq!(finals, told, "{what}");
            let refused = end.is_some_and(|end| end.closed_by == ClosedBy::Authrelay);
            assert!(refused || client.replies.len() >= client.due, "{what}");
        }
        if self.rules.rate_limited {
            assert!(
                server.mails() <= recorded.granted,
                "MAIL without a permit: {what}"
            );
        }
        if let Some(policy) = &policy {
            if let Some(mailbox) = &policy.from {
                let named = format!("From: <{mailbox}>");
                let named =
                    |text: &&Vec<u8>| memchr::memmem::find(text, named.as_bytes()).is_some();
                let forged = |text: &&Vec<u8>| text.starts_with(b"From: <q@bad.test>");
                assert!(
                    server.accepted().all(|text| named(&text) && !forged(&text)),
                    "{what}"
                );
            }
            for done in all.iter().filter(|done| done.accepted) {
                let good = |address: &str| address.ends_with("@good.test");
                assert!(
                    good(&done.from) && done.to.iter().all(|to| good(to)),
                    "{what}"
                );
                let most = policy.max_size.filter(|_| policy.from.is_none());
                assert!(most.is_none_or(|most| done.size <= most), "{what}");
            }
        }
        if !ruled && undisturbed {
            let plain = |octets: &[u8]| {
                let kept = octets.iter().copied().filter(|octet| *octet != b'\r');
                kept.collect::<Vec<_>>()
            };
            assert_eq!(plain(&received), plain(&client.sent), "{what}");
        }
    }
}

/// A rewritten header changes the size.
fn without_size(finals: &[Final], policy: Option<&Policy>) -> Vec<Final> {
    let mut finals = finals.to_vec();
    if policy.is_some_and(|policy| policy.from.is_some()) {
        finals.iter_mut().for_each(|done| done.size = 0);
    }
    finals
}
