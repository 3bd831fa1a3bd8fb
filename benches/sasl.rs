//! SASL: what a client's PLAIN costs to read, and an upstream's XOAUTH2 to write.

use std::hint::black_box;

use authrelay::secret::Secret;
use authrelay::wire::sasl::{Credentials, decode, encode, oauthbearer, xoauth2};
use criterion::{Criterion, criterion_group, criterion_main};

fn sasl(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sasl");
    let read = |line: &[u8]| decode(line).and_then(|message| Credentials::from_plain(&message));
    let plain = encode(b"\0tickets@contoso.test\0sandbox-local-7Qx2");
    group.bench_function("PLAIN, read", |bencher| {
        bencher.iter(|| read(black_box(plain.as_bytes())));
    });
    group.bench_function("PLAIN, garbage", |bencher| {
        bencher.iter(|| read(black_box(b"AHRpY2tldHNAY29udG9zbw?=")));
    });
    for octets in [2_000, 8_000] {
        let token = Secret::from("e".repeat(octets));
        group.bench_function(format!("XOAUTH2, token of {octets}"), |bencher| {
            bencher.iter(|| xoauth2(black_box("tickets@contoso.test"), &token));
        });
        group.bench_function(format!("OAUTHBEARER, token of {octets}"), |bencher| {
            bencher.iter(|| {
                oauthbearer(
                    black_box("tickets@contoso.test"),
                    "imap.example.com",
                    993,
                    &token,
                )
            });
        });
    }
    let line = encode(&[b'x'; 8_000]);
    group.bench_function("decode 8 KB", |bencher| {
        bencher.iter(|| decode(black_box(line.as_bytes())))
    });
    group.finish();
}

criterion_group!(benches, sasl);
criterion_main!(benches);
