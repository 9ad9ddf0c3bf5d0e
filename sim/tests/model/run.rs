//! Plays a case on a pair, and compares it with the reference.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use ike::config::{Lifetime, ResumeTrigger};
use ike::event::{Command, Event, How, RekeyWhat, RequestId};
use ike::fault::Refusal;
use ike::pool::{AddressRange, PoolConfig};
use ike::status::Stage;
use sim::plane::Outgoing;
use sim::{Link, NodeId, Pair, Scene, packet};

use crate::case::{Act, Case, Making, Mild, Round, Side, Storm};
use crate::ledger::{INNER, Ledger};
use crate::reference::{Expected, Reference, Stand};
use crate::weather;

const SECOND: Duration = Duration::from_secs(1);

/// Enough for what both sides take part in, in mild weather, and less than it
/// takes to miss the other.
const SHORT: Duration = Duration::from_secs(15);

/// Enough for every timer, but those of tickets.
const LONG: Duration = Duration::from_secs(400);

/// The longest wait of a kept connection after a refusal, and some more.
const REFUSED: Duration = Duration::from_secs(3700);

/// The inner addresses of the two.
const INSIDE: [[u8; 4]; 2] = [[10, 1, 0, 2], [10, 2, 0, 1]];

/// Plays a case.
pub(crate) fn play(case: &Case) {
    let mut run = Run::new(case.making);
    for round in &case.rounds {
        match round {
            Round::Orderly(mild, acts) => run.orderly(*mild, acts),
            Round::Hasty(mild, acts) => run.hasty(*mild, acts),
            Round::Stormy(storm, acts) => run.stormy(*storm, acts),
        }
        run.clear_up();
    }
    run.end();
}

struct Run {
    pair: Pair,
    making: Making,
    reference: Reference,
    ledger: Ledger,
    /// Commands that must be answered.
    asked: BTreeMap<RequestId, NodeId>,
}

impl Run {
    fn new(making: Making) -> Self {
        let pair = Pair::with(|scene| set(scene, making));
        let reference = Reference::new(making);
        let (ledger, asked) = (Ledger::default(), BTreeMap::new());
        let mut run = Self { pair, making, reference, ledger, asked };
        run.keep_up();
        run.wait(SHORT);
        let stand = run.stand().unwrap();
        assert_eq!(stand == Stand::Up, making.kept);
        let begin = if making.kept { Act::Up } else { Act::Down(Side::Client) };
        run.reference.happened(begin, stand, false, making.kept);
        run
    }

    /// Everything comes to its end before the next, and to that which the
    /// reference says.
    fn orderly(&mut self, mild: Mild, acts: &[Act]) {
        self.pair.world.meddler = Some(weather::mild(mild));
        for &act in acts {
            if !self.reference.can(act) {
                continue;
            }
            let expected = self.reference.after(act);
            let reply = self.act(act);
            let (before, address) = (self.ups(), self.inner());
            self.wait(if expected.takes_long { LONG } else { SHORT });
            self.wait_for_one();
            self.check_reply(act, &expected, reply);
            let hows = self.hows_since(before);
            let expected = expected.beside(act, self.making.reauth.is_some() && !hows.is_empty());
            let stand = self.check_stand(act, &expected);
            if let (Some(how), Stand::Up) = (expected.how, stand) {
                let (first, again) = hows.split_first().expect("an SA that came up");
                assert_eq!(*first, how, "after {act:?}");
                assert!(self.are_proofs(again), "{hows:?} after {act:?}");
            }
            if stand != Stand::Down && address.is_some() && hows.first() != Some(&How::Full) {
                assert_eq!(self.inner(), address, "a session keeps its address");
            }
            let is_refused = matches!(reply.at_once(&self.pair), Some(Err(_)));
            self.reference.happened(act, stand, is_refused, !hows.is_empty());
            self.check_all();
            // A look at packets takes some seconds, too.
            if self.hows_since(before).len() > hows.len() {
                self.reference.came_up();
            }
        }
    }

    /// Whether an SA that was there has had reason for these.
    fn are_proofs(&self, hows: &[How]) -> bool {
        hows.is_empty() || self.making.reauth.is_some() && hows.iter().all(|how| *how == How::Full)
    }

    /// Nobody is in the middle of authenticating again: that would be two SAs.
    fn wait_for_one(&mut self) {
        if self.making.reauth.is_none() {
            return;
        }
        let end = self.pair.world.now() + LONG;
        while !self.is_one() {
            assert!(self.pair.world.now() < end, "{:#?}", self.pair.served());
            self.wait(SECOND);
        }
    }

    fn is_one(&self) -> bool {
        let has_one = |node: &sim::Node| node.plane.children().len() <= 1;
        self.pair.served().len() <= 1 && self.pair.world.nodes().all(has_one)
    }

    /// One thing on the heels of the other, in weather in which all succeed.
    fn hasty(&mut self, mild: Mild, acts: &[(Act, u16)]) {
        self.pair.world.meddler = Some(weather::mild(mild));
        let is_gentle =
            acts.iter().all(|&(act, _)| is_gentle(act)) && self.reference.is_on(Side::Gateway);
        let pause = |millis: u16| Duration::from_millis(millis.into());
        self.disorderly(acts.iter().map(|&(act, millis)| (act, pause(millis))), is_gentle);
    }

    /// Some seconds apart, in weather in which everything may fail.
    fn stormy(&mut self, storm: Storm, acts: &[(Act, u16)]) {
        self.pair.world.meddler = Some(weather::storm(storm, self.pair.client));
        self.pair.world.link = Link { loss: storm.losses[0], ..Link::default() };
        let pause = |secs: u16| SECOND * u32::from(secs);
        self.disorderly(acts.iter().map(|&(act, secs)| (act, pause(secs))), false);
    }

    fn disorderly(&mut self, acts: impl Iterator<Item = (Act, Duration)>, is_gentle: bool) {
        let mut possible = self.reference.possible(is_gentle);
        for (act, pause) in acts {
            if self.reference.can(act) {
                let reply = self.act(act);
                possible.happened(act, matches!(reply.at_once(&self.pair), Some(Err(_))));
                if let Act::Kill(side) | Act::Restart(side) = act {
                    self.reference.is_on[side as usize] = matches!(act, Act::Restart(_));
                }
            }
            self.wait(pause);
        }
        self.calm();
        for side in [Side::Client, Side::Gateway] {
            if !self.reference.is_on(side) {
                self.act(Act::Restart(side));
            }
        }
        self.wait(LONG);
        let stands = possible.in_the_end();
        // What came altered may have looked like a refusal.
        if self.making.kept && self.stand().is_none_or(|stand| !stands.contains(&stand)) {
            self.wait(REFUSED);
        }
        self.wait_for_one();
        let stand = self.stand().unwrap_or_else(|| panic!("{:#?}", self.pair.status()));
        assert!(stands.contains(&stand), "{stand:?} and not one of {stands:?}");
        self.reference.adopt(stand, possible.is_wanted);
        self.check_all();
    }

    /// The weather is good, and so it has been for long.
    fn clear_up(&mut self) {
        self.calm();
        self.ledger.turn_page(&mut self.pair);
    }

    fn calm(&mut self) {
        self.pair.world.meddler = None;
        self.pair.world.link = Link::default();
    }

    /// From wherever it stands it can be brought up and down, and nothing is left.
    fn end(mut self) {
        for side in [Side::Client, Side::Gateway] {
            if !self.reference.is_on(side) {
                self.act(Act::Restart(side));
            }
        }
        self.wait(LONG);
        for (request, id) in std::mem::take(&mut self.asked) {
            let is_answered = self.pair.world.node(id).replies.contains_key(&request);
            assert!(is_answered, "{request:?} of {id:?} is not answered");
        }
        assert_eq!(self.pair.up(), Ok(()));
        self.wait_for_one();
        self.check_joined();
        assert_eq!(self.pair.down(), Ok(()));
        self.wait(LONG);
        self.pair.assert_apart();
        self.pair.assert_empty();
    }

    /// Lets time pass, and looks at everything that happens.
    fn wait(&mut self, time: Duration) {
        let end = self.pair.world.now() + time;
        self.ledger.look(&mut self.pair);
        while self.pair.world.next_time().is_some_and(|next| next <= end) {
            self.pair.world.step();
            self.ledger.look(&mut self.pair);
        }
        self.pair.world.run_for(end - self.pair.world.now());
    }

    fn act(&mut self, act: Act) -> Reply {
        let name = self.pair.name();
        let gateways = "clients".into();
        let rekey = |side, what| match side {
            Side::Client => Command::Rekey(self.pair.name(), what),
            Side::Gateway => Command::Rekey("clients".into(), what),
        };
        match act {
            Act::Up => return self.ask(Side::Client, Command::Up(name)),
            Act::Resume => return self.ask(Side::Client, Command::Resume(name)),
            Act::Suspend => return self.ask(Side::Client, Command::Suspend(name)),
            Act::Down(Side::Client) => return self.ask(Side::Client, Command::Down(name)),
            Act::Down(Side::Gateway) => return self.ask(Side::Gateway, Command::Down(gateways)),
            Act::RekeyChild(side) => return self.ask(side, rekey(side, RekeyWhat::Children)),
            Act::RekeyIke(side) => return self.ask(side, rekey(side, RekeyWhat::IkeSa)),
            Act::Move(last) => self.move_client(last),
            Act::Rebind => {
                if let Some(nat) = self.pair.world.node(self.pair.client).behind {
                    self.pair.world.nat(nat).restart();
                }
            }
            Act::Kill(side) => self.switch(side, false),
            Act::Restart(side) => self.switch(side, true),
            Act::VoidTickets => {
                let now = self.pair.gateway_now();
                self.pair.gateway_endpoint().void_tickets(now);
            }
            Act::Clock(side, secs) => {
                let by = Duration::from_secs(secs.unsigned_abs().into());
                let clock = &mut self.pair.world.node_mut(self.node(side)).clock;
                if secs < 0 { clock.jump_back(by) } else { clock.jump_forward(by) }
            }
            Act::Packet(side) => self.packet(side),
            Act::Replay(which, flip) => self.pair.world.replay(which.into(), flip.map(usize::from)),
        }
        Reply::None
    }

    fn node(&self, side: Side) -> NodeId {
        match side {
            Side::Client => self.pair.client,
            Side::Gateway => self.pair.gateway,
        }
    }

    fn ask(&mut self, side: Side, command: Command) -> Reply {
        let id = self.node(side);
        let request = self.pair.world.command(id, command);
        self.asked.insert(request, id);
        Reply::To(id, request)
    }

    /// A side loses all that it has in memory.
    fn switch(&mut self, side: Side, on: bool) {
        self.ledger.turn_page(&mut self.pair);
        let id = self.node(side);
        self.asked.retain(|_, other| *other != id);
        match side {
            Side::Client => self.pair.restart_client(),
            Side::Gateway => self.pair.restart_gateway(),
        }
        self.pair.world.node_mut(id).replies.clear();
        self.pair.world.node_mut(id).offline = !on;
        if on && side == Side::Client {
            self.keep_up();
        }
    }

    fn keep_up(&mut self) {
        if self.making.kept {
            let now = self.pair.world.node(self.pair.client).clock.at(self.pair.world.now());
            let name = self.pair.name();
            self.pair.client_endpoint().keep_up(now, &name);
            self.pair.settle();
        }
    }

    fn move_client(&mut self, last: u8) {
        let node = self.pair.world.node_mut(self.pair.client);
        let net = if node.behind.is_some() { [192, 168, 1] } else { [192, 0, 2] };
        node.address = IpAddr::V4(Ipv4Addr::new(net[0], net[1], net[2], last));
    }

    /// What is not down is claimed: it leaves sealed, or not at all.
    fn packet(&mut self, side: Side) {
        let (from, to) = ends(side, self.source());
        let inner = packet::udp(from, to, INNER);
        let stage = self.pair.status().stage;
        let outgoing = self.pair.world.send_inner(self.node(side), &inner);
        if side == Side::Client && !matches!(stage, Stage::Down | Stage::Ending) {
            assert!(outgoing != Outgoing::Clear, "in clear while {stage:?}");
        }
    }

    /// How many SAs of the client have come up on this page.
    fn ups(&self) -> usize {
        self.hows_since(0).len()
    }

    fn hows_since(&self, from: usize) -> Vec<How> {
        let how = |event: &Event| match event {
            Event::Up { set_up, .. } => Some(set_up.how),
            _ => None,
        };
        self.pair.client_events().filter_map(how).skip(from).collect()
    }

    /// Where the connection stands, if it stands still.
    fn stand(&self) -> Option<Stand> {
        match self.pair.status().stage {
            Stage::Up => Some(Stand::Up),
            Stage::Down => Some(Stand::Down),
            Stage::Suspended => Some(Stand::Asleep),
            Stage::Connecting | Stage::Ending => None,
        }
    }

    fn check_reply(&self, act: Act, expected: &Expected, reply: Reply) {
        let reply = reply.at_once(&self.pair);
        if let Some(done) = expected.done {
            assert_eq!(reply.as_ref().map(|it| it.is_ok()), Some(done), "{reply:?} to {act:?}");
        }
    }

    fn check_stand(&self, act: Act, expected: &Expected) -> Stand {
        // Without its gateway a restless client goes on trying.
        let Some(stand) = self.stand() else {
            let gateway_is_gone = self.pair.world.node(self.pair.gateway).offline;
            assert!(gateway_is_gone, "after {act:?}: {:#?}", self.pair.status());
            return self.stand_of_restless();
        };
        let is_right = expected.stands.contains(&stand);
        let status = self.pair.status();
        assert!(is_right, "{stand:?} after {act:?}, not as {expected:?}: {status:#?}");
        stand
    }

    fn stand_of_restless(&self) -> Stand {
        if self.pair.status().ticket.is_some() { Stand::Asleep } else { Stand::Down }
    }

    /// Both sides are as the reference says.
    fn check_all(&mut self) {
        match self.reference.stand {
            Stand::Up => self.check_joined(),
            Stand::Down | Stand::Asleep => self.check_apart(),
        }
        let reference = &self.reference;
        let groups = self.pair.world.node(self.pair.client).plane.groups().len();
        assert_eq!(groups, usize::from(reference.is_claimed()), "{reference:?}");
        let is_adrift = reference.is_restless() && !reference.is_on(Side::Gateway);
        if self.making.dynamic && !is_adrift {
            let is_given = reference.stand != Stand::Down;
            assert_eq!(self.inner().is_some(), is_given, "{reference:?}");
        }
    }

    /// One SA and one child on both sides, with one address, and packets flow.
    fn check_joined(&mut self) {
        let (ours, theirs) = (self.pair.status(), self.pair.served());
        assert!(self.pair.is_joined(), "{ours:#?}\n{theirs:#?}");
        let given = theirs[0].sa.as_ref().and_then(|sa| sa.inner.v4);
        assert_eq!(self.inner(), given);
        for side in [Side::Client, Side::Gateway] {
            let (from, to) = ends(side, self.source());
            let (here, there) = (self.node(side), self.node(side.other()));
            let before = self.pair.world.node(there).delivered.len();
            let inner = packet::udp(from, to, INNER);
            assert!(matches!(self.pair.world.send_inner(here, &inner), Outgoing::Sealed(..)));
            self.wait(SECOND);
            let delivered = &self.pair.world.node(there).delivered[before..];
            assert_eq!(delivered, [inner], "from the {side:?}");
        }
    }

    /// The client's inner address, if it was given one.
    fn inner(&self) -> Option<Ipv4Addr> {
        let given = self.pair.world.node(self.pair.client).inner.get(&self.pair.name())?;
        given.addresses.v4
    }

    /// From where its packets come.
    fn source(&self) -> Ipv4Addr {
        self.inner().unwrap_or(INSIDE[0].into())
    }

    fn check_apart(&self) {
        let client = self.pair.world.node(self.pair.client);
        assert!(client.plane.children().is_empty(), "a child is left at the client");
        if !self.reference.is_restless() {
            assert!(self.pair.status().sa.is_none());
        }
        if !self.reference.is_stale {
            let gateway = self.pair.world.node(self.pair.gateway);
            assert!(gateway.plane.children().is_empty(), "a child is left at the gateway");
            assert_eq!(self.pair.served().len(), 0);
        }
    }
}

/// Where the answer to something will be.
#[derive(Clone, Copy)]
enum Reply {
    None,
    To(NodeId, RequestId),
}

impl Reply {
    /// The answer, if it is there by now.
    fn at_once(self, pair: &Pair) -> Option<Result<(), Refusal>> {
        match self {
            Self::None => None,
            Self::To(id, request) => pair.world.node(id).replies.get(&request).cloned(),
        }
    }
}

/// Source and destination of the side's inner packets.
fn ends(side: Side, client: Ipv4Addr) -> (Ipv4Addr, Ipv4Addr) {
    let gateway = INSIDE[1].into();
    match side {
        Side::Client => (client, gateway),
        Side::Gateway => (gateway, client),
    }
}

/// What takes nothing away from somebody who does not know it.
fn is_gentle(act: Act) -> bool {
    !matches!(
        act,
        Act::Down(Side::Gateway)
            | Act::Move(_)
            | Act::Kill(Side::Gateway)
            | Act::Restart(Side::Gateway)
            | Act::Clock(..)
            // The gateway cannot reach a client that waits for it to speak.
            | Act::Rebind
            // Nobody vouches for a message before there are keys.
            | Act::Replay(_, Some(_))
    )
}

fn set(scene: &mut Scene, making: Making) {
    scene.seed = making.seed;
    scene.nat = making.nat.then_some(120 * SECOND);
    scene.client.liveness = Some(20 * SECOND);
    scene.gateway.liveness = Some(20 * SECOND);
    if making.on_traffic {
        scene.client.resumption.trigger = ResumeTrigger::OnTraffic;
    }
    if let Some(secs) = making.reauth {
        let time = SECOND * u32::from(secs);
        // One that has missed its time is not over: there is no gateway to ask.
        scene.client.reauth = Lifetime { rekey: Some(time), spread: time / 10, life: None };
    }
    if making.dynamic {
        let range = |first: [u8; 4], last: [u8; 4]| {
            AddressRange::new(IpAddr::from(first), IpAddr::from(last)).unwrap()
        };
        scene.client.vips = vec!["0.0.0.0"];
        scene.client.dynamic = true;
        scene.client.local_ts = vec!["0.0.0.0/0".into()];
        scene.gateway.dynamic = true;
        scene.gateway.pools = vec![PoolConfig {
            name: "clients".into(),
            ranges: vec![range([10, 1, 0, 2], [10, 1, 0, 5])],
            fixed: Vec::new(),
            network: ike::inner::Network::default(),
        }];
    }
}
