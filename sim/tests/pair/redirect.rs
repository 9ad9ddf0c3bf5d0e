//! Redirects (RFC 5685): at the first word, in answer to a ticket, after the
//! proof, and in the middle of a session.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ike::Redirected;
use ike::config::{Redirect, TcpUse};
use ike::event::{Command, Event, FallBack, Gone, How, RedirectFault, RekeyWhat, RequestId};
use ike::fault::{Discard, Failure, Refusal};
use ike::redirect::Gateway;
use ike::status::{ConnectionStatus, Holdings};
use ike::wire::{ExchangeType, Flags, GatewayId, Header, Message, MessageBuilder, NotifyType};
use sim::meddle::{self, DELAY, arrival, untouched};
use sim::pair::{CLIENT, machine};
use sim::plane::Outgoing;
use sim::script::Opening;
use sim::{Arrival, Content, Datagram, Link, NodeId, Profile, Sent, World, packet};

const SECOND: Duration = Duration::from_secs(1);

/// Somebody else's address.
const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 99));

/// The `n`th gateway's address, counted from 0.
fn address(n: u8) -> IpAddr {
    [198, 51, 100, 1 + n].into()
}

/// The `n`th gateway, as operators name it.
fn gateway(n: u8) -> Gateway {
    Gateway::Address(address(n))
}

/// A client of the first of some gateways, which are all the same machine to it.
struct Fleet {
    world: World,
    client: NodeId,
    gateways: Vec<NodeId>,
}

impl Fleet {
    fn new() -> Self {
        Self::with(|_| {}, |_| {})
    }

    /// Three gateways, which open each other's tickets.
    fn with(client: impl FnOnce(&mut Profile), gateway: impl Fn(&mut Profile)) -> Self {
        Self::of([7000, 7000, 7000], client, gateway)
    }

    /// Gateways with the same seed have the same ticket key.
    fn of<const N: usize>(
        seeds: [u64; N],
        client: impl FnOnce(&mut Profile),
        gateway: impl Fn(&mut Profile),
    ) -> Self {
        let mut world = World::new(3, Link::default());
        let mut profile = Profile::client();
        client(&mut profile);
        let client = world.add(machine(&profile, CLIENT, 7100, 3));
        let gateways = (0..).zip(seeds).map(|(n, seed)| {
            let mut profile = Profile::gateway();
            gateway(&mut profile);
            let id = world.add(machine(&profile, address(n), seed, 5000));
            world.node_mut(id).plane.holds_first = false;
            id
        });
        let gateways = gateways.collect();
        Self { world, client, gateways }
    }

    /// As [`Self::new`], with the client up at the first gateway.
    fn joined() -> Self {
        let mut fleet = Self::new();
        assert_eq!(fleet.command(Command::Up("home".into())), Ok(()));
        fleet.assert_at(0, How::Full);
        fleet.forget();
        fleet
    }

    /// As [`Self::joined`], with the session asleep.
    fn suspended() -> Self {
        let mut fleet = Self::joined();
        assert_eq!(fleet.command(Command::Suspend("home".into())), Ok(()));
        fleet.forget();
        fleet
    }

    /// A stranger asks the `n`th gateway: what it chooses from now on is not what
    /// another one with its seed has chosen.
    fn stir(&mut self, n: u8) {
        let request = Opening::fresh(|_| {});
        let from = SocketAddr::new(STRANGER, 500);
        let content = Content::Ike(request.request().into());
        let datagram = Datagram { from, to: SocketAddr::new(address(n), 500), content };
        self.world.inject(Arrival { after: DELAY, datagram });
        self.world.drive();
        self.forget();
    }

    fn forget(&mut self) {
        self.world.trace.clear();
        for id in [self.client, self.gateways[0], self.gateways[1], self.gateways[2]] {
            self.world.node_mut(id).events.clear();
            self.world.node_mut(id).delivered.clear();
        }
    }

    /// The `n`th gateway sends its clients to another one, or does so no more.
    fn redirect(&mut self, n: usize, to: Option<Gateway>) -> Redirected {
        self.redirect_of(n, None, to).unwrap()
    }

    fn redirect_of(
        &mut self,
        n: usize,
        name: Option<&str>,
        to: Option<Gateway>,
    ) -> Result<Redirected, Refusal> {
        let time = self.world.now();
        let id = self.gateways[n];
        let node = self.world.node_mut(id);
        let now = node.clock.at(time);
        let sent = node.endpoint.redirect(now, name, to);
        self.world.settle(id);
        sent
    }

    fn command(&mut self, command: Command) -> Result<(), Refusal> {
        let request = self.world.command(self.client, command);
        self.finish(request)
    }

    fn finish(&mut self, request: RequestId) -> Result<(), Refusal> {
        let client = self.client;
        let is_done = |world: &World| world.node(client).replies.contains_key(&request);
        assert!(self.world.drive_until(600 * SECOND, is_done), "{request:?} is not answered");
        self.world.drive();
        self.world.node(client).replies[&request].clone()
    }

    fn up(&mut self) -> Result<(), Refusal> {
        self.command(Command::Up("home".into()))
    }

    fn status(&self) -> ConnectionStatus {
        let status = self.world.node(self.client).endpoint.status();
        status.connections.into_iter().next().unwrap()
    }

    /// The client is up at the `n`th gateway, by this exchange, and nowhere else.
    fn assert_at(&mut self, n: u8, how: How) {
        let sa = self.status().sa.expect("an SA");
        assert_eq!(sa.remote.ip(), address(n));
        assert_eq!(sa.set_up.expect("an SA that is up").how, how);
        for (other, id) in (0..).zip(self.gateways.clone()) {
            let children = self.world.node(id).plane.children().len();
            assert_eq!(children, usize::from(other == n), "gateway {other}");
            let status = self.world.node(id).endpoint.status();
            let sas = status.connections.iter().filter(|it| it.sa.is_some()).count();
            assert_eq!(sas, usize::from(other == n), "gateway {other}");
        }
        assert!(self.ping(n), "no packets flow");
    }

    fn ping(&mut self, n: u8) -> bool {
        let there = packet::udp([10, 1, 0, 2].into(), [10, 2, 0, 1].into(), b"ping");
        let to = self.gateways[usize::from(n)];
        let before = self.world.node(to).delivered.len();
        self.world.send_inner(self.client, &there);
        self.world.drive();
        self.world.node(to).delivered.get(before) == Some(&there)
    }

    fn client_events(&self) -> impl Iterator<Item = &Event> {
        self.world.node(self.client).events.iter().map(|(_, event)| event)
    }

    /// From where to where the client has gone.
    fn ways(&self) -> Vec<(IpAddr, String)> {
        let way = |event: &Event| match event {
            Event::Redirected { from, to, .. } => Some((*from, to.to_string())),
            _ => None,
        };
        self.client_events().filter_map(way).collect()
    }

    /// Why the client has not gone.
    fn refusals(&self) -> Vec<RedirectFault> {
        let why = |event: &Event| match event {
            Event::RedirectRefused { why, .. } => Some(*why),
            _ => None,
        };
        self.client_events().filter_map(why).collect()
    }

    /// Who was asked what first, and what was said of redirects.
    fn first_words(&self) -> Vec<(ExchangeType, IpAddr, Option<NotifyType>)> {
        let mut words = Vec::new();
        for sent in &self.world.trace {
            let message = Message::parse(sent.datagram.ike().unwrap()).unwrap();
            let of = [NotifyType::REDIRECT_SUPPORTED, NotifyType::REDIRECTED_FROM];
            let said = of.into_iter().find(|kind| message.payloads.notify(*kind).is_some());
            if message.header.spi_r.is_zero() && !message.header.flags.response {
                words.push((message.header.exchange, sent.datagram.to.ip(), said));
            }
        }
        words
    }

    fn holdings(&self, n: usize) -> Holdings {
        self.world.node(self.gateways[n]).endpoint.holdings()
    }
}

/// An answer in clear that sends a client to `to`.
fn forged(request: &Header, to: IpAddr, nonce: &[u8]) -> Vec<u8> {
    let flags = Flags { initiator: false, response: true };
    let header = Header::new((request.spi_i, request.spi_r), request.exchange, flags, 0);
    let mut builder = MessageBuilder::new(Vec::new(), header);
    builder.notify(NotifyType::REDIRECT, &GatewayId::Address(to).emit(nonce));
    builder.finish().unwrap()
}

const INIT: ExchangeType = ExchangeType::SA_INIT;
const RESUME: ExchangeType = ExchangeType::SESSION_RESUME;
const SUPPORTED: Option<NotifyType> = Some(NotifyType::REDIRECT_SUPPORTED);
const FROM: Option<NotifyType> = Some(NotifyType::REDIRECTED_FROM);

#[test]
fn a_client_is_sent_on_at_its_first_word_and_nothing_is_kept_of_it() {
    let mut fleet = Fleet::new();
    assert_eq!(fleet.redirect(0, Some(gateway(1))), Redirected::default());
    assert_eq!(fleet.up(), Ok(()));
    assert_eq!(fleet.ways(), [(address(0), address(1).to_string())]);
    assert_eq!(fleet.first_words(), [(INIT, address(0), SUPPORTED), (INIT, address(1), FROM)]);
    assert_eq!(fleet.holdings(0), Holdings::default());
    let answer = fleet.world.trace.iter().find(|sent| sent.by == fleet.gateways[0]).unwrap();
    assert!(answer.datagram.header().unwrap().spi_r.is_zero());
    let second = fleet.world.trace[2].datagram.ike().unwrap().clone();
    let second = Message::parse(&second).unwrap();
    let from = second.payloads.notify(NotifyType::REDIRECTED_FROM).unwrap().gateway();
    assert_eq!(from, Some((GatewayId::Address(address(0)), &[][..])));
    fleet.assert_at(1, How::Full);

    // And when it is over, nobody is sent on any more.
    fleet.redirect(0, None);
    assert_eq!(fleet.command(Command::Down("home".into())), Ok(()));
    assert_eq!(fleet.up(), Ok(()));
    fleet.assert_at(0, How::Full);
}

#[test]
fn a_gateway_sends_on_as_it_is_configured() {
    let to = |profile: &mut Profile| profile.redirect.to = Some(gateway(1));
    let mut fleet = Fleet::with(|_| {}, to);
    assert_eq!(fleet.up(), Ok(()));
    // The second is where all are to go.
    fleet.assert_at(1, How::Full);
    // What an operator says comes first: also that the third keeps its clients.
    fleet.redirect(2, Some(gateway(2)));
    let sent = fleet.redirect_of(1, Some("clients"), Some(gateway(2)));
    assert_eq!(sent, Ok(Redirected { told: 1, staying: 0 }));
    fleet.world.run_for(SECOND);
    fleet.assert_at(2, How::Full);
    let unknown = fleet.redirect_of(1, Some("nobody"), None);
    assert_eq!(unknown, Err(Refusal::UnknownConnection));
}

#[test]
fn a_ticket_is_taken_along_and_the_next_one_is_shown_where_it_is_from() {
    let mut fleet = Fleet::suspended();
    fleet.stir(1);
    fleet.redirect(0, Some(gateway(1)));
    assert_eq!(fleet.command(Command::Resume("home".into())), Ok(()));
    let words = [(RESUME, address(0), SUPPORTED), (RESUME, address(1), FROM)];
    assert_eq!(fleet.first_words(), words);
    assert_eq!(fleet.holdings(0).sas, 1, "that of the session before");
    let sa = fleet.status().sa.unwrap();
    assert_eq!((sa.remote.ip(), sa.set_up.unwrap().how), (address(1), How::Resumed));
    assert_eq!(sa.set_up.unwrap().round_trips, 3);
    assert!(fleet.ping(1));

    assert_eq!(fleet.command(Command::Suspend("home".into())), Ok(()));
    fleet.forget();
    assert_eq!(fleet.command(Command::Resume("home".into())), Ok(()));
    assert_eq!(fleet.first_words(), [(RESUME, address(1), SUPPORTED)]);
    assert_eq!(fleet.ways(), []);
    assert_eq!(fleet.status().sa.unwrap().set_up.unwrap().how, How::Resumed);

    // A full exchange begins where the connection says.
    assert_eq!(fleet.command(Command::Down("home".into())), Ok(()));
    fleet.redirect(0, None);
    fleet.forget();
    assert_eq!(fleet.up(), Ok(()));
    assert_eq!(fleet.first_words(), [(INIT, address(0), SUPPORTED)]);
}

#[test]
fn where_a_session_is_resumed_changes_with_the_configured_gateway_and_with_nothing_else() {
    let reconfigured = |change: fn(&mut Profile)| {
        let mut fleet = Fleet::new();
        fleet.redirect(0, Some(gateway(1)));
        assert_eq!(fleet.up(), Ok(()));
        assert_eq!(fleet.command(Command::Suspend("home".into())), Ok(()));
        fleet.forget();
        let mut profile = Profile::client();
        change(&mut profile);
        let time = fleet.world.now();
        let node = fleet.world.node_mut(fleet.client);
        let now = node.clock.at(time);
        node.endpoint.reconfigure(now, profile.config());
        fleet.world.settle(fleet.client);
        assert_eq!(fleet.command(Command::Resume("home".into())), Ok(()));
        fleet.first_words()[0]
    };
    let first = reconfigured(|profile| profile.liveness = Some(50 * SECOND));
    assert_eq!(first, (RESUME, address(1), SUPPORTED));
    let first = reconfigured(|profile| profile.remote = Some(address(2)));
    assert_eq!(first, (RESUME, address(2), SUPPORTED));
}

#[test]
fn a_gateway_that_cannot_open_the_ticket_makes_a_full_exchange() {
    let mut fleet = Fleet::of([7000, 7001, 7002], |_| {}, |_| {});
    assert_eq!(fleet.up(), Ok(()));
    assert_eq!(fleet.command(Command::Suspend("home".into())), Ok(()));
    fleet.redirect(0, Some(gateway(1)));
    fleet.forget();
    assert_eq!(fleet.command(Command::Resume("home".into())), Ok(()));
    let words =
        [(RESUME, address(0), SUPPORTED), (RESUME, address(1), FROM), (INIT, address(1), FROM)];
    assert_eq!(fleet.first_words(), words);
    let sa = fleet.status().sa.unwrap();
    assert_eq!((sa.remote.ip(), sa.set_up.unwrap().how), (address(1), How::Full));
}

#[test]
fn where_nobody_answers_any_more_the_configured_gateway_is_asked_again() {
    let mut fleet = Fleet::suspended();
    fleet.redirect(0, Some(gateway(9)));
    let request = fleet.world.command(fleet.client, Command::Resume("home".into()));
    fleet.world.run_for(SECOND);
    fleet.redirect(0, None);
    assert_eq!(fleet.finish(request), Ok(()));
    let fell_back = |event: &Event| matches!(event, Event::FellBack { why: FallBack::Silence, .. });
    assert!(fleet.client_events().any(fell_back));
    assert_eq!(fleet.first_words().last(), Some(&(INIT, address(0), SUPPORTED)));
    assert_eq!(fleet.status().sa.unwrap().remote.ip(), address(0));
}

/// Who comes shows in IKE_AUTH; some clients are sent on.
fn sorting_fleet() -> Fleet {
    let some = |profile: &mut Profile| {
        let sent = Profile { name: "sent", remote_id: "client.example", ..Profile::gateway() };
        profile.name = "kept";
        profile.remote_id = "other.example";
        profile.more = vec![sent];
    };
    let mut fleet = Fleet::with(|_| {}, some);
    assert_eq!(fleet.redirect_of(0, Some("sent"), Some(gateway(1))), Ok(Redirected::default()));
    fleet
}

#[test]
fn where_it_depends_on_who_it_is_a_client_is_sent_on_after_its_proof() {
    let mut fleet = sorting_fleet();
    assert_eq!(fleet.up(), Ok(()));
    assert_eq!(fleet.ways(), [(address(0), address(1).to_string())]);
    fleet.assert_at(1, How::Full);
    let ended =
        |(_, event): &(_, Event)| matches!(event, Event::Down { why: Gone::PeerDeleted, .. });
    assert!(fleet.world.node(fleet.gateways[0]).events.iter().any(ended));
}

#[test]
fn a_session_goes_to_another_gateway_and_the_old_one_is_let_go() {
    let mut fleet = Fleet::joined();
    assert_eq!(fleet.redirect(0, Some(gateway(1))), Redirected { told: 1, staying: 0 });
    fleet.world.run_for(SECOND);
    fleet.assert_at(1, How::Full);
    assert_eq!(fleet.ways(), [(address(0), address(1).to_string())]);
    assert_eq!(fleet.first_words(), [(INIT, address(1), FROM)]);
    let left = |event: &Event| matches!(event, Event::Down { why: Gone::Replaced, .. });
    assert!(fleet.client_events().any(left));
    fleet.world.run_for(60 * SECOND);
    assert_eq!(fleet.holdings(0), Holdings::default());
}

#[test]
fn packets_go_by_the_old_gateway_until_the_new_one_takes_over() {
    let mut fleet = Fleet::joined();
    fleet.redirect(0, Some(gateway(1)));
    let client = fleet.client;
    let there = packet::udp([10, 1, 0, 2].into(), [10, 2, 0, 1].into(), b"there");
    let mut sent = 0;
    for _ in 0..100 {
        sent += usize::from(matches!(fleet.world.send_inner(client, &there), Outgoing::Sealed(..)));
        fleet.world.run_for(DELAY / 4);
    }
    fleet.world.run_for(SECOND);
    assert_eq!(sent, 100, "none had to wait");
    let arrived = |n: usize| fleet.world.node(fleet.gateways[n]).delivered.len();
    assert_eq!(arrived(0) + arrived(1), sent);
    assert!(arrived(0) > 0 && arrived(1) > 0);
}

#[test]
fn an_sa_goes_on_while_the_gateway_that_was_named_is_silent() {
    let mut fleet = Fleet::joined();
    fleet.redirect(0, Some(gateway(9)));
    fleet.world.run_for(180 * SECOND);
    fleet.assert_at(0, How::Full);
    // It asks again, where it is, and is sent to one that answers.
    fleet.redirect(0, None);
    fleet.redirect(0, Some(gateway(1)));
    fleet.world.run_for(SECOND);
    fleet.assert_at(1, How::Full);
}

#[test]
fn a_redirect_that_meets_a_rekey_of_the_sa_is_told_by_its_successor() {
    for client_rekeys in [true, false] {
        let mut fleet = Fleet::joined();
        let id = if client_rekeys { fleet.client } else { fleet.gateways[0] };
        let name = if client_rekeys { "home" } else { "clients" };
        fleet.world.command(id, Command::Rekey(name.into(), RekeyWhat::IkeSa));
        fleet.redirect(0, Some(gateway(1)));
        fleet.world.run_for(10 * SECOND);
        fleet.assert_at(1, How::Full);
    }
}

#[test]
fn who_does_not_say_that_it_can_be_redirected_never_is() {
    let mut fleet = Fleet::with(|client| client.redirect = Redirect::default(), |_| {});
    fleet.redirect(0, Some(gateway(1)));
    assert_eq!(fleet.up(), Ok(()));
    fleet.assert_at(0, How::Full);
    assert_eq!(fleet.first_words(), [(INIT, address(0), None)]);
    assert_eq!(fleet.redirect(0, Some(gateway(2))), Redirected { told: 0, staying: 1 });
    assert_eq!(fleet.command(Command::Suspend("home".into())), Ok(()));
    assert_eq!(fleet.command(Command::Resume("home".into())), Ok(()));
    assert_eq!(fleet.status().sa.unwrap().remote.ip(), address(0));
    let redirects = fleet.world.trace.iter().filter(|sent| {
        let message = Message::parse(sent.datagram.ike().unwrap()).unwrap();
        message.payloads.notify(NotifyType::REDIRECT).is_some()
    });
    assert_eq!(redirects.count(), 0);
}

/// What stands for the nonce that the client has sent.
type Forgery = fn(&[u8]) -> Vec<u8>;

/// Before the answer to the client's first word, one comes that sends it to the
/// second gateway.
fn with_forgery(fleet: &mut Fleet, nonce: Forgery) {
    fleet.world.meddler = Some(Box::new(move |sent| {
        let mut arrivals = untouched(sent);
        let message = Message::parse(sent.datagram.ike().unwrap()).unwrap();
        let is_first = message.header.spi_r.is_zero() && !message.header.flags.response;
        if let Some(ni) = message.payloads.nonce().filter(|_| is_first) {
            let octets = forged(&message.header, address(1), &nonce(ni));
            let datagram = sent.datagram.reflected().with_ike(&octets);
            arrivals.push(Arrival { after: DELAY, datagram });
        }
        arrivals
    }));
}

#[test]
fn a_redirect_without_the_nonce_is_dropped_and_the_answer_awaited() {
    let wrong: [Forgery; 4] = [
        |_| Vec::new(),
        |ni| ni.iter().map(|octet| !octet).collect(),
        |ni| ni[1..].to_vec(),
        |ni| [ni, &[0]].concat(),
    ];
    for nonce in wrong {
        for mut fleet in [Fleet::new(), Fleet::suspended()] {
            with_forgery(&mut fleet, nonce);
            assert_eq!(fleet.up(), Ok(()));
            assert_eq!(fleet.status().sa.unwrap().remote.ip(), address(0));
            assert_eq!((fleet.ways(), fleet.refusals()), (Vec::new(), Vec::new()));
            let status = fleet.world.node(fleet.client).endpoint.status();
            assert_eq!(status.counters.discarded(Discard::Unexpected), 1);
        }
    }
}

#[test]
fn a_client_that_does_not_follow_takes_no_redirect() {
    let mut fleet = Fleet::with(|client| client.redirect = Redirect::default(), |_| {});
    with_forgery(&mut fleet, <[u8]>::to_vec);
    assert_eq!(fleet.up(), Ok(()));
    fleet.assert_at(0, How::Full);
}

#[test]
fn whoever_is_where_a_client_is_sent_must_be_the_peer_that_it_expects() {
    let rogue = Profile { local_id: "rogue.example".into(), ..Profile::gateway() };
    let mut fleet = Fleet::new();
    fleet.world.add(machine(&rogue, address(7), 7007, 50));
    fleet.redirect(0, Some(gateway(7)));
    let refused = fleet.up();
    assert!(
        matches!(refused, Err(Refusal::Failed(Failure::RefusedByPeer | Failure::WrongIdentity))),
        "{refused:?}"
    );
}

#[test]
fn a_loop_ends_after_five_redirects_and_may_be_tried_again_after_five_minutes() {
    let mut fleet = Fleet::new();
    fleet.redirect(0, Some(gateway(1)));
    fleet.redirect(1, Some(gateway(0)));
    assert_eq!(fleet.up(), Err(Refusal::Failed(Failure::Redirected)));
    assert_eq!(fleet.ways().len(), 5);
    assert_eq!(fleet.refusals(), [RedirectFault::TooMany]);
    assert_eq!(fleet.first_words().len(), 6);

    // The loop is undone, but the client has followed enough for now.
    fleet.redirect(1, None);
    assert_eq!(fleet.up(), Err(Refusal::Failed(Failure::Redirected)));
    fleet.world.run_for(300 * SECOND);
    assert_eq!(fleet.up(), Ok(()));
    fleet.assert_at(1, How::Full);
}

#[test]
fn a_session_that_is_sent_around_stays_where_it_is_at_last() {
    let mut fleet = Fleet::joined();
    for n in 0..6 {
        fleet.redirect(n % 3, None);
        let to = gateway(u8::try_from((n + 1) % 3).unwrap());
        assert_eq!(fleet.redirect(n % 3, Some(to)), Redirected { told: 1, staying: 0 }, "{n}");
        fleet.redirect((n + 1) % 3, None);
        fleet.world.run_for(SECOND);
    }
    assert_eq!(fleet.ways().len(), 5);
    assert_eq!(fleet.refusals(), [RedirectFault::TooMany]);
    fleet.assert_at(2, How::Full);
}

#[test]
fn a_resumption_in_a_loop_gives_the_session_back() {
    let mut fleet = Fleet::suspended();
    fleet.redirect(0, Some(gateway(1)));
    fleet.redirect(1, Some(gateway(0)));
    let refused = fleet.command(Command::Resume("home".into()));
    assert_eq!(refused, Err(Refusal::Failed(Failure::Redirected)));
    fleet.redirect(0, None);
    assert_eq!(fleet.command(Command::Resume("home".into())), Ok(()));
    assert_eq!(fleet.status().sa.unwrap().set_up.unwrap().how, How::Resumed);
}

#[test]
fn a_gateway_is_gone_to_by_name_where_the_connection_knows_it() {
    let names = |profile: &mut Profile| {
        profile.redirect.names = vec![("GW1.example.org".into(), address(1))];
    };
    let mut fleet = Fleet::with(names, |_| {});
    fleet.redirect(0, Some("gw1.example.org".parse().unwrap()));
    assert_eq!(fleet.up(), Ok(()));
    assert_eq!(fleet.ways(), [(address(0), "gw1.example.org".to_owned())]);
    fleet.assert_at(1, How::Full);

    fleet.redirect(1, Some("gw2.example.org".parse().unwrap()));
    fleet.world.run_for(SECOND);
    assert_eq!(fleet.refusals(), [RedirectFault::UnknownGateway]);
    fleet.assert_at(1, How::Full);
    assert_eq!(fleet.command(Command::Down("home".into())), Ok(()));
    fleet.redirect(0, Some("gw2.example.org".parse().unwrap()));
    assert_eq!(fleet.up(), Err(Refusal::Failed(Failure::Redirected)));
}

#[test]
fn after_a_redirect_udp_is_tried_first() {
    let tcp = |profile: &mut Profile| profile.tcp = TcpUse::Auto;
    let mut fleet = Fleet::with(tcp, tcp);
    fleet.redirect(0, Some(gateway(1)));
    // UDP does not get through to the first gateway.
    fleet.world.meddler = Some(Box::new(|sent| {
        if sent.datagram.to.ip() == address(0) { Vec::new() } else { untouched(sent) }
    }));
    assert_eq!(fleet.up(), Ok(()));
    fleet.assert_at(1, How::Full);
    let by_tcp = fleet.world.tcp_trace.iter().map(|sent| sent.exchange());
    assert_eq!(by_tcp.collect::<Vec<_>>(), [Some(INIT), Some(INIT)]);
}

/// What comes before, and what then happens.
type Scenario = (fn() -> Fleet, fn(&mut Fleet));

/// Each way of being sent to the second gateway.
fn scenarios() -> [Scenario; 4] {
    let drained = || {
        let mut fleet = Fleet::new();
        fleet.redirect(0, Some(gateway(1)));
        fleet
    };
    let asleep = || {
        let mut fleet = Fleet::suspended();
        fleet.redirect(0, Some(gateway(1)));
        fleet
    };
    let up = |fleet: &mut Fleet| assert_eq!(fleet.up(), Ok(()));
    let send = |fleet: &mut Fleet| {
        fleet.redirect(0, Some(gateway(1)));
    };
    [(drained, up), (asleep, up), (sorting_fleet, up), (Fleet::joined, send)]
}

/// Meddles with each datagram in turn: the client ends at the second gateway, and
/// the first one lets go of it.
fn at_every_position(meddle: fn(&Sent) -> Vec<Arrival>) {
    for (case, (before, step)) in scenarios().into_iter().enumerate() {
        let mut undisturbed = before();
        step(&mut undisturbed);
        undisturbed.world.run_for(SECOND);
        for position in 0..undisturbed.world.trace.len() {
            let mut fleet = before();
            fleet.world.meddler = Some(meddle::nth(position, meddle));
            step(&mut fleet);
            fleet.world.run_for(100 * SECOND);
            let sa = fleet.status().sa;
            let place = format!("case {case}, datagram {position}");
            assert_eq!(sa.map(|sa| sa.remote.ip()), Some(address(1)), "{place}");
            assert!(fleet.ping(1), "{place}");
            assert_eq!(fleet.ways().len(), 1, "{place}");
            assert_eq!(fleet.holdings(0).children, 0, "{place}");
        }
    }
}

#[test]
fn every_lost_datagram_is_made_up_for() {
    at_every_position(|_| Vec::new());
}

#[test]
fn every_doubled_datagram_counts_once() {
    at_every_position(|sent| vec![arrival(DELAY, sent), arrival(DELAY + DELAY / 2, sent)]);
    at_every_position(|sent| vec![arrival(DELAY, sent), arrival(20 * SECOND, sent)]);
}

#[test]
fn every_datagram_that_is_overtaken_by_its_repetition_counts_once() {
    at_every_position(|sent| vec![arrival(3 * SECOND / 4, sent)]);
    at_every_position(|sent| vec![arrival(3 * SECOND, sent)]);
}
