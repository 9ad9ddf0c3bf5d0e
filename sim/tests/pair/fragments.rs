//! IKE fragmentation (RFC 7383): who uses it, and how long datagrams are.

use std::time::Duration;

use ike::config::FragmentationMode;
use ike::fault::Refusal;
use ike::wire::{ExchangeType, Header, NotifyType, PayloadType};
use sim::meddle::{DELAY, arrival, untouched};
use sim::{Pair, Scene};

const SIZE: u16 = 260;

fn pair(client: FragmentationMode, gateway: FragmentationMode) -> Pair {
    Pair::with(|scene: &mut Scene| {
        for (profile, mode) in [(&mut scene.client, client), (&mut scene.gateway, gateway)] {
            profile.fragmentation.mode = mode;
            profile.fragmentation.size = SIZE;
        }
    })
}

/// The IKE_AUTH datagrams sent so far: whether each is a fragment, and its length.
fn auth_datagrams(pair: &Pair) -> Vec<(bool, usize)> {
    let ike = pair.world.trace.iter().filter_map(|sent| sent.datagram.ike());
    let headers = ike.map(|octets| (Header::parse(octets).unwrap().0, octets.len()));
    let auth = headers.filter(|(header, _)| header.exchange == ExchangeType::AUTH);
    auth.map(|(header, len)| (header.next == PayloadType::SKF, len)).collect()
}

#[test]
fn long_messages_are_fragmented_if_both_sides_know_fragments() {
    use FragmentationMode::{No, Yes};
    for (client, gateway, fragmented) in
        [(Yes, Yes, true), (Yes, No, false), (No, Yes, false), (No, No, false)]
    {
        let mut pair = pair(client, gateway);
        assert_eq!(pair.up(), Ok(()));
        let sent = auth_datagrams(&pair);
        assert!(sent.iter().all(|&(is_fragment, _)| is_fragment == fragmented), "{sent:?}");
        assert_eq!(sent.len() > 2, fragmented, "{sent:?}");
        if fragmented {
            // IPv4 and UDP headers, and the marker on port 4500.
            assert!(sent.iter().all(|&(_, len)| len + 20 + 8 + 4 <= usize::from(SIZE)), "{sent:?}");
        }
        pair.assert_joined();
    }
}

#[test]
fn a_gateway_says_that_it_knows_fragments_only_to_whom_says_so() {
    use FragmentationMode::{Force, No, Yes};
    for (client, gateway) in [(Yes, No), (No, Yes), (No, Force)] {
        let mut pair = pair(client, gateway);
        let _ = pair.begin(ike::event::Command::Up(pair.name()));
        pair.world.run_for(DELAY * 4);
        let answer = &pair.world.trace[1].datagram;
        let message = ike::wire::Message::parse(answer.ike().unwrap()).unwrap();
        let kind = NotifyType::IKEV2_FRAGMENTATION_SUPPORTED;
        assert!(message.payloads.notify(kind).is_none(), "{client:?} {gateway:?}");
    }
}

#[test]
fn fragments_that_were_forced_on_somebody_who_does_not_know_them_are_dropped() {
    let mut pair = pair(FragmentationMode::Force, FragmentationMode::No);
    let Err(Refusal::Failed(_)) = pair.up() else { panic!("it came up") };
    assert!(auth_datagrams(&pair).iter().all(|&(is_fragment, _)| is_fragment));
    pair.assert_apart();
}

#[test]
fn a_repeated_request_is_answered_again_for_its_first_fragment_only() {
    let mut pair = pair(FragmentationMode::Yes, FragmentationMode::Yes);
    assert_eq!(pair.up(), Ok(()));
    let from_client = |sent: &&sim::Sent| {
        let header = sent.datagram.ike().map(|octets| Header::parse(octets).unwrap().0);
        header.is_some_and(|h| h.exchange == ExchangeType::AUTH && !h.flags.response)
    };
    let request: Vec<_> = pair.world.trace.iter().filter(from_client).cloned().collect();
    let answer_len = auth_datagrams(&pair).len() - request.len();
    assert!(request.len() >= 2 && answer_len >= 2);
    for (number, fragment) in (1..).zip(&request) {
        pair.forget_past();
        pair.world.inject(arrival(Duration::ZERO, fragment));
        pair.world.run_for(Duration::from_secs(1));
        let answered = auth_datagrams(&pair).len();
        assert_eq!(answered, if number == 1 { answer_len } else { 0 }, "fragment {number}");
    }
    pair.assert_joined();
}

#[test]
fn fragments_in_reverse_order_give_the_same_message() {
    let mut pair = pair(FragmentationMode::Yes, FragmentationMode::Yes);
    let mut wait = 20 * DELAY;
    pair.world.meddler = Some(Box::new(move |sent| {
        let header = sent.datagram.ike().map(|octets| Header::parse(octets).unwrap().0);
        if header.is_none_or(|header| header.next != PayloadType::SKF) {
            return untouched(sent);
        }
        wait = wait.saturating_sub(DELAY / 2).max(DELAY);
        vec![arrival(wait, sent)]
    }));
    assert_eq!(pair.up(), Ok(()));
    pair.assert_joined();
}
