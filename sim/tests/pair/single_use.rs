//! A ticket is good for one SA (RFC 5723 section 4.3.1).

use std::net::SocketAddr;
use std::time::Duration;

use ike::event::{Command, Event, How, TicketFault};
use ike::wire::{ExchangeType, Message, NotifyType};
use sim::{Arrival, Content, Datagram, NodeId, Pair};

const ELSEWHERE: [u8; 4] = [203, 0, 113, 50];

fn refusals(pair: &Pair) -> Vec<TicketFault> {
    let why = |event: &Event| match event {
        Event::TicketRefused { why, .. } => Some(*why),
        _ => None,
    };
    pair.gateway_events().filter_map(why).collect()
}

/// The first request of the client's resumption, under another SPI and from elsewhere.
fn stolen(pair: &Pair) -> Datagram {
    let is_resume = |sent: &&sim::Sent| sent.exchange() == Some(ExchangeType::SESSION_RESUME);
    let datagram = &pair.world.trace.iter().find(is_resume).unwrap().datagram;
    let mut octets = datagram.ike().unwrap().to_vec();
    octets[3] ^= 1;
    let from = SocketAddr::new(ELSEWHERE.into(), 500);
    Datagram { from, to: datagram.to, content: Content::Ike(octets.into()) }
}

fn inject(pair: &mut Pair, datagram: Datagram) {
    pair.world.inject(Arrival { after: Duration::ZERO, datagram });
    pair.world.drive();
}

/// A pair, and the client's double from a world that went the same way.
fn with_double() -> (Pair, NodeId) {
    let double = Pair::suspended(|_| {});
    let id = double.client;
    let mut node = double.world.into_nodes().remove(id.0);
    node.address = ELSEWHERE.into();
    let mut pair = Pair::suspended(|_| {});
    let double = pair.world.add(node);
    (pair, double)
}

fn how(pair: &Pair, id: NodeId) -> Vec<How> {
    let how = |(_, event): &(_, Event)| match event {
        Event::Up { set_up, .. } => Some(set_up.how),
        _ => None,
    };
    pair.world.node(id).events.iter().filter_map(how).collect()
}

#[test]
fn a_used_ticket_is_refused_with_a_nack() {
    let mut pair = Pair::suspended(|_| {});
    pair.resume().unwrap();
    let stolen = stolen(&pair);
    pair.forget_past();
    inject(&mut pair, stolen);
    assert_eq!(refusals(&pair), [TicketFault::Used]);
    let answer = pair.world.trace[0].datagram.ike().unwrap().clone();
    let message = Message::parse(&answer).unwrap();
    assert!(message.payloads.notify(NotifyType::TICKET_NACK).is_some());
    assert_eq!(message.header.exchange, ExchangeType::SESSION_RESUME);
    assert_eq!(message.payloads.len(), 1);
    pair.assert_joined();
}

#[test]
fn a_ticket_that_was_only_shown_can_still_be_used() {
    let mut pair = Pair::suspended(|_| {});
    let (client, gateway) = (pair.client, pair.gateway);
    pair.world.node_mut(gateway).offline = true;
    pair.begin(Command::Resume(pair.name()));
    let stolen = stolen(&pair);
    pair.world.node_mut(client).offline = true;
    pair.world.run_for(Duration::from_secs(200));
    pair.world.node_mut(client).offline = false;
    pair.world.node_mut(gateway).offline = false;
    inject(&mut pair, stolen);
    assert_eq!(refusals(&pair), []);
    pair.resume().unwrap();
    pair.assert_up_by(How::Resumed);
}

#[test]
fn a_ticket_that_somebody_else_has_used_leads_to_a_full_exchange() {
    let (mut pair, double) = with_double();
    pair.world.command(double, Command::Resume("home".into()));
    pair.world.drive();
    assert_eq!(how(&pair, double), [How::Resumed]);
    pair.resume().unwrap();
    assert_eq!(how(&pair, pair.client), [How::Full]);
    assert_eq!(refusals(&pair), [TicketFault::Used]);
}

#[test]
fn of_two_attempts_with_one_ticket_at_once_one_resumes() {
    for delay in [0, 5, 15, 25, 35] {
        let (mut pair, double) = with_double();
        let request = pair.begin(Command::Resume(pair.name()));
        pair.world.run_for(Duration::from_millis(delay));
        pair.world.command(double, Command::Resume("home".into()));
        pair.finish(request).unwrap();
        pair.world.run_for(Duration::from_secs(5));
        let client = pair.client;
        assert_eq!(how(&pair, client), [How::Resumed]);
        assert_eq!(how(&pair, double), [How::Full]);
        assert!(refusals(&pair).iter().all(|why| *why == TicketFault::Used));
        assert_eq!(pair.gateway_counters().resumed, 1);
    }
}

#[test]
fn an_altered_ticket_is_refused() {
    let mut pair = Pair::suspended(|_| {});
    pair.begin(Command::Resume(pair.name()));
    let request = stolen(&pair);
    let octets = request.ike().unwrap().to_vec();
    let message = Message::parse(&octets).unwrap();
    let ticket = message.payloads.notify(NotifyType::TICKET_OPAQUE).unwrap().data;
    let start = octets.windows(ticket.len()).position(|window| window == ticket).unwrap();
    pair.world.drive();
    pair.forget_past();
    for at in 0..ticket.len() {
        let mut altered = octets.clone();
        altered[start + at] ^= 0x40;
        inject(&mut pair, request.with_ike(&altered));
    }
    let expected = [TicketFault::UnknownKey, TicketFault::Forged];
    assert!(refusals(&pair).iter().all(|why| expected.contains(why)));
    let refused = pair.gateway_counters().tickets_refused;
    assert_eq!(usize::try_from(refused).unwrap(), ticket.len());
    // All are counted; of what happens in two seconds, a log gets twenty lines.
    assert!(refusals(&pair).len() <= 20);
    let half_open = pair.world.node(pair.gateway).endpoint.status().half_open;
    assert_eq!(half_open, 0);
}
