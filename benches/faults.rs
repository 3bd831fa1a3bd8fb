//! The fault path: an upstream's refusal is understood, made harmless and told. It is walked once
//! for each refused login, which a client that guesses makes many of.

use std::hint::black_box;

use authrelay::fault::{Fault, Kind, Refusal, classify, sanitize};
use authrelay::wire::Protocol;
use criterion::{Criterion, criterion_group, criterion_main};

const THROTTLED: &str = "NO Request is throttled. Suggested Backoff Time: 299961 milliseconds";
const REFUSED: &str = "535 5.7.3 Authentication unsuccessful [AM0PR06CA0126.eurprd06.prod.outlook.com 2024-02-14T14:50:26.590Z 08DC2D372B4C3DED]";

fn faults(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("faults");
    group.bench_function("classify, known", |bencher| {
        bencher.iter(|| classify(black_box(THROTTLED), Refusal::Final));
    });
    group.bench_function("classify, unknown", |bencher| {
        bencher.iter(|| classify(black_box(REFUSED), Refusal::Final));
    });
    let echo = format!("500 5.3.3 Unrecognized command '{}'", "QUJD".repeat(2_000));
    group.bench_function("harmless, a token echoed", |bencher| {
        bencher.iter(|| sanitize(black_box(&echo)));
    });
    let fault = Fault::new(Kind::Credentials, "wrong password");
    for protocol in Protocol::ALL {
        group.bench_function(format!("reply, {protocol}"), |bencher| {
            bencher.iter(|| black_box(&fault).reply(protocol, Some(b"a1")));
        });
    }
    group.bench_function("refusal to reply", |bencher| {
        bencher.iter(|| {
            classify(black_box(REFUSED), Refusal::Final)
                .smtp_reply(&[REFUSED.to_owned()])
                .reply(Protocol::Smtp, None)
        });
    });
    group.finish();
}

criterion_group!(benches, faults);
criterion_main!(benches);
