//! What the fuzz target `ticket` runs on each input, and the tests on its
//! corpus. Not for use elsewhere.

use std::time::{Duration, SystemTime};

use crypto::Provider;

use super::record::{self, Resumable};
use super::ticket::{self, ConnectionMark, Origin, TicketIssuer};
use crate::time::{Instant, Now};

/// Octets as a ticket, as what a ticket seals, and as a session record.
pub fn ticket(octets: &[u8]) {
    let now = Now {
        instant: Instant::from_nanos(0),
        wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
    };
    let mut provider = Provider::seeded(1);
    let issuer = TicketIssuer::new(&mut provider, Duration::from_secs(3600), now);
    assert!(issuer.open(octets, now.wall).is_err(), "a ticket that nobody issued");
    if let Ok(presented) = ticket::decode(octets) {
        assert_canonical(&presented.state);
    }
    let mut rest = octets;
    if let Ok(state) = record::decode(&mut rest) {
        let consumed = octets.len() - rest.len();
        assert_eq!(octets.get(..consumed), Some(assert_canonical(&state).as_slice()));
        assert_issued_opens(&issuer, &mut provider, &state, now);
    }
}

/// Encoding gives one form only, which decoding takes as a whole.
fn assert_canonical(state: &Resumable) -> Vec<u8> {
    let mut encoded = Vec::new();
    record::encode(state, &mut encoded);
    let mut rest = encoded.as_slice();
    let again = record::decode(&mut rest);
    let mut twice = Vec::new();
    if let Ok(again) = &again {
        record::encode(again, &mut twice);
    }
    assert!(rest.is_empty() && twice == encoded, "decoding what was encoded is not the identity");
    encoded
}

/// What is issued for a state opens to that state.
fn assert_issued_opens(
    issuer: &TicketIssuer,
    provider: &mut Provider,
    state: &Resumable,
    now: Now,
) {
    let expires = now.wall + Duration::from_secs(60);
    let origin = Origin { spi: 7, connection: ConnectionMark::of("clients") };
    let Some(issued) = issuer.issue(provider, state, origin, expires) else { return };
    assert!(issued.octets().len() <= ticket::MAX_ISSUED);
    let opened = issuer.open(issued.octets(), now.wall);
    let same = opened.is_ok_and(|presented| {
        presented.expires == expires
            && presented.origin == origin
            && assert_canonical(&presented.state) == assert_canonical(state)
    });
    assert!(same, "a ticket does not open to what it was issued for");
}
