//! What one packet costs: sealing and opening, policy lookup.
//!
//! Opening needs a fresh packet each time; making it is not in the figure.

#![allow(clippy::expect_used, clippy::indexing_slicing, missing_docs)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use crypto::{EspCipher, EspKey, KeyLen};
use esp::inbound::Inbound;
use esp::outbound::Outbound;
use esp::packet::{self, Flow};
use esp::policy::{Decision, Policies, Selectors};
use esp::spec::{ChildId, GroupId, HalfSpec, Selector, Spi};

const CIPHERS: [(&str, EspCipher); 3] = [
    ("aes128gcm16", EspCipher::AesGcm16(KeyLen::L128)),
    ("aes256gcm16", EspCipher::AesGcm16(KeyLen::L256)),
    ("chacha20poly1305", EspCipher::ChaCha20Poly1305),
];

fn half(cipher: EspCipher) -> HalfSpec {
    let key = vec![0x42; cipher.keymat_len()];
    let key = EspKey::for_test(cipher, &key).expect("the length fits");
    HalfSpec { spi: Spi::new(0x1000).expect("not reserved"), key }
}

fn everything() -> Vec<Selector> {
    vec![Selector::subnet(Ipv4Addr::UNSPECIFIED.into(), 0)]
}

fn inner(len: u16) -> Vec<u8> {
    let mut packet = vec![0u8; usize::from(len)];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&len.to_be_bytes());
    packet[8..10].copy_from_slice(&[64, 17]);
    packet[12..20].copy_from_slice(&[10, 1, 0, 1, 10, 2, 0, 1]);
    packet
}

fn sealing(c: &mut Criterion) {
    for (name, cipher) in CIPHERS {
        let mut group = c.benchmark_group(format!("seal/{name}"));
        for len in [64u16, 1400] {
            let (outbound, packet) = (Outbound::new(half(cipher)), inner(len));
            let mut out = vec![0; outbound.sealed_len(packet.len())];
            group.throughput(Throughput::Bytes(len.into()));
            group.bench_function(len.to_string(), |b| {
                b.iter(|| outbound.seal(black_box(&packet), &mut out));
            });
        }
    }
}

fn opening(c: &mut Criterion) {
    for (name, cipher) in CIPHERS {
        let mut group = c.benchmark_group(format!("open/{name}"));
        for len in [64u16, 1400] {
            let selectors = Arc::new(Selectors::new(everything(), everything()));
            let (outbound, inbound) =
                (Outbound::new(half(cipher)), Inbound::new(half(cipher), selectors));
            let packet = inner(len);
            let mut run = inbound.run();
            group.throughput(Throughput::Bytes(len.into()));
            group.bench_function(len.to_string(), |b| {
                b.iter_batched_ref(
                    || {
                        let mut sealed = vec![0; outbound.sealed_len(packet.len())];
                        outbound.seal(&packet, &mut sealed).expect("numbers are left");
                        sealed
                    },
                    |sealed| run.open(sealed).expect("authentic"),
                    BatchSize::SmallInput,
                );
            });
        }
    }
}

fn lookup(c: &mut Criterion) {
    let mut policies = Policies::default();
    for n in 0..10_000u32 {
        let host = Selector::subnet(IpAddr::V4((0x0a00_0000 + n).into()), 32);
        let selectors = Arc::new(Selectors::new(everything(), vec![host]));
        policies.install(ChildId(n.into()), GroupId(n.into()), selectors, n).expect("a new child");
    }
    let packet = inner(64);
    let mut flow: Flow = packet::parse(&packet).expect("well-formed").flow;
    let mut n = 0u32;
    c.bench_function("lookup/10000 hosts", |b| {
        b.iter(|| {
            n = n.wrapping_add(7919) % 10_000;
            flow.destination = IpAddr::V4((0x0a00_0000 + n).into());
            matches!(policies.lookup(black_box(&flow)), Decision::Child(_))
        });
    });
    c.bench_function("parse", |b| b.iter(|| packet::parse(black_box(&packet))));
}

criterion_group!(benches, sealing, opening, lookup);
criterion_main!(benches);
