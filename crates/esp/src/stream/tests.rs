use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// What came, with rows of ESP in single packets.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Came {
    Ike(Vec<u8>),
    Esp(Vec<u8>),
    Keepalive,
    Runt,
}

fn feed(decoder: &mut Decoder, octets: &[u8], all: &mut Vec<Came>) -> Result<(), Corrupt> {
    decoder.feed(&mut octets.to_vec(), |content| match content {
        Content::Ike(message) => all.push(Came::Ike(message.to_vec())),
        Content::Esp { frames, stride } => {
            all.extend(frames.chunks(stride).map(|frame| Came::Esp(frame[LENGTH_LEN..].to_vec())));
        }
        Content::Keepalive => all.push(Came::Keepalive),
        Content::Runt => all.push(Came::Runt),
    })
}

fn decode(octets: &[u8]) -> Result<Vec<Came>, Corrupt> {
    let mut all = Vec::new();
    feed(&mut Decoder::opened(), octets, &mut all).map(|()| all)
}

fn frame(message: &[u8]) -> Vec<u8> {
    [&length(message.len()).unwrap(), message].concat()
}

fn ike(message: &[u8]) -> Vec<u8> {
    [&ike_head(message.len()).unwrap(), message].concat()
}

#[test]
fn a_stream_carries_ike_and_esp_and_keepalives_in_their_order() {
    let octets = [ike(b"first"), frame(b"\x01\x02\x03\x04 esp"), frame(&[0xff]), ike(b"second")];
    let expected = vec![
        Came::Ike(b"first".to_vec()),
        Came::Esp(b"\x01\x02\x03\x04 esp".to_vec()),
        Came::Keepalive,
        Came::Ike(b"second".to_vec()),
    ];
    assert_eq!(decode(&octets.concat()), Ok(expected));
}

#[test]
fn packets_of_one_size_are_handed_out_in_one_row() {
    let mut octets = [frame(&[1; 100]), frame(&[2; 100]), frame(&[3; 60]), ike(&[4; 96])].concat();
    let mut rows = Vec::new();
    let fed = Decoder::opened().feed(&mut octets, |content| match content {
        Content::Esp { frames, stride } => rows.push((frames.len(), stride)),
        Content::Ike(message) => rows.push((message.len(), 0)),
        Content::Keepalive | Content::Runt => {}
    });
    assert_eq!((fed, rows), (Ok(()), vec![(204, 102), (62, 62), (96, 0)]));
}

#[test]
fn an_accepted_stream_must_begin_with_the_prefix() {
    let mut all = Vec::new();
    let mut decoder = Decoder::accepted();
    feed(&mut decoder, b"IKE", &mut all).unwrap();
    assert_eq!(feed(&mut decoder, b"TCP", &mut all), Ok(()));
    feed(&mut decoder, &ike(b"message"), &mut all).unwrap();
    assert_eq!(all, [Came::Ike(b"message".to_vec())]);

    assert_eq!(feed(&mut Decoder::accepted(), b"IKEX", &mut all), Err(Corrupt::Prefix));
    assert_eq!(feed(&mut Decoder::accepted(), b"GET / HTTP", &mut all), Err(Corrupt::Prefix));
}

#[test]
fn a_length_that_does_not_count_itself_ends_the_stream() {
    for length in [0, 1] {
        let octets = [ike(b"good"), vec![0, length], ike(b"never seen")].concat();
        let mut all = Vec::new();
        assert_eq!(feed(&mut Decoder::opened(), &octets, &mut all), Err(Corrupt::Length));
        assert_eq!(all, [Came::Ike(b"good".to_vec())]);
    }
}

#[test]
fn empty_messages_are_passed_over_and_short_ones_are_told() {
    let octets = [frame(&[]), frame(&[0, 0, 0]), frame(&[7]), frame(&[0; 4])].concat();
    assert_eq!(decode(&octets), Ok(vec![Came::Runt, Came::Runt, Came::Ike(Vec::new())]));
}

#[test]
fn what_is_longer_than_a_length_can_say_is_refused() {
    assert_eq!(length(65_533), Ok([0xff, 0xff]));
    assert_eq!(length(65_534), Err(TooLong));
    assert_eq!(ike_head(65_529), Ok([0xff, 0xff, 0, 0, 0, 0]));
    assert_eq!(ike_head(65_530), Err(TooLong));
    assert_eq!(length(usize::MAX), Err(TooLong));
}

fn message() -> impl Strategy<Value = Came> {
    let first = prop_oneof![1..=u32::MAX, Just(u32::MAX)];
    let esp = (first, vec(any::<u8>(), 0..40))
        .prop_map(|(spi, rest)| Came::Esp([&spi.to_be_bytes()[..], &rest].concat()));
    prop_oneof![vec(any::<u8>(), 0..40).prop_map(Came::Ike), esp, Just(Came::Keepalive)]
}

fn encode(message: &Came) -> Vec<u8> {
    match message {
        Came::Ike(message) => ike(message),
        Came::Esp(packet) => frame(packet),
        Came::Keepalive => frame(&[0xff]),
        Came::Runt => frame(&[0]),
    }
}

proptest! {
    #[test]
    fn what_goes_in_comes_out_wherever_the_stream_is_cut(
        messages in vec(message(), 0..12),
        pieces in vec(1..50_usize, 1..40),
    ) {
        let octets = [PREFIX.to_vec(), messages.iter().flat_map(encode).collect()].concat();
        let (mut decoder, mut came) = (Decoder::accepted(), Vec::new());
        let mut rest = octets.as_slice();
        for piece in pieces.iter().cycle() {
            let (now, later) = rest.split_at((*piece).min(rest.len()));
            feed(&mut decoder, now, &mut came).unwrap();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(came, messages);
    }
}
