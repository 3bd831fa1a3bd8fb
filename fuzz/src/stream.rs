//! TLS against a peer that is rustls' own buffered connection, whose records are small, arrive in
//! any pieces, and with octets of ours in between; or against one that sends anything.
//!
//! An honest peer's plaintext arrives whole and in order, both ways, and an end is an end. A peer
//! that injects octets may break the connection; it must not make a panic, nor have more kept than
//! the cap.

use std::io::{Read as _, Write as _};
use std::sync::{Arc, OnceLock};

use authrelay::certs::Authority;
use authrelay::stream::tls::{RECORD, Received, Records, SCRATCH, Tls};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, Connection, RootCertStore, ServerConfig, SupportedProtocolVersion};

use super::pieces::header;

/// Key updates that a peer may send: rustls ends the connection after 32 without application data
/// in between.
const KEY_UPDATES: usize = 32;

/// What the peer shows, or what we show to it.
struct Shown {
    root: CertificateDer<'static>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

fn shown() -> &'static Shown {
    static SHOWN: OnceLock<Shown> = OnceLock::new();
    SHOWN.get_or_init(|| {
        let authority = Authority::new("fuzz CA").unwrap();
        let issued = authority.issue(&["localhost".into()]).unwrap();
        let certificates = |pem: &str| {
            let all = CertificateDer::pem_slice_iter(pem.as_bytes());
            all.map(Result::unwrap).collect::<Vec<_>>()
        };
        Shown {
            root: certificates(&authority.pem()).remove(0),
            chain: certificates(&issued.chain),
            key: PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap(),
        }
    })
}

type Versions = [&'static SupportedProtocolVersion];

fn client_config(versions: &Versions, fragment: Option<usize>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(shown().root.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.max_fragment_size = fragment;
    // Each handshake is a full one, whatever ran before.
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}

fn server_config(versions: &Versions, fragment: Option<usize>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(shown().chain.clone(), shown().key.clone_key())
        .unwrap();
    config.max_fragment_size = fragment;
    Arc::new(config)
}

/// Our end, with all that passes it.
struct Ours {
    tls: Tls,
    scratch: Vec<u8>,
    records: Records,
    out: Vec<u8>,
    got: Vec<u8>,
    sent: Vec<u8>,
    /// How it ended: by the peer's close_notify (true), or by an error.
    ended: Option<bool>,
    closed: bool,
}

impl Ours {
    fn new(mut tls: Tls) -> Self {
        let mut out = Vec::new();
        tls.start(&mut out).unwrap();
        Self {
            tls,
            scratch: vec![0; SCRATCH],
            records: Records::new(),
            out,
            got: Vec::new(),
            sent: Vec::new(),
            ended: None,
            closed: false,
        }
    }

    /// Takes ciphertext as it comes from a socket.
    fn take(&mut self, mut piece: &[u8]) {
        while self.ended.is_none() {
            let room = self.tls.room(&mut self.scratch);
            if !room.is_empty() && piece.is_empty() {
                break;
            }
            let taken = room.len().min(piece.len());
            let (head, rest) = piece.split_at(taken);
            room[..taken].copy_from_slice(head);
            piece = rest;
            let result = match self.tls.is_handshaking() {
                true => self
                    .tls
                    .handshake(&mut self.scratch, taken, &mut self.out)
                    .map(|()| Received::Nothing),
                false => self
                    .tls
                    .receive(&mut self.scratch, taken, &mut self.out, &mut |bytes| {
                        self.got.extend_from_slice(bytes);
                    }),
            };
            self.ended = match result {
                Ok(Received::Data | Received::Nothing) => None,
                Ok(Received::End) => Some(true),
                Err(_) => Some(false),
            };
        }
        assert!(self.tls.held() <= SCRATCH);
    }

    fn say(&mut self, bytes: &[u8]) {
        if !self.tls.is_handshaking() && !self.closed && self.tls.encrypt(bytes, &mut self.records)
        {
            self.out.extend_from_slice(self.records.written());
            self.sent.extend_from_slice(bytes);
        }
    }

    fn close(&mut self) {
        if !self.tls.is_handshaking() {
            self.tls.close(&mut self.out);
            self.closed = true;
        }
    }
}

/// The peer, and the octets on their way from it.
struct Peer {
    tls: Connection,
    pending: Vec<u8>,
    sent: Vec<u8>,
    got: Vec<u8>,
    ended: bool,
    closed: bool,
    failed: bool,
    /// Something was put among its octets.
    tampered: bool,
    key_updates: usize,
}

impl Peer {
    fn new(tls: Connection) -> Self {
        Self {
            tls,
            pending: Vec::new(),
            sent: Vec::new(),
            got: Vec::new(),
            ended: false,
            closed: false,
            failed: false,
            tampered: false,
            key_updates: 0,
        }
    }

    /// Hears what we say and goes on; an error of it is what our alerts make, or tampering.
    fn hear(&mut self, mut octets: &[u8]) {
        while !octets.is_empty() && !self.failed {
            self.failed =
                self.tls.read_tls(&mut octets).is_err() || self.tls.process_new_packets().is_err();
            let mut buffer = [0; 4096];
            loop {
                match self.tls.reader().read(&mut buffer) {
                    Ok(0) => break self.ended = true,
                    Ok(read) => self.got.extend_from_slice(&buffer[..read]),
                    Err(_) => break,
                }
            }
        }
        self.flush();
    }

    fn flush(&mut self) {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.pending).unwrap();
        }
    }

    fn say(&mut self, bytes: &[u8]) {
        if !self.closed && !self.failed {
            self.tls.writer().write_all(bytes).unwrap();
            self.sent.extend_from_slice(bytes);
            self.flush();
        }
    }
}

/// Delivers up to `most` octets to us, `step` at a time, and our answers to the peer.
fn deliver(ours: &mut Ours, peer: &mut Peer, most: usize, step: usize) {
    let some: Vec<_> = peer.pending.drain(..most.min(peer.pending.len())).collect();
    for piece in some.chunks(step) {
        ours.take(piece);
        peer.hear(&std::mem::take(&mut ours.out));
    }
}

/// The first octets choose the role, the version, the peer's size of fragments, and the size of
/// pieces; then each octet is something that happens, some with an argument behind it.
pub fn stream(input: &[u8]) {
    let ([role, fragment, step], script) = header(input);
    let versions: &Versions = match role & 2 {
        0 => &[&rustls::version::TLS13],
        _ => &[&rustls::version::TLS12],
    };
    let fragment = [Some(32), Some(64), Some(600), None][usize::from(fragment % 4)];
    let step = match step {
        0 => usize::MAX,
        step => usize::from(step),
    };
    let name = || ServerName::try_from("localhost").unwrap();
    let (tls, peer): (_, Connection) = if role & 1 == 0 {
        let config = server_config(versions, fragment);
        let peer = rustls::ServerConnection::new(config).unwrap();
        let tls = Tls::client(client_config(versions, None), name());
        (tls, peer.into())
    } else {
        let config = client_config(versions, fragment);
        let peer = rustls::ClientConnection::new(config, name()).unwrap();
        let tls = Tls::server(server_config(versions, None), role & 4 != 0);
        (tls, peer.into())
    };
    let (mut ours, mut peer) = (Ours::new(tls.unwrap()), Peer::new(peer));
    peer.hear(&std::mem::take(&mut ours.out));
    let mut script = script.iter().copied();
    while let Some(event) = script.next() {
        let mut argument = || usize::from(script.next().unwrap_or(1));
        match event % 9 {
            0 => peer.say(&vec![b'p'; argument()]),
            1 => ours.say(&vec![b'o'; argument()]),
            2 => deliver(&mut ours, &mut peer, argument(), step),
            3 => deliver(&mut ours, &mut peer, usize::MAX, step),
            4 => {
                if !peer.tls.is_handshaking() && !peer.failed {
                    peer.tls.send_close_notify();
                    peer.closed = true;
                    peer.flush();
                }
            }
            // rustls asserts in debug builds that no alert follows its close_notify.
            5 if peer.tampered => {}
            5 => ours.close(),
            7 | 8 if ours.closed => {}
            6 => {
                // TLS 1.2 has none.
                let may = peer.key_updates < KEY_UPDATES && !peer.failed && !peer.closed;
                if may && peer.tls.refresh_traffic_keys().is_ok() {
                    peer.key_updates += 1;
                }
                peer.flush();
            }
            7 => {
                let length = argument();
                peer.pending.extend(script.by_ref().take(length));
                peer.tampered |= length > 0;
            }
            _ => {
                let (place, mask) = (argument(), argument());
                if let Some(octet) = peer.pending.get_mut(place) {
                    *octet ^= mask as u8;
                    peer.tampered |= mask > 0;
                }
            }
        }
        let octets = std::mem::take(&mut ours.out);
        peer.hear(&octets);
    }
    finish(ours, peer, step, role & 5 == 1);
}

/// What is on its way arrives; then nothing is missing.
fn finish(mut ours: Ours, mut peer: Peer, step: usize, capped: bool) {
    while !peer.pending.is_empty() {
        deliver(&mut ours, &mut peer, usize::MAX, step);
    }
    if capped {
        assert!(ours.tls.held() <= RECORD + 4096, "{}", ours.tls.held());
    }
    if peer.tampered {
        assert!(peer.sent.starts_with(&ours.got) || ours.ended == Some(false));
        return;
    }
    assert!(!ours.tls.is_handshaking() && !peer.tls.is_handshaking());
    assert_eq!(ours.got.len(), peer.sent.len());
    assert_eq!(peer.got.len(), ours.sent.len());
    assert_eq!(ours.ended, peer.closed.then_some(true));
    assert_eq!(peer.ended, ours.closed);
}
