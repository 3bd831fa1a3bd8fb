//! The fuzz targets on stable Rust: every file of `fuzz/corpus/`, then inputs made from those
//! files and from the words of `fuzz/protocols.dict` by a generator that is the same each time.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// Inputs made up for each target.
const INPUTS: u64 = 20_000;

/// The same where each takes a TLS handshake, is several sessions, or a file that is read, written and read again.
const LONG_INPUTS: u64 = 4_000;

/// The longest of them, unless a seed is longer.
const LONGEST: usize = 400;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// The target's corpus, in the order of the file names.
fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder().join("corpus").join(name);
    let entries = std::fs::read_dir(&folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "no seeds in {}", folder.display());
    let read = |path: PathBuf| {
        let input = std::fs::read(&path).unwrap();
        (path, input)
    };
    paths.into_iter().map(read).collect()
}

/// The dictionary's words.
fn words() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(folder().join("protocols.dict")).unwrap();
    let lines = text.lines().filter(|line| line.starts_with('"'));
    lines
        .map(|line| unescape(&line[1..line.len() - 1]))
        .collect()
}

fn unescape(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        out.push(match (octet, octet == b'\\') {
            (_, true) => match rest.next() {
                Some(b'x') => {
                    let digits = [rest.next().unwrap(), rest.next().unwrap()];
                    u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
                }
                other => other.unwrap(),
            },
            (octet, false) => octet,
        });
    }
    out
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Generator(u64);

impl Generator {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn octet(&mut self) -> u8 {
        (self.next() >> 32) as u8
    }

    /// A seed with a few alterations, or words in a row.
    fn input(&mut self, seeds: &[(PathBuf, Vec<u8>)], words: &[Vec<u8>]) -> Vec<u8> {
        let mut input = match self.below(4) {
            0 => {
                // The header, from a seed or not, then words.
                let mut input: Vec<_> = self.one_of(seeds).1.iter().copied().take(4).collect();
                for _ in 0..self.below(12) {
                    input.extend_from_slice(self.one_of(words).as_slice());
                    let end: &[u8] = [b" ".as_slice(), b"\r\n", b""][self.below(3)];
                    input.extend_from_slice(end);
                }
                input
            }
            1 => {
                let (first, second) = (&self.one_of(seeds).1, &self.one_of(seeds).1);
                let (end, start) = (self.below(first.len() + 1), self.below(second.len() + 1));
                [&first[..end], &second[start..]].concat()
            }
            _ => self.one_of(seeds).1.clone(),
        };
        for _ in 0..self.below(5) {
            let at = self.below(input.len() + 1);
            match self.below(7) {
                0 if at < input.len() => input[at] = self.octet(),
                1 if at < input.len() => input[at] ^= 1 << self.below(8),
                2 => drop(input.drain(at..(at + self.below(8)).min(input.len()))),
                3 => input.truncate(at),
                4 => {
                    let copy = input[at..(at + self.below(40)).min(input.len())].to_vec();
                    input.splice(at..at, copy);
                }
                5 => input.insert(at, self.octet()),
                _ => drop(input.splice(at..at, self.one_of(words).iter().copied())),
            }
        }
        let longest = seeds.iter().map(|(_, seed)| seed.len()).max();
        input.truncate(LONGEST.max(longest.unwrap_or_default()));
        input
    }
}

fn replay(name: &str) {
    let (_, target) = targets::TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap();
    let run = |what: &str, input: &[u8]| {
        if catch_unwind(AssertUnwindSafe(|| target(input))).is_err() {
            panic!("{name} fails on {what}: \"{}\"", input.escape_ascii());
        }
    };
    let seeds = corpus(name);
    for (path, input) in &seeds {
        run(&path.display().to_string(), input);
    }
    let words = words();
    let mut generator = Generator(0x6175_7468_7265_6c61);
    let inputs = match name {
        "import" | "smtp_session" | "stream" => LONG_INPUTS,
        _ => INPUTS,
    };
    for n in 0..inputs {
        let input = generator.input(&seeds, &words);
        run(&format!("made-up input {n}"), &input);
    }
}

macro_rules! replays {
    ($($name:ident)*) => {
        $(#[test] fn $name() { replay(stringify!($name)); })*

        #[test]
        fn no_target_is_left_out() {
            let replayed = [$(stringify!($name)),*];
            let targets: Vec<_> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
            assert_eq!(targets, replayed);
            for entry in std::fs::read_dir(folder().join("fuzz_targets")).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_stem().unwrap().to_str().unwrap();
                assert!(replayed.contains(&name), "{name} is not replayed");
            }
        }
    };
}

replays! {
    imap_commands imap_responses literals pop3 smtp_commands smtp_replies sasl front back front_back relay
    smtp_session proxy_header stream config import
}
