//! What the primitives cost on this machine, alone and summed up into what a
//! responder computes for a handshake and for a resumption.
//!
//! `cargo run --release -p cygnet-crypto --example costs`
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use crypto::{
    AdditionalGroups, CookieKey, EspCipher, EspKey, EspSealingKey, Group, IkeCipher, IkeKeys,
    IkeSpis, IkeSuite, KeyExchange, KeyLen, MessageKey, Nonces, PrfAlg, Provider, Psk,
    SignedOctets, SkD, SkP, Skeyseed, TicketKey,
};

const NONCES: Nonces<'static> = Nonces { initiator: &[1; 32], responder: &[2; 32] };
const SPIS: IkeSpis = IkeSpis { initiator: [3; 8], responder: [4; 8] };
const HEADER: [u8; 32] = [5; 32];
const ID: &[u8] = b"\x02\0\0\0gateway.example";
const ESP: EspCipher = EspCipher::AesGcm16(KeyLen::L256);

/// Octets of IKE_SA_INIT or IKE_SESSION_RESUME, of the inner payloads of
/// IKE_AUTH, and of the state in a ticket.
const MESSAGE: [u8; 500] = [6; 500];
const INNER: [u8; 400] = [7; 400];
const STATE: [u8; 200] = [8; 200];

fn main() {
    sizes();
    single_operations();
    for (group, prf) in [
        (Group::X25519, PrfAlg::HmacSha256),
        (Group::X25519, PrfAlg::HmacSha512),
        (Group::P256, PrfAlg::HmacSha256),
        (Group::P384, PrfAlg::HmacSha384),
        (Group::Modp2048, PrfAlg::HmacSha256),
    ] {
        exchanges(suite(group, prf));
    }
    packets();
}

fn sizes() {
    println!("octets inline:");
    for (name, size) in [
        ("SkD", size_of::<SkD>()),
        ("SkP", size_of::<SkP>()),
        ("MessageKey", size_of::<MessageKey>()),
        ("IkeKeys", size_of::<IkeKeys>()),
        ("KeyExchange", size_of::<KeyExchange>()),
        ("EspKey", size_of::<EspKey>()),
        ("EspSealingKey", size_of::<EspSealingKey>()),
        ("EspOpeningKey", size_of::<crypto::EspOpeningKey>()),
        ("TicketKey", size_of::<TicketKey>()),
        ("CookieKey", size_of::<CookieKey>()),
        ("Provider", size_of::<Provider>()),
    ] {
        println!("  {name:<44} {size:>8}");
    }
    const COUNT: usize = 100_000;
    let before = resident();
    let keys: Vec<_> = (0..COUNT).map(|_| esp_key().into_opening()).collect();
    let each = resident().saturating_sub(before) / keys.len();
    println!("  {:<44} {each:>8}", "EspOpeningKey with its heap, resident");
}

/// Resident octets of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn single_operations() {
    println!("microseconds:");
    let mut provider = Provider::system();
    time("Provider::array::<32>", || provider.array::<32>());
    for prf in [PrfAlg::HmacSha256, PrfAlg::HmacSha384, PrfAlg::HmacSha512] {
        let suite = suite(Group::X25519, prf);
        let sk_d = sk_d(prf);
        let keys = sk_d.resume(NONCES).expand(suite, NONCES, SPIS);
        time(&format!("{prf}: mac_id (one prf)"), || keys.sk_pi.mac_id(ID));
        time(&format!("{prf}: SKEYSEED of a resumption"), || sk_d.resume(NONCES));
        time(&format!("{prf}: SKEYSEED and expand"), || {
            sk_d.resume(NONCES).expand(suite, NONCES, SPIS)
        });
        time(&format!("{prf}: child_keys"), || sk_d.child_keys(ESP.into(), None, NONCES));
    }
    for group in Group::ALL {
        let public = provider.key_exchange(group).unwrap().public().to_vec();
        let peer = provider.answer_key_exchange(group, &public).unwrap().public().to_vec();
        time(&format!("{group}: answer and agree"), || {
            provider.answer_key_exchange(group, &public).unwrap().agree()
        });
        time(&format!("{group}: generate"), || provider.key_exchange(group).unwrap());
        time(&format!("{group}: generate and agree"), || {
            provider.key_exchange(group).unwrap().agree(&peer)
        });
    }
    for cipher in [
        IkeCipher::AesGcm16(KeyLen::L256),
        IkeCipher::AesCbc(KeyLen::L256, crypto::CbcIntegrity::HmacSha256_128),
    ] {
        let suite = IkeSuite { cipher, ..suite(Group::X25519, PrfAlg::HmacSha256) };
        let mut keys = sk_d(suite.prf).resume(NONCES).expand(suite, NONCES, SPIS);
        let sealed = sealed(&mut keys.initiator, &mut provider);
        time(&format!("{cipher}: seal a message"), || {
            sealed_len(&mut keys.initiator, &mut provider)
        });
        time(&format!("{cipher}: open a message"), || {
            keys.initiator.open(&mut sealed.clone(), HEADER.len()).unwrap()
        });
    }
    let key = TicketKey::generate(&mut provider);
    let ticket = ticket(&key, &mut provider);
    time("ticket: seal", || self::ticket(&key, &mut provider));
    time("ticket: open", || key.open(b"", &ticket).unwrap());
    let key = CookieKey::generate(&mut provider);
    time("cookie: tag", || key.tag(&[&[1; 32], &[2; 16], &[3; 8]]));
    time("EspKey::into_sealing", || esp_key().into_sealing());
}

/// What the responder computes, from the first request to the second response.
fn exchanges(suite: IkeSuite) {
    let mut provider = Provider::system();
    let psk = Psk::new(b"a pre-shared key").ok().unwrap();
    let peer = provider.key_exchange(suite.group).unwrap().public().to_vec();
    let mut at_peer = sk_d(suite.prf).resume(NONCES).expand(suite, NONCES, SPIS);
    let request = sealed(&mut at_peer.initiator, &mut provider);
    time(&format!("responder, {suite}: full exchange, PSK"), || {
        let exchange = provider.key_exchange(suite.group).unwrap();
        let nonce: [u8; 32] = provider.array();
        let shared = exchange.agree(&peer).ok().unwrap();
        let keys = Skeyseed::initial(suite.prf, NONCES, shared).expand(suite, NONCES, SPIS);
        // Its result is of no use with these keys, its cost is the same.
        let _ = black_box(keys.initiator.open(&mut request.clone(), HEADER.len()));
        authenticate(&keys, |sk_p| psk.auth(suite.prf, octets(&sk_p.mac_id(ID))));
        black_box(nonce);
        finish(keys, &mut provider);
    });

    let ticket_key = TicketKey::generate(&mut provider);
    let ticket = ticket(&ticket_key, &mut provider);
    let sk_d_octets = vec![9; suite.prf.output_len()];
    time(&format!("responder, {suite}: resumption"), || {
        black_box(ticket_key.open(b"", &ticket).unwrap());
        let nonce: [u8; 32] = provider.array();
        let sk_d = SkD::from_ticket(suite.prf, &sk_d_octets).ok().unwrap();
        let keys = sk_d.resume(NONCES).expand(suite, NONCES, SPIS);
        keys.initiator.open(&mut request.clone(), HEADER.len()).unwrap();
        authenticate(&keys, |sk_p| sk_p.resume_auth(octets(&sk_p.mac_id(ID))));
        black_box(nonce);
        black_box(self::ticket(&ticket_key, &mut provider));
        finish(keys, &mut provider);
    });
}

/// AUTH of both ends.
fn authenticate(keys: &IkeKeys, auth: impl Fn(&SkP) -> crypto::Mac) {
    let _ = black_box(auth(&keys.sk_pi).verify(&[0; 32]));
    black_box(auth(&keys.sk_pr));
}

/// The child, ready for packets, and the last response.
fn finish(mut keys: IkeKeys, provider: &mut Provider) {
    let child = keys.sk_d.child_keys(ESP.into(), None, NONCES);
    black_box(child.initiator_to_responder.into_opening());
    black_box(child.responder_to_initiator.into_sealing());
    black_box(sealed(&mut keys.responder, provider));
}

fn packets() {
    println!("microseconds a packet:");
    for cipher in [
        EspCipher::AesGcm16(KeyLen::L128),
        EspCipher::AesGcm16(KeyLen::L256),
        EspCipher::ChaCha20Poly1305,
    ] {
        let key = || EspKey::for_test(cipher, &vec![1; cipher.keymat_len()]).ok().unwrap();
        let (sealing, opening) = (key().into_sealing(), key().into_opening());
        for len in [64, 1400] {
            let mut packet = vec![0; 8 + cipher.iv_len() + len + cipher.icv_len()];
            time(&format!("{cipher}: seal {len} octets"), || sealing.seal(&mut packet).unwrap());
            let sealed = packet.clone();
            time(&format!("{cipher}: copy and open {len} octets"), || {
                packet.copy_from_slice(&sealed);
                opening.open(&mut packet, 0).unwrap()
            });
        }
    }
}

fn suite(group: Group, prf: PrfAlg) -> IkeSuite {
    IkeSuite {
        cipher: IkeCipher::AesGcm16(KeyLen::L256),
        prf,
        group,
        additional: AdditionalGroups::NONE,
    }
}

fn sk_d(prf: PrfAlg) -> SkD {
    SkD::from_ticket(prf, &vec![9; prf.output_len()]).ok().unwrap()
}

fn esp_key() -> EspKey {
    EspKey::for_test(ESP, &vec![1; ESP.keymat_len()]).ok().unwrap()
}

fn octets(maced_id: &crypto::Mac) -> SignedOctets<'_> {
    SignedOctets { message: &MESSAGE, peer_nonce: NONCES.initiator, maced_id, intermediate: &[] }
}

fn sealed(key: &mut MessageKey, provider: &mut Provider) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER.len() + key.sealed_len(INNER.len()));
    message.extend_from_slice(&HEADER);
    message.extend_from_slice(&INNER);
    key.seal(provider, &mut message, HEADER.len()).unwrap();
    message
}

fn sealed_len(key: &mut MessageKey, provider: &mut Provider) -> usize {
    sealed(key, provider).len()
}

fn ticket(key: &TicketKey, provider: &mut Provider) -> Vec<u8> {
    let mut out = Vec::new();
    key.seal(provider, b"", &STATE, &mut out).unwrap();
    out
}

/// The median of many short runs.
fn time<R>(name: &str, mut operation: impl FnMut() -> R) {
    const RUNS: usize = 51;
    let begin = Instant::now();
    let mut warm = 0u32;
    while begin.elapsed() < Duration::from_millis(20) {
        black_box(operation());
        warm += 1;
    }
    let batch = (warm / 10).max(1);
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..batch {
                black_box(operation());
            }
            begin.elapsed().as_secs_f64() * 1e6 / f64::from(batch)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    println!("  {name:<64} {:>10.3}", runs[RUNS / 2]);
}
