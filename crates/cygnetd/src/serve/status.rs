//! Status in the control interface's words.

use std::collections::BTreeMap;
use std::time::Duration;

use control::{Child, Connection, Counters, How, MAX_LISTED, Role, State, Status, Ticket};
use ike::fault::Discard;
use ike::status::{ChildStatus, ConnectionStatus, SaStatus, Stage, TicketStatus, remaining};
use ike::time::Now;

use super::StatusSnapshot;

/// What a client is told; `None` when there is no connection `name`.
pub(super) fn tell(snapshot: &StatusSnapshot, name: Option<&str>) -> Option<Status> {
    let wanted = |connection: &&ConnectionStatus| name.is_none_or(|name| &*connection.name == name);
    let found = || snapshot.endpoint.connections.iter().filter(wanted);
    let count = found().count();
    if name.is_some() && count == 0 {
        return None;
    }
    Some(Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        connections: found().take(MAX_LISTED).map(|it| connection(it, snapshot)).collect(),
        omitted: count.saturating_sub(MAX_LISTED) as u64,
        drops: drops(snapshot),
        plane_drops: occurred(snapshot.plane_drops.iter().copied()),
        counters: counters(snapshot),
    })
}

fn connection(status: &ConnectionStatus, snapshot: &StatusSnapshot) -> Connection {
    let now = &snapshot.now;
    let assigned = status.assigned.as_deref();
    let network = assigned.map(|it| &it.network);
    let bare = Connection {
        name: status.name.to_string(),
        state: state(status.stage),
        ticket: status.ticket.map(|it| ticket(it, now)),
        sa: None,
        role: None,
        local: None,
        remote: None,
        local_id: None,
        remote_id: None,
        suite: None,
        ppk: None,
        how: None,
        round_trips: None,
        milliseconds: None,
        since: None,
        rekey_in: None,
        inner: assigned.map_or_else(Vec::new, |it| texts(it.addresses.iter())),
        dns: network.map_or_else(Vec::new, |it| texts(&it.dns)),
        domains: network.map_or_else(Vec::new, |it| texts(&it.domains)),
        children: Vec::new(),
    };
    match &status.sa {
        Some(sa) => with_sa(bare, sa, snapshot),
        None => bare,
    }
}

fn with_sa(bare: Connection, sa: &SaStatus, snapshot: &StatusSnapshot) -> Connection {
    Connection {
        sa: Some(sa.id.to_string()),
        role: Some(role(sa.role)),
        local: Some(sa.local.to_string()),
        remote: Some(sa.remote.to_string()),
        local_id: Some(sa.local_id.clone()),
        remote_id: sa.remote_id.clone(),
        suite: sa.suite.clone(),
        ppk: sa.ppk.as_deref().map(str::to_owned),
        how: sa.set_up.map(|set_up| how(set_up.how)),
        round_trips: sa.set_up.map(|set_up| set_up.round_trips),
        milliseconds: sa.set_up.map(|set_up| milliseconds(set_up.took)),
        since: sa.since.map(|since| snapshot.now.instant.since(since).as_secs_f64()),
        rekey_in: sa.rekey_at.map(|at| at.since(snapshot.now.instant).as_secs_f64()),
        inner: if sa.inner.is_empty() { bare.inner } else { texts(sa.inner.iter()) },
        children: sa.children.iter().map(|it| child(it, snapshot)).collect(),
        ..bare
    }
}

fn child(status: &ChildStatus, snapshot: &StatusSnapshot) -> Child {
    let carried = snapshot.traffic.get(&status.id).copied().unwrap_or_default();
    Child {
        name: status.name.to_string(),
        suite: status.suite.clone(),
        mode: status.mode.to_string(),
        spi_in: status.spi_in.to_string(),
        spi_out: status.spi_out.to_string(),
        udp: status.udp,
        tcp: status.tcp,
        local_ts: status.local_ts.iter().map(ToString::to_string).collect(),
        remote_ts: status.remote_ts.iter().map(ToString::to_string).collect(),
        bytes_in: carried.bytes_in,
        packets_in: carried.packets_in,
        bytes_out: carried.bytes_out,
        packets_out: carried.packets_out,
        rekey_in: status.rekey_at.map(|at| at.since(snapshot.now.instant).as_secs_f64()),
    }
}

fn ticket(status: TicketStatus, now: &Now) -> Ticket {
    Ticket {
        bytes: status.len as u64,
        remaining_seconds: remaining(status.expires, now.wall).as_secs_f64(),
    }
}

fn texts(list: impl IntoIterator<Item: ToString>) -> Vec<String> {
    list.into_iter().map(|item| item.to_string()).collect()
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

const fn state(stage: Stage) -> State {
    match stage {
        Stage::Down => State::Down,
        Stage::Connecting => State::Connecting,
        Stage::Up => State::Up,
        Stage::Suspended => State::Suspended,
        Stage::Ending => State::Ending,
    }
}

const fn role(role: ike::event::Role) -> Role {
    match role {
        ike::event::Role::Initiator => Role::Initiator,
        ike::event::Role::Responder => Role::Responder,
    }
}

const fn how(how: ike::event::How) -> How {
    match how {
        ike::event::How::Full => How::Full,
        ike::event::How::Resumed => How::Resumed,
    }
}

fn counters(snapshot: &StatusSnapshot) -> Counters {
    let counted = &snapshot.endpoint.counters;
    Counters {
        full: counted.full,
        resumed: counted.resumed,
        failed: counted.failed,
        tickets_issued: counted.tickets_issued,
        tickets_refused: counted.tickets_refused,
        cookies: counted.cookies,
        retransmissions: counted.retransmissions,
        public_key_operations: snapshot.public_key_operations,
        half_open: snapshot.endpoint.half_open as u64,
    }
}

fn drops(snapshot: &StatusSnapshot) -> BTreeMap<String, u64> {
    let counted = &snapshot.endpoint.counters;
    occurred(Discard::ALL.iter().map(|&why| (spelled(why), counted.discarded(why))))
}

fn occurred(counts: impl Iterator<Item = (impl Into<String>, u64)>) -> BTreeMap<String, u64> {
    counts.filter(|&(_, count)| count > 0).map(|(name, count)| (name.into(), count)).collect()
}

/// The name that the reason has everywhere: its serialised form.
fn spelled(why: Discard) -> String {
    match serde_json::to_value(why) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(_) | Err(_) => format!("{why:?}"),
    }
}
