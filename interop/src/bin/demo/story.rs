//! What is shown, step by step.

use std::time::Duration;

use anyhow::Result;
use control::{FallBack, Gone, How, State, TicketFault, What};
use interop::{Capture, Cygnet};

use crate::configuration;
use crate::evidence::{Evidence, Ike, readable};
use crate::ground::{GATEWAY_INSIDE, Ground, INNER_DEVICE, PLACES};
use crate::stage::{Stage, octets, status_line};
use crate::summary::{self, SetUp};
use crate::timeline::{Timeline, clock};
use crate::transfer::{Sum, Transfer};

const SEED: u64 = 5723;
/// Less than any timer of the protocol.
const AT_ONCE: Duration = Duration::from_millis(100);

const IKE_SA_INIT: u8 = 34;
const IKE_AUTH: u8 = 35;
const IKE_SESSION_RESUME: u8 = 38;

/// Tells all of it. With `keep` the daemons stay when it has ended, well or badly.
///
/// # Errors
/// The first claim that does not hold, or what kept it from being checked.
pub(crate) fn tell(ground: &Ground, timeline: &mut Timeline, keep: bool) -> Result<()> {
    timeline.chapter("Three namespaces, two daemons");
    let mut stage = Stage::set(ground, timeline)?;
    let told = stage.play();
    let Stage { client, gateway, evidence, timeline, .. } = stage;
    if keep {
        client.leave();
        gateway.leave();
    }
    conclude(&told?, evidence, timeline)
}

/// How the set-ups went, and when the last packets were sent.
struct Shown {
    set_ups: [SetUp; 3],
    transferred: Sum,
    last: Duration,
}

fn conclude(shown: &Shown, evidence: Evidence, timeline: &mut Timeline) -> Result<()> {
    timeline.chapter("What strangers saw on the outer links, over the whole run");
    let links = evidence.close(shown.last)?;
    for (link, readings) in ["client", "gateway"].into_iter().zip(&links) {
        let nothing = readings.clear == 0 && readings.esp > 0 && readings.ike > 0;
        timeline.claim(&format!("nothing in clear on the {link}'s link"), nothing, readings)?;
    }
    timeline.chapter("Summary");
    summary::print(&shown.set_ups, shown.transferred.octets, &links);
    let (claims, seconds) = (timeline.claims(), timeline.elapsed().as_secs_f64());
    println!("\n{claims} claims, each checked and true, in {seconds:.1} s.");
    Ok(())
}

impl Stage<'_> {
    fn play(&mut self) -> Result<Shown> {
        let full = self.comes_up()?;
        let inside = Capture::start_whole(&self.ground.client, INNER_DEVICE)?;
        let transfer = self.begins_a_transfer()?;
        self.sleeps_and_is_forgotten(&transfer)?;
        let resumed = self.moves_and_resumes(&transfer)?;
        let refused = self.has_a_bad_ticket(&transfer)?;
        let transferred = self.ends_the_transfer(transfer, inside)?;
        let last = self.wakes_on_traffic()?;
        Ok(Shown { set_ups: [full, resumed, refused], transferred, last })
    }

    fn comes_up(&mut self) -> Result<SetUp> {
        let [home, _] = &PLACES;
        self.timeline.chapter("The client comes up: a full exchange");
        self.show_place(home);
        let full = self.set_up("cygnet up office", Cygnet::up)?;
        self.claim_set_up(&full, How::Full, 2)?;
        self.claim_mapping(home)?;
        self.ping()?;
        Ok(full)
    }

    fn begins_a_transfer(&mut self) -> Result<Transfer> {
        let Ground { client, gateway, .. } = self.ground;
        let transfer = Transfer::start(client, gateway, GATEWAY_INSIDE, SEED)?;
        self.timeline.show("client", format_args!("begins a TCP transfer, {}", transfer.ends()));
        self.claim_progress(&transfer, 0, "it flows, and every octet is compared")?;
        Ok(transfer)
    }

    fn sleeps_and_is_forgotten(&mut self, transfer: &Transfer) -> Result<()> {
        self.timeline.chapter("The client falls asleep, and the gateway forgets it");
        let asked = clock();
        self.client.suspend()?;
        let suspended = clock();
        self.timeline.show("client", "cygnet suspend office, in the middle of the transfer");
        let connection = self.client.connection()?;
        let held = connection.ticket.map_or(0, |ticket| ticket.bytes);
        let sleeps = connection.state == State::Suspended && held > 0;
        let seen = format!("{}, with a ticket of {}", status_line(&connection), octets(held));
        self.timeline.claim("the session sleeps", sleeps, seen)?;

        self.evidence.wait_for_ike(suspended, "a request of the gateway's", |messages| {
            requests_of_gateway(messages) > 0
        })?;
        let stood = transfer.received();
        self.is_forgotten()?;
        self.claim_silence(asked, suspended)?;
        let stands = transfer.received();
        self.timeline.claim("the transfer stands still", stood == stands, octets(stands))
    }

    /// The gateway asks for a sign of life, gets none, and removes the SA.
    fn is_forgotten(&mut self) -> Result<()> {
        self.gateway.wait_for_event("down", |what| match what {
            What::Down { why: Gone::Unanswered, .. } => Some(()),
            _ => None,
        })?;
        self.timeline.show("gateway", "no sign of life: the SA is removed");
        let it = self.gateway.connection()?;
        let forgotten = it.state == State::Down && it.sa.is_none() && it.ticket.is_none();
        self.timeline.claim("the gateway keeps nothing of it", forgotten, status_line(&it))
    }

    fn claim_silence(&mut self, asked: Duration, suspended: Duration) -> Result<()> {
        // What the gateway sends later than a Delete would be on the wire later as well.
        let messages = self.evidence.wait_for_ike(asked, "the gateway's requests", |messages| {
            requests_of_gateway(messages) > 2
        })?;
        let asks = requests_of_gateway(&messages);
        self.timeline
            .show("wire", format_args!("the gateway asked for a sign of life {asks} times"));
        // The answer to such a question may be from before the suspension; a Delete is a request.
        let requests = messages.iter().filter(|it| it.by_client && !it.response).count();
        let seen = format!("{requests} requests of the client");
        self.timeline.claim("no Delete on the wire", requests == 0, seen)?;
        let [home, _] = &PLACES;
        let (before, since) = self.evidence.sent_by(home.client, suspended)?;
        let seen = format!("{before} packets of any kind before the suspension, {since} since");
        self.timeline.claim("the client is silent", before > 0 && since == 0, seen)
    }

    fn moves_and_resumes(&mut self, transfer: &Transfer) -> Result<SetUp> {
        let [_, elsewhere] = &PLACES;
        self.timeline.chapter("The client wakes up elsewhere, and resumes");
        self.ground.move_client(elsewhere)?;
        self.show_place(elsewhere);
        let (since, before) = (clock(), transfer.received());
        let resumed = self.set_up("cygnet resume office", Cygnet::resume)?;
        self.claim_set_up(&resumed, How::Resumed, 2)?;
        self.claim_dialogue(since, &[IKE_SESSION_RESUME, IKE_AUTH])?;
        self.claim_progress(transfer, before, "the same TCP connection goes on")?;
        self.claim_mapping(elsewhere)?;
        self.ping()?;
        Ok(resumed)
    }

    fn has_a_bad_ticket(&mut self, transfer: &Transfer) -> Result<SetUp> {
        self.timeline.chapter("A bad ticket: the gateway dies, and its ticket keys with it");
        self.client.suspend()?;
        self.timeline.show("client", "cygnet suspend office");
        self.gateway.crash_and_restart()?;
        self.timeline.show("gateway", "cygnetd is killed and started again");
        let (since, before) = (clock(), transfer.received());
        let heard = self.client.timed_events()?.len();
        let refused = self.set_up("cygnet up office, which presents the ticket", Cygnet::up)?;
        self.claim_fallback(heard)?;
        self.claim_set_up(&refused, How::Full, 3)?;
        let messages = self.claim_dialogue(since, &[IKE_SESSION_RESUME, IKE_SA_INIT, IKE_AUTH])?;
        self.claim_haste(&messages)?;
        self.claim_progress(transfer, before, "the same TCP connection goes on")?;
        self.ping()?;
        Ok(refused)
    }

    /// From the events of both daemons; the client's since the first `heard`.
    fn claim_fallback(&mut self, heard: usize) -> Result<()> {
        let fault = self.gateway.wait_for_event("ticket refused", |what| match what {
            What::TicketRefused { why, .. } => Some(*why),
            _ => None,
        })?;
        let unknown = fault == TicketFault::UnknownKey;
        self.timeline.claim(
            "the gateway cannot open the ticket",
            unknown,
            format_args!("{fault:?}"),
        )?;
        self.client.wait_for_event("fell back", |what| match what {
            What::FellBack { .. } => Some(()),
            _ => None,
        })?;
        let events = self.client.timed_events()?;
        let news = events.iter().skip(heard);
        let mut why = None;
        for event in news {
            self.timeline.show("monitor", serde_json::to_string(event)?);
            if let What::FellBack { why: reason, .. } = event.what {
                why = Some(reason);
            }
        }
        let nack = why == Some(FallBack::Nack);
        self.timeline.claim("TICKET_NACK made the client fall back", nack, format_args!("{why:?}"))
    }

    /// The full exchange does not wait for anything after the refusal.
    fn claim_haste(&mut self, messages: &[Ike]) -> Result<()> {
        let at = |exchange, response| {
            let is_it = |it: &&Ike| (it.exchange, it.response) == (exchange, response);
            messages.iter().find(is_it).map_or(Duration::ZERO, |it| it.time)
        };
        let gap = at(IKE_SA_INIT, false).saturating_sub(at(IKE_SESSION_RESUME, true));
        let seen = format!("{:.1} ms after the refusal", gap.as_secs_f64() * 1e3);
        self.timeline.claim("the full exchange begins at once", gap < AT_ONCE, seen)
    }

    fn ends_the_transfer(&mut self, transfer: Transfer, inside: Capture) -> Result<Sum> {
        self.timeline.chapter("The transfer ends");
        let ends = transfer.ends();
        let (sent, received) = transfer.finish()?;
        let (count, digest) = (received.octets, received.digest);
        let seen = format!("{count} octets, digest {digest:016x} at both ends, {ends}");
        self.timeline.claim("its data is intact", sent == received, seen)?;
        let packets = readable(&inside.stop()?);
        let seen = format!("in {packets} packets on {INNER_DEVICE}");
        self.timeline.claim(
            "content can be told from noise inside the tunnel",
            packets > 0,
            seen,
        )?;
        Ok(received)
    }

    fn wakes_on_traffic(&mut self) -> Result<Duration> {
        self.timeline.chapter("With resume = \"on-traffic\", a packet wakes the session");
        self.client.restart_with(&configuration::client("on-traffic"))?;
        self.timeline.show("client", "cygnetd is started again, with that setting");
        self.client.up()?;
        self.client.suspend()?;
        let connection = self.client.connection()?;
        let sleeps = connection.state == State::Suspended;
        self.timeline.claim("the session sleeps", sleeps, status_line(&connection))?;
        let last = clock();
        self.ping()?;
        let connection = self.client.connection()?;
        let woken = (connection.state, connection.how) == (State::Up, Some(How::Resumed));
        self.timeline.claim("the pings have woken it", woken, status_line(&connection))?;
        Ok(last)
    }
}

fn requests_of_gateway(messages: &[Ike]) -> usize {
    messages.iter().filter(|it| !it.by_client && !it.response).count()
}
