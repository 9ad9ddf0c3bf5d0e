//! Events in the control interface's words.

use std::time::SystemTime;

use control::{Event, What};

/// The same event for a monitor. Both sides have one serialised form
/// (a test walks through all of them), so the way leads through it.
pub(super) fn tell(time: SystemTime, event: &ike::event::Event) -> Event {
    Event { time: seconds(time), what: words(event) }
}

/// What happened, without the time.
pub(super) fn words(event: &ike::event::Event) -> What {
    let value = serde_json::to_value(event);
    value.and_then(serde_json::from_value).unwrap_or_else(|error| {
        tracing::error!("an event has no words in the control interface: {error}");
        What::Unknown
    })
}

/// That events are missing before the one at `time`.
pub(super) fn lost(time: SystemTime, count: u64) -> Event {
    Event { time: seconds(time), what: What::Lost { count } }
}

/// That a monitor is told everything from now on.
#[expect(clippy::disallowed_methods, reason = "the daemon has a clock; the core has none")]
pub(super) fn listening() -> Event {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    Event { time: seconds(SystemTime::now()), what: What::Listening { version } }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use ike::event::{Event, FallBack, Gone, How, Role, SaId, SessionEnd, SetUp, TicketFault};
    use ike::fault::Failure;

    use super::*;

    /// Every event with every reason.
    fn all() -> Vec<Event> {
        let remote: SocketAddr = "192.0.2.1:4500".parse().unwrap();
        let (sa, child, connection) = (SaId(0xab), "net".into(), std::sync::Arc::from("office"));
        let role = Role::Responder;
        let second = Duration::from_millis(1500);
        let set_up = |how| SetUp { how, round_trips: 2, took: second };
        let mut all = vec![
            Event::Started { connection: "a".into(), how: How::Resumed, remote },
            Event::Up {
                connection: "a".into(),
                sa,
                role: Role::Initiator,
                peer: "@peer".into(),
                remote,
                suite: "aes256gcm16-prfsha384-x25519".into(),
                set_up: set_up(How::Full),
            },
            Event::ChildUp {
                connection: "a".into(),
                sa,
                child,
                suite: "aes256gcm16".into(),
                spi_in: "c0ffee01".into(),
                spi_out: "c0ffee02".into(),
                local_ts: vec!["10.0.0.0/8".into()],
                remote_ts: vec!["fd00::/8".into()],
                udp: true,
            },
            Event::Suspended { connection: "a".into(), sa, ticket_len: 300, expires_in: second },
            Event::TicketGranted { connection: "a".into(), len: 300, lifetime: second },
            Event::TicketDenied { connection: "a".into(), later: true },
            Event::TicketIssued { connection: "a".into(), peer: "@peer".into(), len: 300 },
            Event::Moved { connection: "a".into(), sa, remote },
            Event::Failed { connection: None, remote, role, why: Failure::Ended },
        ];
        for why in [
            Gone::Command,
            Gone::PeerDeleted,
            Gone::Unanswered,
            Gone::Replaced,
            Gone::Suspended,
            Gone::Exhausted,
            Gone::Plane,
            Gone::PeerFault,
        ] {
            all.push(Event::Down { connection: "a".into(), sa, why });
            all.push(Event::ChildDown { connection: "a".into(), sa, child: "net".into(), why });
        }
        for why in
            [SessionEnd::Expired, SessionEnd::Refused, SessionEnd::Command, SessionEnd::Replaced]
        {
            all.push(Event::SessionLost { connection: "a".into(), why });
        }
        for why in
            [FallBack::Nack, FallBack::Error(7), FallBack::AuthenticationFailed, FallBack::Silence]
        {
            all.push(Event::FellBack { connection: "a".into(), why });
        }
        for why in [
            TicketFault::UnknownKey,
            TicketFault::Forged,
            TicketFault::Expired,
            TicketFault::Used,
            TicketFault::NotAllowed,
        ] {
            all.push(Event::TicketRefused { remote, why });
        }
        for why in [
            Failure::Unanswered,
            Failure::NoIkeProposal,
            Failure::NoEspProposal,
            Failure::NoTrafficSelectors,
            Failure::RefusedByPeer,
            Failure::PeerNotAuthentic,
            Failure::WrongIdentity,
            Failure::NoSecret,
            Failure::Notify(14),
            Failure::Protocol,
            Failure::BadKeyExchange,
            Failure::NoChild,
            Failure::Plane,
        ] {
            let connection = Some(std::sync::Arc::clone(&connection));
            all.push(Event::Failed { connection, remote, role, why });
        }
        all
    }

    #[test]
    fn every_event_has_the_same_form_on_both_sides() {
        for event in all() {
            let told = tell(SystemTime::UNIX_EPOCH + Duration::from_millis(1500), &event);
            assert!(told.time == 1.5 && told.what != What::Unknown, "{event:?}");
            let (here, there) = (serde_json::to_value(&event), serde_json::to_value(&told.what));
            assert_eq!(here.unwrap(), there.unwrap());
            let text = serde_json::to_string(&told).unwrap();
            assert_eq!(serde_json::from_str::<control::Event>(&text).unwrap(), told);
        }
    }
}
