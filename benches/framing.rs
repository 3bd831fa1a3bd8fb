//! Framing: lines and IMAP units as clients and upstreams send them, in pieces of a packet.

use std::hint::black_box;

use authrelay::wire::line::{COMMAND_CAP, Fragments, Lines, REPLY_CAP};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

/// Octets of a piece: a segment on Ethernet.
const PIECE: usize = 1448;

fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing");

    let commands = b"a1 NOOP\r\n".repeat(1000);
    group.throughput(Throughput::Bytes(commands.len() as u64));
    group.bench_function("lines/commands", |bencher| {
        bencher.iter(|| {
            let mut lines = Lines::new(COMMAND_CAP);
            let mut count = 0;
            for piece in black_box(&commands).chunks(PIECE) {
                lines.push(piece);
                while let Ok(Some(line)) = lines.line() {
                    count += line.len();
                }
            }
            count
        });
    });

    let logins =
        b"a1 LOGIN {20+}\r\ntickets@contoso.test {18+}\r\nsandbox-local-7Qx2\r\n".repeat(200);
    group.throughput(Throughput::Bytes(logins.len() as u64));
    group.bench_function("fragments/literals", |bencher| {
        bencher.iter(|| {
            count_fragments(
                Fragments::of_commands(COMMAND_CAP),
                black_box(&logins).chunks(PIECE),
            )
        });
    });

    // A token of 8 KB in base64, in an initial response.
    let long = [
        b"a1 AUTHENTICATE PLAIN ".as_slice(),
        &[b'Q'; 11_000],
        b"\r\n",
    ]
    .concat();
    group.throughput(Throughput::Bytes(long.len() as u64));
    group.bench_function("fragments/long line", |bencher| {
        bencher.iter(|| {
            count_fragments(
                Fragments::of_commands(COMMAND_CAP),
                black_box(&long).chunks(PIECE),
            )
        });
    });
    group.bench_function("fragments/long line, octet by octet", |bencher| {
        bencher.iter(|| {
            count_fragments(
                Fragments::of_commands(COMMAND_CAP),
                black_box(&long).chunks(1),
            )
        });
    });

    let capabilities = b"* CAPABILITY IMAP4 IMAP4rev1 AUTH=XOAUTH2 LOGINDISABLED SASL-IR UIDPLUS MOVE ID UNSELECT \
CHILDREN IDLE NAMESPACE LITERAL+\r\nA1 OK CAPABILITY completed.\r\n"
        .repeat(50);
    group.throughput(Throughput::Bytes(capabilities.len() as u64));
    group.bench_function("fragments/capabilities", |bencher| {
        bencher.iter(|| {
            count_fragments(
                Fragments::of_responses(REPLY_CAP),
                black_box(&capabilities).chunks(PIECE),
            )
        });
    });
    group.finish();
}

fn count_fragments<'a>(mut fragments: Fragments, pieces: impl Iterator<Item = &'a [u8]>) -> usize {
    let mut count = 0;
    for piece in pieces {
        fragments.push(piece);
        while let Ok(Some(_)) = fragments.fragment() {
            count += 1;
        }
    }
    count
}

criterion_group!(benches, framing);
criterion_main!(benches);
