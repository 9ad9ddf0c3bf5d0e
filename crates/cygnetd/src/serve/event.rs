//! Events in the control interface's words.

use std::sync::Arc;
use std::time::SystemTime;

use control::{Event, What};
use ike::event as core;
use ike::fault;

/// The same event for a monitor.
pub(super) fn tell(time: SystemTime, event: &core::Event) -> Event {
    Event { time: seconds(time), what: words(event) }
}

/// What happened, without the time. Both sides have one serialised form; a
/// test walks through all events.
pub(super) fn words(event: &core::Event) -> What {
    use core::Event as E;
    match event {
        E::Started { connection, how: it, remote } => {
            What::Started { connection: text(connection), how: how(*it), remote: text(remote) }
        }
        E::Up { connection, sa, role: side, peer, remote, suite, set_up: it } => What::Up {
            connection: text(connection),
            sa: text(sa),
            role: role(*side),
            peer: text(peer),
            remote: text(remote),
            suite: text(suite),
            set_up: set_up(it),
        },
        E::ChildUp {
            connection,
            sa,
            child,
            suite,
            mode,
            spi_in,
            spi_out,
            local_ts,
            remote_ts,
            udp,
            tcp,
        } => What::ChildUp {
            connection: text(connection),
            sa: text(sa),
            child: text(child),
            suite: text(suite),
            mode: text(mode),
            spi_in: text(spi_in),
            spi_out: text(spi_out),
            local_ts: local_ts.iter().map(text).collect(),
            remote_ts: remote_ts.iter().map(text).collect(),
            udp: *udp,
            tcp: *tcp,
        },
        E::ChildRekeyed { connection, sa, child, by, suite, spi_in, spi_out } => {
            What::ChildRekeyed {
                connection: text(connection),
                sa: text(sa),
                child: text(child),
                by: role(*by),
                suite: text(suite),
                spi_in: text(spi_in),
                spi_out: text(spi_out),
            }
        }
        E::Rekeyed { connection, sa, successor, by, suite } => What::Rekeyed {
            connection: text(connection),
            sa: text(sa),
            successor: text(successor),
            by: role(*by),
            suite: text(suite),
        },
        E::RekeyFailed { connection, sa, child, why } => What::RekeyFailed {
            connection: text(connection),
            sa: text(sa),
            child: child.as_ref().map(text),
            why: failure(why),
        },
        E::ChildFailed { connection, sa, child, why } => What::ChildFailed {
            connection: text(connection),
            sa: text(sa),
            child: text(child),
            why: failure(why),
        },
        E::ChildDown { connection, sa, child, why } => What::ChildDown {
            connection: text(connection),
            sa: text(sa),
            child: text(child),
            why: gone(*why),
        },
        E::Down { connection, sa, why } => {
            What::Down { connection: text(connection), sa: text(sa), why: gone(*why) }
        }
        E::Suspended { connection, sa, ticket_len, expires_in } => What::Suspended {
            connection: text(connection),
            sa: text(sa),
            ticket_len: *ticket_len,
            expires_in: *expires_in,
        },
        E::SessionLost { connection, why } => {
            What::SessionLost { connection: text(connection), why: session_end(*why) }
        }
        E::FellBack { connection, why } => {
            What::FellBack { connection: text(connection), why: fall_back(*why) }
        }
        E::TicketGranted { connection, len, lifetime } => {
            What::TicketGranted { connection: text(connection), len: *len, lifetime: *lifetime }
        }
        E::TicketDenied { connection, later } => {
            What::TicketDenied { connection: text(connection), later: *later }
        }
        E::TicketIssued { connection, peer, len } => {
            What::TicketIssued { connection: text(connection), peer: text(peer), len: *len }
        }
        E::TicketRefused { remote, why } => {
            What::TicketRefused { remote: text(remote), why: ticket_fault(*why) }
        }
        E::Failed { connection, peer, remote, role: side, why } => What::Failed {
            connection: connection.as_ref().map(text),
            peer: peer.as_ref().map(text),
            remote: remote.as_ref().map(text),
            role: role(*side),
            why: failure(why),
        },
        E::TriedInVain { connection, remote, why } => What::TriedInVain {
            connection: text(connection),
            remote: text(remote),
            why: failure(why),
        },
        E::Unresolved { connection, name, why, known } => What::Unresolved {
            connection: text(connection),
            name: text(name),
            why: lookup_fault(*why),
            known: known.iter().map(text).collect(),
        },
        E::AddressesReceived { connection, addresses, dns, domains } => What::AddressesReceived {
            connection: text(connection),
            addresses: addresses.iter().map(text).collect(),
            dns: dns.iter().map(text).collect(),
            domains: domains.iter().map(text).collect(),
        },
        E::AddressesGiven { connection, peer, addresses } => What::AddressesGiven {
            connection: text(connection),
            peer: text(peer),
            addresses: addresses.iter().map(text).collect(),
        },
        E::PoolExhausted { connection, peer } => {
            What::PoolExhausted { connection: text(connection), peer: text(peer) }
        }
        E::Reconfigured(of) => What::Reconfigured(changes(of)),
        E::Moved { connection, sa, local, remote, tcp } => What::Moved {
            connection: text(connection),
            sa: text(sa),
            local: text(local),
            remote: text(remote),
            tcp: *tcp,
        },
        E::Redirected { connection, from, to } => {
            What::Redirected { connection: text(connection), from: text(from), to: text(to) }
        }
        E::RedirectRefused { connection, from, to, why } => What::RedirectRefused {
            connection: text(connection),
            from: text(from),
            to: text(to),
            why: redirect_fault(*why),
        },
        E::PeerRedirected { connection, remote, to } => What::PeerRedirected {
            connection: connection.as_ref().map(text),
            remote: text(remote),
            to: text(to),
        },
    }
}

/// What a configuration has changed.
pub(super) fn changes(of: &ike::Changes) -> control::Changes {
    let names = |list: &[Arc<str>]| list.iter().map(text).collect();
    control::Changes {
        added: names(&of.added),
        altered: names(&of.altered),
        removed: names(&of.removed),
    }
}

fn text(value: impl ToString) -> String {
    value.to_string()
}

const fn how(it: core::How) -> control::How {
    match it {
        core::How::Full => control::How::Full,
        core::How::Resumed => control::How::Resumed,
    }
}

const fn role(it: core::Role) -> control::Role {
    match it {
        core::Role::Initiator => control::Role::Initiator,
        core::Role::Responder => control::Role::Responder,
    }
}

const fn set_up(it: &core::SetUp) -> control::SetUp {
    control::SetUp { how: how(it.how), round_trips: it.round_trips, took: it.took }
}

const fn gone(why: core::Gone) -> control::Gone {
    match why {
        core::Gone::Command => control::Gone::Command,
        core::Gone::PeerDeleted => control::Gone::PeerDeleted,
        core::Gone::Unanswered => control::Gone::Unanswered,
        core::Gone::PeerRestarted => control::Gone::PeerRestarted,
        core::Gone::Replaced => control::Gone::Replaced,
        core::Gone::Suspended => control::Gone::Suspended,
        core::Gone::Exhausted => control::Gone::Exhausted,
        core::Gone::Plane => control::Gone::Plane,
        core::Gone::Moved => control::Gone::Moved,
        core::Gone::AuthExpired => control::Gone::AuthExpired,
        core::Gone::PeerFault => control::Gone::PeerFault,
    }
}

const fn session_end(why: core::SessionEnd) -> control::SessionEnd {
    match why {
        core::SessionEnd::Expired => control::SessionEnd::Expired,
        core::SessionEnd::Refused => control::SessionEnd::Refused,
        core::SessionEnd::Command => control::SessionEnd::Command,
        core::SessionEnd::Replaced => control::SessionEnd::Replaced,
    }
}

const fn fall_back(why: core::FallBack) -> control::FallBack {
    match why {
        core::FallBack::Nack => control::FallBack::Nack,
        core::FallBack::Error(notify) => control::FallBack::Error(notify),
        core::FallBack::AuthenticationFailed => control::FallBack::AuthenticationFailed,
        core::FallBack::Silence => control::FallBack::Silence,
    }
}

const fn ticket_fault(why: core::TicketFault) -> control::TicketFault {
    match why {
        core::TicketFault::UnknownKey => control::TicketFault::UnknownKey,
        core::TicketFault::Forged => control::TicketFault::Forged,
        core::TicketFault::Expired => control::TicketFault::Expired,
        core::TicketFault::Used => control::TicketFault::Used,
        core::TicketFault::NotAllowed => control::TicketFault::NotAllowed,
        core::TicketFault::Distrusted => control::TicketFault::Distrusted,
    }
}

const fn lookup_fault(why: core::LookupFault) -> control::LookupFault {
    match why {
        core::LookupFault::NoAddress => control::LookupFault::NoAddress,
        core::LookupFault::NoAnswer => control::LookupFault::NoAnswer,
    }
}

const fn redirect_fault(why: core::RedirectFault) -> control::RedirectFault {
    match why {
        core::RedirectFault::TooMany => control::RedirectFault::TooMany,
        core::RedirectFault::UnknownGateway => control::RedirectFault::UnknownGateway,
    }
}

fn failure(why: &fault::Failure) -> control::Failure {
    use control::Failure as F;
    match why {
        fault::Failure::Unanswered => F::Unanswered,
        fault::Failure::Unresolved => F::Unresolved,
        fault::Failure::NoIkeProposal => F::NoIkeProposal,
        fault::Failure::NoEspProposal => F::NoEspProposal,
        fault::Failure::NoTrafficSelectors => F::NoTrafficSelectors,
        fault::Failure::RefusedByPeer => F::RefusedByPeer,
        fault::Failure::PeerNotAuthentic => F::PeerNotAuthentic,
        fault::Failure::OtherMethod => F::OtherMethod,
        fault::Failure::Certificate(refused) => F::Certificate(certificate_refused(refused)),
        fault::Failure::NoCommonSignature => F::NoCommonSignature,
        fault::Failure::WrongIdentity => F::WrongIdentity,
        fault::Failure::NoSecret => F::NoSecret,
        fault::Failure::NoPpk => F::NoPpk,
        fault::Failure::NoChildless => F::NoChildless,
        fault::Failure::Notify(notify) => F::Notify(*notify),
        fault::Failure::Protocol => F::Protocol,
        fault::Failure::BadKeyExchange => F::BadKeyExchange,
        fault::Failure::NoAddress => F::NoAddress,
        fault::Failure::NoChild => F::NoChild,
        fault::Failure::TooManySas => F::TooManySas,
        fault::Failure::Full => F::Full,
        fault::Failure::NotUnique => F::NotUnique,
        fault::Failure::Plane => F::Plane,
        fault::Failure::UnexpectedNat => F::UnexpectedNat,
        fault::Failure::Redirected => F::Redirected,
        fault::Failure::NoTransportMode => F::NoTransportMode,
        fault::Failure::Ended => F::Ended,
    }
}

fn certificate_refused(it: &pki::Refused) -> control::CertificateRefused {
    let subject = it.subject.as_ref().map(text);
    control::CertificateRefused { check: certificate_fault(it.check), subject }
}

const fn certificate_fault(why: pki::Refusal) -> control::CertificateFault {
    use control::CertificateFault as F;
    match why {
        pki::Refusal::Missing => F::Missing,
        pki::Refusal::TooMuch => F::TooMuch,
        pki::Refusal::Malformed => F::Malformed,
        pki::Refusal::Key => F::Key,
        pki::Refusal::Algorithm => F::Algorithm,
        pki::Refusal::UnknownIssuer => F::UnknownIssuer,
        pki::Refusal::Signature => F::Signature,
        pki::Refusal::Expired => F::Expired,
        pki::Refusal::NotYetValid => F::NotYetValid,
        pki::Refusal::Revoked => F::Revoked,
        pki::Refusal::NoRevocationList => F::NoRevocationList,
        pki::Refusal::RevocationList => F::RevocationList,
        pki::Refusal::KeyUsage => F::KeyUsage,
        pki::Refusal::ExtendedKeyUsage => F::ExtendedKeyUsage,
        pki::Refusal::BasicConstraints => F::BasicConstraints,
        pki::Refusal::PathLength => F::PathLength,
        pki::Refusal::NameConstraints => F::NameConstraints,
        pki::Refusal::CriticalExtension => F::CriticalExtension,
        pki::Refusal::Identity => F::Identity,
        pki::Refusal::UnknownKey => F::UnknownKey,
    }
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

    use crypto::{AdditionalGroups, EspCipher, Group, IkeCipher, IkeSuite, KeyLen, PrfAlg};
    use esp::spec::{Mode, Selector, Spi};
    use ike::event::{
        Event, FallBack, Gone, How, LookupFault, RedirectFault, Role, SaId, SessionEnd, SetUp,
        Shown, TicketFault,
    };
    use ike::fault::Failure;
    use pki::Refusal;

    use super::*;

    /// Every event with every reason.
    fn all() -> Vec<Event> {
        let remote: SocketAddr = "192.0.2.1:4500".parse().unwrap();
        let (sa, child, connection) = (SaId(0xab), "net".into(), Arc::from("office"));
        let role = Role::Responder;
        let second = Duration::from_millis(1500);
        let set_up = |how| SetUp { how, round_trips: 2, took: second };
        let mut all = vec![
            Event::Started { connection: "a".into(), how: How::Resumed, remote },
            Event::Up {
                connection: "a".into(),
                sa,
                role: Role::Initiator,
                peer: Shown("@peer".parse().unwrap()),
                remote,
                suite: Shown(IkeSuite {
                    cipher: IkeCipher::AesGcm16(KeyLen::L256),
                    prf: PrfAlg::HmacSha384,
                    group: Group::X25519,
                    additional: AdditionalGroups::NONE,
                }),
                set_up: set_up(How::Full),
            },
            Event::ChildUp {
                connection: "a".into(),
                sa,
                child,
                suite: Shown(EspCipher::ChaCha20Poly1305.into()),
                mode: Shown(Mode::Tunnel),
                spi_in: Shown(Spi::new(0xc0ff_ee01).unwrap()),
                spi_out: Shown(Spi::new(0xc0ff_ee02).unwrap()),
                local_ts: vec![Shown(Selector::subnet([10, 0, 0, 0].into(), 8))],
                remote_ts: vec![Shown(Selector::subnet("fd00::".parse().unwrap(), 8))],
                udp: true,
                tcp: false,
            },
            Event::ChildRekeyed {
                connection: "a".into(),
                sa,
                child: "net".into(),
                by: role,
                suite: Shown(EspCipher::ChaCha20Poly1305.into()),
                spi_in: Shown(Spi::new(0xc0ff_ee01).unwrap()),
                spi_out: Shown(Spi::new(0xc0ff_ee02).unwrap()),
            },
            Event::Rekeyed {
                connection: "a".into(),
                sa,
                successor: sa,
                by: role,
                suite: Shown(IkeSuite {
                    cipher: IkeCipher::AesGcm16(KeyLen::L256),
                    prf: PrfAlg::HmacSha384,
                    group: Group::X25519,
                    additional: AdditionalGroups::NONE,
                }),
            },
            Event::RekeyFailed {
                connection: "a".into(),
                sa,
                child: Some("net".into()),
                why: Failure::NoEspProposal,
            },
            Event::ChildFailed {
                connection: "a".into(),
                sa,
                child: "net".into(),
                why: Failure::NoTrafficSelectors,
            },
            Event::Suspended { connection: "a".into(), sa, ticket_len: 300, expires_in: second },
            Event::TicketGranted { connection: "a".into(), len: 300, lifetime: second },
            Event::TicketDenied { connection: "a".into(), later: true },
            Event::TicketIssued {
                connection: "a".into(),
                peer: Shown("@peer".parse().unwrap()),
                len: 300,
            },
            Event::AddressesReceived {
                connection: "a".into(),
                addresses: vec!["10.3.0.7".parse().unwrap()],
                dns: vec!["fd00::53".parse().unwrap()],
                domains: vec!["corp.example".parse().unwrap()],
            },
            Event::AddressesGiven {
                connection: "a".into(),
                peer: Shown("@peer".parse().unwrap()),
                addresses: vec!["10.3.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
            },
            Event::PoolExhausted { connection: "a".into(), peer: Shown("@peer".parse().unwrap()) },
            Event::Reconfigured(ike::Changes {
                added: vec!["a".into()],
                altered: vec!["b".into(), "c".into()],
                removed: Vec::new(),
            }),
            Event::Moved { connection: "a".into(), sa, local: remote, remote, tcp: true },
            Event::TriedInVain { connection: "a".into(), remote, why: Failure::Unanswered },
            Event::Redirected {
                connection: "a".into(),
                from: remote.ip(),
                to: Shown("gw2.example.org".parse().unwrap()),
            },
            Event::PeerRedirected {
                connection: None,
                remote,
                to: Shown("2001:db8::2".parse().unwrap()),
            },
            Event::Failed { connection: None, peer: None, remote: None, role, why: Failure::Ended },
        ];
        for why in [
            Gone::Command,
            Gone::PeerDeleted,
            Gone::Unanswered,
            Gone::PeerRestarted,
            Gone::Replaced,
            Gone::Suspended,
            Gone::Exhausted,
            Gone::Plane,
            Gone::Moved,
            Gone::AuthExpired,
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
        for why in [LookupFault::NoAddress, LookupFault::NoAnswer] {
            let (name, known) = ("vpn.example.org".parse().unwrap(), vec![remote.ip()]);
            all.push(Event::Unresolved { connection: "a".into(), name, why, known });
        }
        for why in [RedirectFault::TooMany, RedirectFault::UnknownGateway] {
            let (from, to) = (remote.ip(), Shown("192.0.2.2".parse().unwrap()));
            all.push(Event::RedirectRefused { connection: "a".into(), from, to, why });
        }
        for why in [
            TicketFault::UnknownKey,
            TicketFault::Forged,
            TicketFault::Expired,
            TicketFault::Used,
            TicketFault::NotAllowed,
            TicketFault::Distrusted,
        ] {
            all.push(Event::TicketRefused { remote, why });
        }
        for why in [
            Failure::Unanswered,
            Failure::Unresolved,
            Failure::NoIkeProposal,
            Failure::NoEspProposal,
            Failure::NoTrafficSelectors,
            Failure::NoTransportMode,
            Failure::RefusedByPeer,
            Failure::PeerNotAuthentic,
            Failure::OtherMethod,
            Failure::NoCommonSignature,
            Failure::WrongIdentity,
            Failure::NoSecret,
            Failure::NoPpk,
            Failure::NoChildless,
            Failure::Notify(14),
            Failure::Protocol,
            Failure::BadKeyExchange,
            Failure::UnexpectedNat,
            Failure::Redirected,
            Failure::NoAddress,
            Failure::NoChild,
            Failure::TooManySas,
            Failure::Full,
            Failure::NotUnique,
            Failure::Plane,
            Failure::Ended,
        ] {
            let (connection, remote) = (Some(Arc::clone(&connection)), Some(remote));
            all.push(Event::Failed { connection, peer: None, remote, role, why });
        }
        for refusal in [
            Refusal::Missing,
            Refusal::TooMuch,
            Refusal::Malformed,
            Refusal::Key,
            Refusal::Algorithm,
            Refusal::UnknownIssuer,
            Refusal::Signature,
            Refusal::Expired,
            Refusal::NotYetValid,
            Refusal::Revoked,
            Refusal::NoRevocationList,
            Refusal::RevocationList,
            Refusal::KeyUsage,
            Refusal::ExtendedKeyUsage,
            Refusal::BasicConstraints,
            Refusal::PathLength,
            Refusal::NameConstraints,
            Refusal::CriticalExtension,
            Refusal::Identity,
            Refusal::UnknownKey,
        ] {
            let why = Failure::Certificate(refusal.into());
            let remote = Some(remote);
            all.push(Event::Failed { connection: None, peer: None, remote, role, why });
        }
        let subject: pki::Dn = "O=Example, CN=laptop".parse().unwrap();
        let (check, subject) = (Refusal::Revoked, pki::Subject::of(&subject));
        let why = Failure::Certificate(pki::Refused { check, subject });
        let remote = Some(remote);
        all.push(Event::Failed { connection: None, peer: None, remote, role, why });
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
