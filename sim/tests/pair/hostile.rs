//! Whoever sees every datagram and can send any, but knows no key.

use std::time::Duration;

use ike::event::{How, Path, Port};
use ike::fault::Discard;
use ike::wire::{ExchangeType, Flags, Header, MessageBuilder, NotifyType, PayloadType};
use sim::meddle::{DELAY, arrival};
use sim::world::Meddler;
use sim::{Arrival, Chance, Datagram, Pair, Sent};

use crate::scenarios::{ALL, Scenario};

/// What is sent beside a datagram: made of it and of those before it.
type Attack = fn(&mut Chance, &Sent, &[Sent]) -> Vec<Datagram>;

/// When it arrives: long before the datagram, just before it, just after it.
const MOMENTS: [Duration; 3] =
    [Duration::from_millis(1), Duration::from_millis(9), Duration::from_millis(11)];

/// Attacks the datagram at a position, with `part` of `parts` of the attack.
fn attacker(
    position: usize,
    moment: Duration,
    attack: Attack,
    (part, parts): (usize, usize),
) -> Meddler {
    let mut earlier: Vec<Sent> = Vec::new();
    Box::new(move |sent| {
        let mut arrivals = vec![arrival(DELAY, sent)];
        if earlier.len() == position {
            let mut chance = Chance::new(position as u64);
            let forged = attack(&mut chance, sent, &earlier);
            let len = forged.len().div_ceil(parts);
            let chosen = forged.into_iter().skip(part * len).take(len);
            arrivals.extend(chosen.map(|datagram| Arrival { after: moment, datagram }));
        }
        earlier.push(sent.clone());
        arrivals
    })
}

/// Attacks every datagram of every scenario: all ends as if nobody had.
fn withstand(attack: Attack, parts: usize) {
    for scenario in ALL {
        let expected = scenario.undisturbed();
        for position in 0..scenario.datagrams() {
            for (moment, part) in MOMENTS.iter().flat_map(|m| (0..parts).map(move |p| (m, p))) {
                let mut pair = scenario.before();
                let meddler = attacker(position, *moment, attack, (part, parts));
                let end = scenario.run(&mut pair, Some(meddler));
                let place = format!("{scenario:?}, datagram {position}, {moment:?}, part {part}");
                assert_eq!(end.reply, expected.reply, "{place}: {end:?}");
                assert_eq!(end.stage, expected.stage, "{place}: {end:?}");
                assert!(is_as_good(scenario, end.how, expected.how), "{place}: {end:?}");
                scenario.check(&mut pair);
            }
        }
    }
}

/// A resumption begins with messages that nothing protects: to forge them may
/// cost it, but not the tunnel.
fn is_as_good(scenario: Scenario, how: Option<How>, expected: Option<How>) -> bool {
    let resumes = matches!(
        scenario,
        Scenario::Resume
            | Scenario::ResumeWithAddress
            | Scenario::SuspendAndResume
            | Scenario::ResumeInTheOtherForm
            | Scenario::ResumeInFragments
    );
    how == expected || (resumes && how == Some(How::Full))
}

fn replays(_: &mut Chance, sent: &Sent, earlier: &[Sent]) -> Vec<Datagram> {
    earlier.iter().chain([sent]).map(|sent| sent.datagram.clone()).collect()
}

fn replays_from_elsewhere(chance: &mut Chance, sent: &Sent, earlier: &[Sent]) -> Vec<Datagram> {
    let mut forged = replays(chance, sent, earlier);
    for datagram in &mut forged {
        datagram.from.set_ip([203, 0, 113, 99].into());
    }
    forged
}

fn reflections(_: &mut Chance, sent: &Sent, earlier: &[Sent]) -> Vec<Datagram> {
    earlier.iter().chain([sent]).map(|sent| sent.datagram.reflected()).collect()
}

fn flipped(datagram: &Datagram, at: usize, bit: usize) -> Datagram {
    let mut octets = datagram.ike().unwrap().to_vec();
    octets[at] ^= 1 << bit;
    datagram.with_ike(&octets)
}

/// Every bit of the header, and message ids at both ends of their range.
fn header_flips(_: &mut Chance, sent: &Sent, _: &[Sent]) -> Vec<Datagram> {
    let bits = (0..Header::LEN).flat_map(|at| (0..8).map(move |bit| (at, bit)));
    let ids = [0, 1, u32::MAX - 1, u32::MAX].map(|id| with_id(&sent.datagram, id));
    bits.map(|(at, bit)| flipped(&sent.datagram, at, bit)).chain(ids).collect()
}

fn with_id(datagram: &Datagram, id: u32) -> Datagram {
    let mut octets = datagram.ike().unwrap().to_vec();
    octets[20..24].copy_from_slice(&id.to_be_bytes());
    datagram.with_ike(&octets)
}

/// A bit of every octet behind it.
fn body_flips(chance: &mut Chance, sent: &Sent, _: &[Sent]) -> Vec<Datagram> {
    let len = sent.datagram.ike().unwrap().len();
    (Header::LEN..len).map(|at| flipped(&sent.datagram, at, chance.below(8))).collect()
}

/// Cut off or drawn out, with and without a length field that tells so.
fn lengths(chance: &mut Chance, sent: &Sent, _: &[Sent]) -> Vec<Datagram> {
    let octets = sent.datagram.ike().unwrap();
    let mut forged = Vec::new();
    for _ in 0..12 {
        forged.push(octets[..chance.below(octets.len())].to_vec());
    }
    for extra in [1, 4, 16, 1000] {
        forged.push([octets, &*chance.octets(extra)].concat());
    }
    let mut fitting = forged.clone();
    for octets in fitting.iter_mut().filter(|octets| octets.len() >= Header::LEN) {
        let len = u32::try_from(octets.len()).unwrap();
        octets[24..28].copy_from_slice(&len.to_be_bytes());
    }
    forged.iter().chain(&fitting).map(|octets| sent.datagram.with_ike(octets)).collect()
}

/// Random octets, bare and behind a good header.
fn garbage(chance: &mut Chance, sent: &Sent, _: &[Sent]) -> Vec<Datagram> {
    let header = sent.datagram.ike().unwrap()[..Header::LEN].to_vec();
    let mut forged = Vec::new();
    for len in [0, 1, 27, 28, 29, 100, 1400] {
        forged.push(chance.octets(len));
        let mut octets = [header.clone(), chance.octets(len)].concat();
        let len = u32::try_from(octets.len()).unwrap();
        octets[24..28].copy_from_slice(&len.to_be_bytes());
        forged.push(octets);
    }
    forged.iter().map(|octets| sent.datagram.with_ike(octets)).collect()
}

/// A message in clear with a header like that of `sent`, or of an answer to it.
fn in_clear(sent: &Sent, answers: bool, fill: impl FnOnce(&mut MessageBuilder)) -> Datagram {
    let header = sent.datagram.header().unwrap();
    let flags = Flags {
        initiator: header.flags.initiator ^ answers,
        response: header.flags.response ^ answers,
    };
    let spis = (header.spi_i, header.spi_r);
    let mut builder = MessageBuilder::new(
        Vec::new(),
        Header::new(spis, header.exchange, flags, header.message_id),
    );
    fill(&mut builder);
    let octets = builder.finish().unwrap();
    let datagram = if answers { sent.datagram.reflected() } else { sent.datagram.clone() };
    datagram.with_ike(&octets)
}

/// Every notify that could end, divert or hold up something.
fn notifies(chance: &mut Chance, sent: &Sent, _: &[Sent]) -> Vec<Datagram> {
    let kinds: [(NotifyType, Vec<u8>); 15] = [
        (NotifyType::TICKET_NACK, vec![]),
        (NotifyType::TICKET_ACK, vec![]),
        (NotifyType::COOKIE, chance.octets(32)),
        (NotifyType::COOKIE, chance.octets(65)),
        (NotifyType::COOKIE, vec![]),
        (NotifyType::INVALID_KE_PAYLOAD, vec![0, 19]),
        (NotifyType::INVALID_KE_PAYLOAD, vec![0, 31]),
        (NotifyType::INVALID_KE_PAYLOAD, vec![0, 14]),
        (NotifyType::INVALID_KE_PAYLOAD, vec![7]),
        (NotifyType::NO_PROPOSAL_CHOSEN, vec![]),
        (NotifyType::AUTHENTICATION_FAILED, vec![]),
        (NotifyType::INVALID_SYNTAX, vec![]),
        (NotifyType::INVALID_IKE_SPI, vec![]),
        (NotifyType::INVALID_MAJOR_VERSION, vec![1]),
        (NotifyType::REDIRECT, chance.octets(6)),
    ];
    let forged = |answers: bool| {
        kinds.iter().map(move |(kind, data)| {
            in_clear(sent, answers, |builder| {
                builder.notify(*kind, data);
            })
        })
    };
    forged(true).chain(forged(false)).collect()
}

/// What looks sealed, a Delete in clear, an answer to the first request, and no payload at all.
fn lookalikes(chance: &mut Chance, sent: &Sent, _: &[Sent]) -> Vec<Datagram> {
    let nonce = chance.octets(32);
    let mut forged = Vec::new();
    for answers in [true, false] {
        forged.push(in_clear(sent, answers, |_| {}));
        forged.push(in_clear(sent, answers, |builder| {
            builder.delete_ike();
        }));
        forged.push(in_clear(sent, answers, |builder| {
            builder.nonce(&nonce);
        }));
        for len in [0, 1, 16, 17, 33, 80, 300] {
            for exchange in [ExchangeType::AUTH, ExchangeType::INFORMATIONAL] {
                for id in 0..4 {
                    forged.push(sealed(chance, sent, (answers, exchange, id), len));
                }
            }
        }
    }
    forged
}

fn sealed(
    chance: &mut Chance,
    sent: &Sent,
    (answers, exchange, id): (bool, ExchangeType, u32),
    len: usize,
) -> Datagram {
    let header = sent.datagram.header().unwrap();
    let flags = Flags {
        initiator: header.flags.initiator ^ answers,
        response: header.flags.response ^ answers,
    };
    let header = Header::new((header.spi_i, header.spi_r), exchange, flags, id);
    let builder = MessageBuilder::new(Vec::new(), header).begin_encrypted();
    let (octets, _) =
        builder.finish_with_chain(PayloadType::NOTIFY, &chance.octets(len), |n| n).unwrap();
    let datagram = if answers { sent.datagram.reflected() } else { sent.datagram.clone() };
    datagram.with_ike(&octets)
}

#[test]
fn replays_change_nothing() {
    withstand(replays, 1);
}

#[test]
fn replays_from_elsewhere_change_nothing() {
    withstand(replays_from_elsewhere, 1);
}

#[test]
fn reflections_change_nothing() {
    withstand(reflections, 1);
}

#[test]
fn altered_headers_change_nothing() {
    withstand(header_flips, Header::LEN);
}

#[test]
fn altered_bodies_change_nothing() {
    withstand(body_flips, 24);
}

#[test]
fn cut_off_and_drawn_out_messages_change_nothing() {
    withstand(lengths, 4);
}

#[test]
fn garbage_changes_nothing() {
    withstand(garbage, 1);
}

#[test]
fn forged_notifies_cost_at_most_the_resumption() {
    withstand(notifies, 30);
}

#[test]
fn lookalikes_of_sealed_messages_change_nothing() {
    withstand(lookalikes, 3);
}

#[test]
fn a_first_request_of_our_own_is_not_taken_for_a_strangers() {
    for mut pair in [Pair::with(|_| {}), Pair::suspended(|_| {})] {
        let (client, gateway) = (pair.client, pair.gateway);
        pair.world.node_mut(gateway).offline = true;
        pair.begin(ike::event::Command::Up(pair.name()));
        let datagram = pair.world.trace[0].datagram.reflected();
        pair.forget_past();
        pair.world.inject(Arrival { after: Duration::ZERO, datagram });
        pair.world.drive();
        assert_eq!(pair.client_counters().discarded(Discard::Reflected), 1);
        assert_eq!(pair.world.node(client).endpoint.status().half_open, 0);
        assert!(pair.world.trace.is_empty());
    }
}

/// How many datagrams were dropped, for any reason.
fn discarded(pair: &Pair) -> u64 {
    let counters = [pair.client_counters(), pair.gateway_counters()];
    let sum = |counters: &ike::status::Counters| {
        Discard::ALL.iter().map(|&why| counters.discarded(why)).sum::<u64>()
    };
    counters.iter().map(sum).sum()
}

#[test]
fn an_established_sa_drops_and_counts_all_of_it_without_a_word() {
    let attacks: [Attack; 7] =
        [reflections, header_flips, body_flips, lengths, garbage, notifies, lookalikes];
    for (number, attack) in attacks.into_iter().enumerate() {
        let mut pair = Pair::joined(|scene| {
            scene.client.liveness = Some(Duration::from_secs(10));
            // They would answer to SPIs that they do not know.
            scene.client.crash_secret = None;
            scene.gateway.crash_secret = None;
        });
        pair.world.run_for(Duration::from_secs(11));
        // INFORMATIONAL and its answer.
        let trace = pair.world.trace.clone();
        assert_eq!(trace.len(), 2);
        pair.forget_past();
        for sent in &trace {
            let mut chance = Chance::new(3);
            for datagram in attack(&mut chance, sent, &[]) {
                let before = discarded(&pair);
                let octets = datagram.ike().unwrap();
                let is_future = octets.get(17).is_some_and(|version| version >> 4 > 2);
                pair.world.inject(Arrival { after: Duration::ZERO, datagram: datagram.clone() });
                pair.world.step();
                assert_eq!(discarded(&pair) - before, 1, "attack {number}: {datagram:?}");
                let is_answered = !pair.world.trace.is_empty();
                assert!(!is_answered || is_future, "attack {number}: {datagram:?}");
                pair.forget_past();
            }
        }
        assert_eq!(pair.client_events().count() + pair.gateway_events().count(), 0);
        pair.assert_joined();
    }
}

/// RFC 6290 section 9.1: only the token itself ends an SA.
#[test]
fn a_made_up_token_or_that_of_another_sa_ends_nothing() {
    let mut pair = Pair::joined(|scene| scene.client.liveness = Some(Duration::from_secs(10)));
    let gateway = pair.gateway;
    pair.world.node_mut(gateway).offline = true;
    pair.world.run_for(Duration::from_millis(10_100));
    let asked = pair.world.trace[0].datagram.clone();
    let header = asked.header().unwrap();
    pair.world.node_mut(gateway).offline = false;

    // The gateway shows the token of any SA that it does not have.
    let mut stranger = asked.ike().unwrap().to_vec();
    stranger[0] ^= 1;
    stranger[8] ^= 1;
    pair.forget_past();
    pair.world.inject(Arrival { after: Duration::ZERO, datagram: asked.with_ike(&stranger) });
    pair.world.step();
    let shown = pair.world.trace[0].datagram.clone();
    let payloads = shown.ike().unwrap()[28..].to_vec();
    let of_another =
        [&asked.ike().unwrap()[..16], &shown.ike().unwrap()[16..28], &payloads].concat();

    let made_up = |token: &[u8]| {
        let flags = Flags { initiator: false, response: true };
        let spis = (header.spi_i, header.spi_r);
        let header = Header::new(spis, header.exchange, flags, header.message_id);
        let mut builder = MessageBuilder::new(Vec::new(), header);
        builder.notify(NotifyType::INVALID_IKE_SPI, &[]);
        builder.notify(NotifyType::QUICK_CRASH_DETECTION, token);
        builder.finish().unwrap()
    };
    for forgery in [of_another, made_up(&[0; 32]), made_up(&[]), made_up(&[7; 200])] {
        let datagram = asked.reflected().with_ike(&forgery);
        pair.world.inject(Arrival { after: Duration::ZERO, datagram });
        pair.world.step();
    }
    pair.world.run_for(Duration::from_secs(5));
    assert_eq!(pair.client_events().count(), 0);
    pair.assert_joined();
}

/// Whoever reads a TCP connection has to know what comes by it (RFC 9329
/// section 6.1).
#[test]
fn it_is_told_why_a_datagram_was_dropped() {
    let mut pair = Pair::with(|_| {});
    pair.up().unwrap();
    let sent = |at: usize| pair.world.trace[at].datagram.clone();
    let (init, auth) = (sent(0), sent(2));
    let path = Path { local: auth.to, remote: auth.from, port: Port::Ike };
    let now = pair.gateway_now();
    let mut dropped =
        |octets: &[u8]| pair.gateway_endpoint().handle_datagram(now, path, &mut octets.to_vec());
    let repeated = auth.ike().unwrap();
    assert_eq!(dropped(repeated), Some(Discard::Retransmission));
    let mut forged = repeated.to_vec();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(dropped(&forged), Some(Discard::NotAuthentic));
    assert_eq!(dropped(&forged[..20]), Some(Discard::Malformed));
    let mut other = Pair::with(|_| {});
    let now = other.gateway_now();
    let mut first = init.ike().unwrap().to_vec();
    assert_eq!(other.gateway_endpoint().handle_datagram(now, path, &mut first), None);
    let senseless = Discard::ALL.into_iter().filter(|it| it.is_senseless());
    let expected = [Discard::Malformed, Discard::BadPayload, Discard::NotAuthentic];
    assert_eq!(senseless.collect::<Vec<_>>(), expected);
}
