//! What the fuzz target `endpoint` runs on each input, and the tests on its
//! corpus: datagrams of somebody who knows both SPIs and no key.
//!
//! ```text
//! input = stage (1) | { how (1) | length (2) | octets }
//! ```
//! The bits of `how`: 0 to the client rather than the gateway, 1 with the SPIs
//! of the SA, 2 with a length field that fits, 3 with our version.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use ike::event::{Command, Event};
use ike::wire::Header;

use crate::pair::{CLIENT, Pair, Scene};
use crate::profile::GATEWAY;
use crate::wire::{Arrival, Content, Datagram};

/// Datagrams for an established SA, a set-up or a resumption.
pub fn endpoint(input: &[u8]) {
    let Some((&stage, datagrams)) = input.split_first() else { return };
    match stage % 3 {
        0 => established(datagrams),
        1 => beginning(Pair::new(Scene::default()), datagrams),
        _ => beginning(Pair::suspended(|_| {}), datagrams),
    }
}

thread_local! {
    /// An SA that lives from input to input: none may harm it. It has no ticket,
    /// which it would renew in the course of the hours.
    static JOINED: RefCell<Pair> =
        RefCell::new(Pair::joined(|scene| scene.client.resumption.enabled = false));
}

fn established(datagrams: &[u8]) {
    JOINED.with_borrow_mut(|pair| {
        let spis = pair.world.node(pair.client).endpoint.status().connections[0].sa.clone();
        let (client, gateway) = (spis.unwrap().id.0, pair.served()[0].sa.clone().unwrap().id.0);
        feed(pair, [client.to_be_bytes(), gateway.to_be_bytes()], datagrams);
        // Strangers are forgotten in the meantime.
        pair.world.run_for(Duration::from_secs(31));
        let is_of_stranger = |event: &Event| {
            matches!(event, Event::TicketRefused { .. } | Event::Failed { connection: None, .. })
        };
        let all_strangers = pair.client_events().chain(pair.gateway_events()).all(is_of_stranger);
        assert!(all_strangers, "an SA has changed");
        assert!(pair.is_joined(), "an SA is gone");
        pair.forget_past();
    });
}

fn beginning(mut pair: Pair, datagrams: &[u8]) {
    let request = pair.begin(Command::Up(pair.name()));
    let first = pair.world.trace[0].datagram.ike().unwrap().clone();
    let spi = *first.first_chunk().unwrap();
    feed(&mut pair, [spi, [0; 8]], datagrams);
    // However it ends, it ends.
    let _ = pair.finish(request);
}

fn feed(pair: &mut Pair, spis: [[u8; 8]; 2], mut datagrams: &[u8]) {
    while let Some(([how, high, low], rest)) = datagrams.split_first_chunk() {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (octets, rest) = rest.split_at(len);
        datagrams = rest;
        let datagram = dress(*how, spis, octets.to_vec());
        pair.world.inject(Arrival { after: Duration::ZERO, datagram });
        pair.world.step();
    }
}

fn dress(how: u8, [client, gateway]: [[u8; 8]; 2], mut octets: Vec<u8>) -> Datagram {
    if octets.len() >= Header::LEN {
        if how & 2 != 0 {
            octets[..8].copy_from_slice(&client);
            octets[8..16].copy_from_slice(&gateway);
        }
        if how & 4 != 0 {
            let len = u32::try_from(octets.len()).unwrap();
            octets[24..28].copy_from_slice(&len.to_be_bytes());
        }
        if how & 8 != 0 {
            octets[17] = 0x20;
        }
    }
    let [client, gateway] = [CLIENT, GATEWAY].map(|address| SocketAddr::new(address, 500));
    let (from, to) = if how & 1 != 0 { (gateway, client) } else { (client, gateway) };
    Datagram { from, to, content: Content::Ike(octets.into()) }
}
