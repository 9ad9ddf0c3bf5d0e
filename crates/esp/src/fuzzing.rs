//! What the fuzz targets run on each input, and the tests on their corpora.
//! Not for use elsewhere.

use std::sync::Arc;

use crypto::{EspCipher, EspKey, KeyLen};

use crate::inbound::{self, Inbound};
use crate::outbound::Outbound;
use crate::packet;
use crate::policy::Selectors;
use crate::spec::{HalfSpec, Selector, Spi};
use crate::stream::{Content, Corrupt, Decoder, LENGTH_LEN};

/// An inner packet as an application or a peer may have made it.
pub fn packet(octets: &[u8]) {
    let Ok(inner) = packet::parse(octets) else { return };
    assert!(inner.total_len <= octets.len(), "a packet is longer than it is");
    let [source, destination] = inner.flow.selectors();
    let own = Selectors::new(vec![source], vec![destination]);
    assert!(own.select(&inner.flow), "a packet is not among those like it");
    let mut copy = octets.to_vec();
    let clamped = crate::mss::clamp(&mut copy, &inner, 1400);
    assert!(clamped || copy == octets, "a packet was changed and nobody told");
    packet::set_congestion_experienced(&mut copy);
    let again = packet::parse(&copy).map(|again| (again.flow, again.total_len));
    assert_eq!(again, Ok((inner.flow, inner.total_len)), "a packet's flow was changed");
}

/// ESP octets from the network: nothing but what was sealed comes through.
pub fn esp(octets: &[u8]) {
    let Some((_, inbound)) = halves() else { return };
    let mut copy = octets.to_vec();
    if inbound::spi(&copy).is_ok() {
        assert!(inbound.run().open(&mut copy).is_err(), "a forgery came through");
    }
}

/// An authentic packet with hostile contents: what the inside of a tunnel can
/// do to the other end.
pub fn tunnelled(inner: &[u8]) {
    let Some((outbound, inbound)) = halves() else { return };
    let mut sealed = vec![0; inner.len() + 256];
    let Ok(packet) = outbound.seal(inner, &mut sealed) else { return };
    let Some(packet) = sealed.get_mut(..packet.len) else { return };
    let opened = inbound.run().open(packet);
    if let Ok(opened) = &opened {
        let delivered = packet.get(opened.range.clone()).unwrap_or_default();
        assert!(inner.starts_with(delivered), "something else came out");
    }
    assert!(inbound.run().open(packet).is_err(), "a packet came through twice");
}

/// The octets of a TCP connection: wherever they are cut, the same comes out.
/// The first octet says whether we have opened it, and where to cut.
pub fn stream(octets: &[u8]) {
    let Some((&how, octets)) = octets.split_first() else { return };
    let decoder = || if how & 0x80 == 0 { Decoder::accepted() } else { Decoder::opened() };
    let piece = usize::from(how & 0x7f) + 1;
    let whole = contents(decoder(), octets, octets.len().max(1));
    let cut = contents(decoder(), octets, piece);
    assert_eq!(whole, cut, "a stream has another meaning when it is cut");
}

/// Each message of a stream behind what it is, and how the stream ends.
type Contents = (Vec<(char, Vec<u8>)>, Result<(), Corrupt>);

fn contents(mut decoder: Decoder, octets: &[u8], piece: usize) -> Contents {
    let mut all = Vec::new();
    let mut octets = octets.to_vec();
    let ended = octets.chunks_mut(piece).try_for_each(|piece| {
        decoder.feed(piece, |content| match content {
            Content::Ike(message) => all.push(('i', message.to_vec())),
            Content::Esp { frames, stride } => all.extend(frames.chunks(stride).map(|frame| {
                assert_eq!(frame.len(), stride, "a row of packets ends within one");
                ('e', frame.get(LENGTH_LEN..).unwrap_or_default().to_vec())
            })),
            Content::Keepalive => all.push(('k', Vec::new())),
            Content::Runt => all.push(('r', Vec::new())),
        })
    });
    (all, ended)
}

fn halves() -> Option<(Outbound, Inbound)> {
    let cipher = EspCipher::AesGcm16(KeyLen::L128);
    let half = || {
        let key = EspKey::for_test(cipher, &[7; 20]).ok()?;
        Some(HalfSpec { spi: Spi::new(0x1000)?, key })
    };
    let all = |zero: &str| Some(Selector::subnet(zero.parse().ok()?, 0));
    let everything = vec![all("0.0.0.0")?, all("::")?];
    let selectors = Arc::new(Selectors::new(everything.clone(), everything));
    Some((Outbound::new(half()?), Inbound::new(half()?, selectors)))
}
