//! What there is: a table of all, or one in detail.

use std::fmt::Write as _;

use control::{Child, Client, Connection, How, Role, Status};

use crate::Problem;
use crate::format::{Colours, plain, set_up, size, span, state, write};

pub(crate) async fn run(mut client: Client, name: Option<&str>, json: bool) -> Result<(), Problem> {
    let status = client.status(name).await?;
    let colours = Colours::of_stdout();
    let text = match (json, name) {
        (true, _) => serde_json::to_string_pretty(&status).map_err(std::io::Error::from)? + "\n",
        (false, Some(_)) => status.connections.iter().map(|it| detail(it, colours)).collect(),
        (false, None) => table(&status, colours),
    };
    Ok(write(text.as_bytes())?)
}

const HEADINGS: [&str; 8] = ["NAME", "STATE", "PEER", "SET UP", "SINCE", "TICKET", "IN", "OUT"];

fn table(status: &Status, colours: Colours) -> String {
    let rows: Vec<_> = status.connections.iter().map(row).collect();
    let widths = widths(&rows);
    let mut text = colours.heading(&line(&HEADINGS.map(str::to_owned), &widths)) + "\n";
    for (connection, row) in status.connections.iter().zip(&rows) {
        let plain = line(row, &widths);
        let word = state(connection.state);
        let painted = colours.state(connection.state, word);
        // The name may be "up" as well: the state is the one after the name's column.
        let start = widths.first().map_or(0, |width| width + 2);
        let (before, after) = plain.split_at_checked(start).unwrap_or((&plain, ""));
        let after = after.strip_prefix(word).unwrap_or(after);
        let _ = writeln!(text, "{before}{painted}{after}");
    }
    text + &summary(status)
}

fn row(connection: &Connection) -> [String; HEADINGS.len()] {
    let or_none = |text: Option<String>| text.map_or_else(|| "-".to_owned(), |text| plain(&text));
    let sum = |of: fn(&Child) -> u64| connection.children.iter().map(of).sum::<u64>();
    let traffic = |of| (!connection.children.is_empty()).then(|| size(sum(of)));
    [
        plain(&connection.name),
        state(connection.state).to_owned(),
        or_none(peer(connection)),
        or_none(set_up(connection)),
        or_none(connection.since.map(span)),
        or_none(connection.ticket.map(|ticket| span(ticket.remaining_seconds))),
        or_none(traffic(|child| child.bytes_in)),
        or_none(traffic(|child| child.bytes_out)),
    ]
}

fn peer(connection: &Connection) -> Option<String> {
    match (&connection.remote_id, &connection.remote) {
        (Some(id), Some(address)) => Some(format!("{id} at {address}")),
        (None, Some(address)) => Some(address.clone()),
        (Some(id), None) => Some(id.clone()),
        (None, None) => None,
    }
}

fn widths(rows: &[[String; HEADINGS.len()]]) -> [usize; HEADINGS.len()] {
    let mut widths = HEADINGS.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.len().max(*width);
        }
    }
    widths
}

fn line(cells: &[String; HEADINGS.len()], widths: &[usize; HEADINGS.len()]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        let _ = write!(line, "{cell:width$}  ");
    }
    line.trim_end().to_owned()
}

fn summary(status: &Status) -> String {
    let counters = &status.counters;
    let mut text = String::new();
    if status.omitted > 0 {
        let _ = writeln!(text, "... and {} more", status.omitted);
    }
    let _ = writeln!(
        text,
        "\nSince its start, cygnetd {} set up {} by full exchange and {} by resumption; {} failed.",
        plain(&status.version),
        counters.full,
        counters.resumed,
        counters.failed
    );
    for (what, drops) in [("datagrams", &status.drops), ("packets", &status.plane_drops)] {
        if !drops.is_empty() {
            let list: Vec<_> = drops.iter().map(|(why, count)| format!("{why} {count}")).collect();
            let _ = writeln!(text, "Dropped {what}: {}.", plain(&list.join(", ")));
        }
    }
    text
}

fn detail(connection: &Connection, colours: Colours) -> String {
    let word = colours.state(connection.state, state(connection.state));
    let mut text = format!("{}: {word}\n", colours.heading(&plain(&connection.name)));
    for (label, value) in facts(connection) {
        let _ = writeln!(text, "  {:<10} {}", plain(&label), plain(&value));
    }
    text
}

fn facts(connection: &Connection) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |label: &str, value: Option<String>| {
        if let Some(value) = value {
            facts.push((label.to_owned(), value));
        }
    };
    add("local", end(connection.local_id.as_deref(), connection.local.as_deref()));
    add("remote", end(connection.remote_id.as_deref(), connection.remote.as_deref()));
    add("IKE SA", sa(connection));
    add("", connection.rekey_in.map(new_keys));
    add("PPK", connection.ppk.as_ref().map(|name| format!("\"{name}\"")));
    add("set up", how(connection));
    add(
        "ticket",
        connection.ticket.map(|ticket| {
            format!("{} octets, good for {}", ticket.bytes, span(ticket.remaining_seconds))
        }),
    );
    let list = |list: &[String]| (!list.is_empty()).then(|| list.join(", "));
    add("inner", list(&connection.inner));
    add("DNS", list(&connection.dns));
    add("domains", list(&connection.domains));
    for child in &connection.children {
        let (ours, theirs) = (child.local_ts.join(","), child.remote_ts.join(","));
        add("child", Some(format!("{}: {ours} = {theirs}", child.name)));
        let form = match child {
            Child { tcp: true, .. } => "in TCP",
            Child { udp: true, .. } => "in UDP",
            Child { .. } => "plain",
        };
        let (spi_in, spi_out) = (&child.spi_in, &child.spi_out);
        let mode = if child.mode == "tunnel" { "" } else { "transport mode, " };
        let suite = &child.suite;
        add("", Some(format!("{mode}{suite} {form}, SPIs {spi_in} in, {spi_out} out")));
        add("", Some(traffic(child)));
        add("", child.rekey_in.map(new_keys));
    }
    facts
}

fn end(id: Option<&str>, address: Option<&str>) -> Option<String> {
    match (id, address) {
        (Some(id), Some(address)) => Some(format!("{id} at {address}")),
        (id, address) => id.or(address).map(str::to_owned),
    }
}

fn sa(connection: &Connection) -> Option<String> {
    let role = match connection.role? {
        Role::Initiator => "begun by us",
        Role::Responder => "begun by the peer",
    };
    let suite = connection.suite.as_deref().unwrap_or("no suite yet");
    Some(format!("{}, {role}, {suite}", connection.sa.as_deref()?))
}

fn how(connection: &Connection) -> Option<String> {
    let since = connection.since.map_or_else(String::new, |since| format!(", {} ago", span(since)));
    let public_key = match connection.how? {
        How::Full => "",
        How::Resumed => ", no public-key operation",
    };
    Some(format!("{}{since}{public_key}", set_up(connection)?))
}

fn new_keys(seconds: f64) -> String {
    format!("new keys in {}", span(seconds))
}

fn traffic(child: &Child) -> String {
    let of = |octets, packets| format!("{} ({packets} packets)", size(octets));
    let received = of(child.bytes_in, child.packets_in);
    let sent = of(child.bytes_out, child.packets_out);
    format!("received {received}, sent {sent}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use control::{Counters, State, Ticket};

    use super::*;

    fn bare(name: &str, state: State) -> Connection {
        let text = format!("{{\"name\":\"{name}\",\"state\":\"down\",\"children\":[]}}");
        Connection { state, ..serde_json::from_str(&text).unwrap() }
    }

    fn office() -> Connection {
        Connection {
            sa: Some("0123456789abcdef".into()),
            role: Some(Role::Initiator),
            local: Some("10.77.0.1:4500".into()),
            remote: Some("10.77.0.2:4500".into()),
            local_id: Some("@dut".into()),
            remote_id: Some("@peer".into()),
            suite: Some("aes256gcm16-prfsha384-x25519".into()),
            ppk: Some("office-2026".into()),
            how: Some(How::Resumed),
            round_trips: Some(2),
            milliseconds: Some(12.34),
            since: Some(11_525.0),
            rekey_in: Some(2_500.0),
            ticket: Some(Ticket { bytes: 312, remaining_seconds: 86_399.0 }),
            children: vec![Child {
                name: "net".into(),
                suite: "aes256gcm16".into(),
                mode: "tunnel".into(),
                spi_in: "c0ffee01".into(),
                spi_out: "c0ffee02".into(),
                udp: true,
                tcp: false,
                local_ts: vec!["10.91.0.0/24".into()],
                remote_ts: vec!["10.92.0.0/24".into()],
                bytes_in: 12_582_912,
                packets_in: 9_000,
                bytes_out: 840,
                packets_out: 10,
                rekey_in: Some(3_000.0),
            }],
            ..bare("office", State::Up)
        }
    }

    fn status() -> Status {
        Status {
            version: "0.1.0".into(),
            connections: vec![office(), bare("up", State::Suspended)],
            omitted: 0,
            drops: BTreeMap::from([("malformed".into(), 3), ("reflected".into(), 1)]),
            plane_drops: BTreeMap::new(),
            counters: Counters { full: 1, resumed: 2, ..Counters::default() },
        }
    }

    #[test]
    fn all_connections_are_a_table() {
        assert_eq!(
            table(&status(), Colours::none()),
            "\
NAME    STATE      PEER                     SET UP                             SINCE   TICKET   IN        OUT
office  up         @peer at 10.77.0.2:4500  resumed in 2 round trips, 12.3 ms  3h 12m  23h 59m  12.0 MiB  840 B
up      suspended  -                        -                                  -       -        -         -

Since its start, cygnetd 0.1.0 set up 1 by full exchange and 2 by resumption; 0 failed.
Dropped datagrams: malformed 3, reflected 1.
"
        );
    }

    #[test]
    fn one_connection_is_told_in_detail() {
        assert_eq!(
            detail(&office(), Colours::none()),
            "\
office: up
  local      @dut at 10.77.0.1:4500
  remote     @peer at 10.77.0.2:4500
  IKE SA     0123456789abcdef, begun by us, aes256gcm16-prfsha384-x25519
             new keys in 41m 40s
  PPK        \"office-2026\"
  set up     resumed in 2 round trips, 12.3 ms, 3h 12m ago, no public-key operation
  ticket     312 octets, good for 23h 59m
  child      net: 10.91.0.0/24 = 10.92.0.0/24
             aes256gcm16 in UDP, SPIs c0ffee01 in, c0ffee02 out
             received 12.0 MiB (9000 packets), sent 840 B (10 packets)
             new keys in 50m 0s
"
        );
    }
}
