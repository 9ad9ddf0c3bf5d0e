//! The table at the end.

use std::fmt::{self, Display};

use control::{Connection, How};

use crate::evidence::Readings;

/// One set-up, as both daemons tell of it.
pub(crate) struct SetUp {
    pub(crate) how: Option<How>,
    pub(crate) round_trips: u32,
    pub(crate) milliseconds: f64,
    /// Public-key operations of the client.
    pub(crate) client_operations: u64,
    /// Public-key operations of the gateway.
    pub(crate) gateway_operations: u64,
    /// The ticket that came with it, in octets.
    pub(crate) ticket: u64,
}

impl SetUp {
    pub(crate) fn new(
        connection: &Connection,
        client_operations: u64,
        gateway_operations: u64,
    ) -> Self {
        Self {
            how: connection.how,
            round_trips: connection.round_trips.unwrap_or_default(),
            milliseconds: connection.milliseconds.unwrap_or_default(),
            client_operations,
            gateway_operations,
            ticket: connection.ticket.map_or(0, |ticket| ticket.bytes),
        }
    }
}

impl Display for SetUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            Some(How::Full) => "full",
            Some(How::Resumed) => "resumed",
            None => "not up",
        };
        write!(f, "{how}, {} round trips, {:.1} ms", self.round_trips, self.milliseconds)
    }
}

/// Prints the full exchange, the resumption and the refused one beside each other, and what was
/// carried and seen meanwhile.
pub(crate) fn print(set_ups: &[SetUp; 3], transferred: u64, links: &[Readings; 2]) {
    let columns = set_ups.each_ref();
    row("", ["full exchange", "resume", "refused, then full"]);
    row("milliseconds", columns.map(|it| format!("{:.1}", it.milliseconds)));
    row("round trips", columns.map(|it| it.round_trips));
    row("public-key operations, client", columns.map(|it| it.client_operations));
    row("public-key operations, gateway", columns.map(|it| it.gateway_operations));
    row("ticket, octets", columns.map(|it| it.ticket));
    let (clear, frames) =
        links.iter().fold((0, 0), |(clear, all), it| (clear + it.clear, all + it.frames));
    line("clear-text packets on outer links", format_args!("{clear} of {frames}"));
    line("octets of one TCP connection, intact", transferred);
}

fn row(label: &str, [full, resumed, refused]: [impl Display; 3]) {
    println!("  {label:36}{full:>14}{resumed:>10}{refused:>20}");
}

fn line(label: &str, value: impl Display) {
    println!("  {label:36}{:>14}", value.to_string());
}
