//! cygnet is the client, libreswan 5.2 with its kernel's ESP the gateway: it gives tickets and
//! takes them back.

#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a panic is how a story ends badly"
)]

use anyhow::Result;
use control::{Connection, FallBack, How, State, What};
use interop::{Capture, Cygnet, Libreswan, Namespace, Packet, Tunnel, World, story};

/// The size of every ticket that libreswan 5.2 makes.
const TICKET: u64 = 856;

#[test]
fn a_session_suspends_silently_and_resumes_in_two_round_trips() -> Result<()> {
    story(|world| {
        let tunnel = tunnel();
        let (dut, cygnet, mut libreswan) = up(world, &tunnel, "resume_auth = \"libreswan\"")?;
        let wire = Capture::start(&dut, "tap0")?;

        cygnet.suspend()?;
        let suspended = cygnet.connection()?;
        assert_eq!((suspended.state, ticket(&suspended)), (State::Suspended, TICKET));
        dut.no_ping(tunnel.local.inner, tunnel.remote.inner)?;
        assert_eq!(wire.packets()?, [], "a suspended session is silent");

        cygnet.resume()?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        let resumed = cygnet.connection()?;
        assert_eq!(resumed.state, State::Up);
        assert_eq!((resumed.how, resumed.round_trips), (Some(How::Resumed), Some(2)));
        assert_eq!(ticket(&resumed), TICKET, "the next ticket came with the resumed SA");
        let packets = wire.packets()?;
        assert_eq!(exchanges(&packets), [(38, 1), (35, 1)]);
        assert!(!packets.iter().any(|packet| matches!(packet, Packet::Clear { .. })));
        // This libreswan does no NAT detection in IKE_SESSION_RESUME, and so has no UDP
        // encapsulation after it, whatever it was told to do.
        assert!(packets.iter().any(|packet| matches!(packet, Packet::Esp { in_udp: false, .. })));
        Ok(())
    })
}

#[test]
fn the_form_of_auth_is_found_out_once_and_remembered() -> Result<()> {
    story(|world| {
        let tunnel = tunnel();
        let (dut, cygnet, mut libreswan) = up(world, &tunnel, "resume_auth = \"auto\"")?;

        cygnet.suspend()?;
        cygnet.resume()?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        let first = cygnet.connection()?;
        assert_eq!((first.how, first.round_trips), (Some(How::Resumed), Some(4)));

        cygnet.suspend()?;
        cygnet.resume()?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        let second = cygnet.connection()?;
        assert_eq!((second.how, second.round_trips), (Some(How::Resumed), Some(2)));
        Ok(())
    })
}

#[test]
fn a_ticket_whose_key_is_gone_falls_back_to_a_full_exchange() -> Result<()> {
    story(|world| {
        let tunnel = tunnel();
        let (dut, mut cygnet, mut libreswan) = up(world, &tunnel, "resume_auth = \"libreswan\"")?;

        cygnet.suspend()?;
        libreswan.roll_ticket_key()?;
        libreswan.roll_ticket_key()?;
        cygnet.up()?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        let why = cygnet.wait_for_event("fell back", |what| match what {
            What::FellBack { why, .. } => Some(*why),
            _ => None,
        })?;
        assert_eq!(why, FallBack::Nack);
        let connection = cygnet.connection()?;
        assert_eq!((connection.state, connection.how), (State::Up, Some(How::Full)));
        assert_eq!(ticket(&connection), TICKET);
        Ok(())
    })
}

#[test]
fn a_ticket_outlives_one_roll_of_its_key() -> Result<()> {
    story(|world| {
        let tunnel = tunnel();
        let (dut, cygnet, mut libreswan) = up(world, &tunnel, "resume_auth = \"libreswan\"")?;

        cygnet.suspend()?;
        libreswan.roll_ticket_key()?;
        cygnet.resume()?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        assert_eq!(cygnet.connection()?.how, Some(How::Resumed));
        Ok(())
    })
}

#[test]
fn after_down_the_ticket_is_forgotten() -> Result<()> {
    story(|world| {
        let tunnel = tunnel();
        let (dut, cygnet, mut libreswan) = up(world, &tunnel, "resume_auth = \"libreswan\"")?;

        cygnet.down()?;
        libreswan.wait_for_children(0)?;
        let down = cygnet.connection()?;
        assert_eq!((down.state, down.ticket), (State::Down, None));
        assert_eq!(cygnet.ask(&["resume", "dut"])?.code, Some(1));
        cygnet.up()?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        assert_eq!(cygnet.connection()?.how, Some(How::Full));
        Ok(())
    })
}

#[test]
fn a_packet_that_wants_to_leave_wakes_the_session() -> Result<()> {
    story(|world| {
        let tunnel = tunnel();
        let extra = "resume_auth = \"libreswan\"\nresume = \"on-traffic\"";
        let (dut, cygnet, mut libreswan) = up(world, &tunnel, extra)?;

        cygnet.suspend()?;
        ping_both_ways(&dut, &mut libreswan, &tunnel)?;
        let connection = cygnet.connection()?;
        assert_eq!((connection.state, connection.how), (State::Up, Some(How::Resumed)));
        Ok(())
    })
}

/// It has no ML-KEM, which our first proposal asks for.
#[test]
fn what_both_sides_take_by_default_fits() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new(Tunnel::DEFAULT, "aes256gcm16");
        let (_, cygnet, _) = up(world, &tunnel, "")?;
        assert_eq!(cygnet.connection()?.how, Some(How::Full));
        Ok(())
    })
}

#[test]
fn extended_sequence_numbers_are_understood_by_the_kernel() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256gcm16-prfsha512-x25519", "aes256gcm16-esn");
        let (_, cygnet, _) = up(world, &tunnel, "")?;
        assert_eq!(cygnet.connection()?.children[0].suite, "aes256gcm16-esn");
        Ok(())
    })
}

/// What libreswan proposes and accepts by default.
fn tunnel() -> Tunnel {
    Tunnel::new("aes256gcm16-prfsha512-x25519", "aes256gcm16")
}

/// Brings the tunnel up by a full exchange in which a ticket is asked for, and pings through it.
fn up(world: &World, tunnel: &Tunnel, extra: &str) -> Result<(Namespace, Cygnet, Libreswan)> {
    let dut = world.namespace("dut")?;
    let mut libreswan = Libreswan::start(&dut, &tunnel.reversed(), "")?;
    let cygnet = Cygnet::start(&dut, tunnel, &format!("resumption = true\n{extra}"))?;
    cygnet.up()?;
    ping_both_ways(&dut, &mut libreswan, tunnel)?;
    let connection = cygnet.connection()?;
    assert_eq!((connection.how, ticket(&connection)), (Some(How::Full), TICKET));
    Ok((dut, cygnet, libreswan))
}

/// Octets of the ticket that we hold.
fn ticket(connection: &Connection) -> u64 {
    connection.ticket.as_ref().map_or(0, |ticket| ticket.bytes)
}

fn ping_both_ways(dut: &Namespace, libreswan: &mut Libreswan, tunnel: &Tunnel) -> Result<()> {
    dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
    libreswan.guest().ping(tunnel.remote.inner, tunnel.local.inner)
}

/// The exchanges on the wire with the number of their requests, in the order of their first.
fn exchanges(packets: &[Packet]) -> Vec<(u8, usize)> {
    let mut seen: Vec<(u8, usize)> = Vec::new();
    for packet in packets {
        let Packet::Ike { exchange, response: false, .. } = packet else { continue };
        match seen.iter_mut().find(|(other, _)| other == exchange) {
            Some((_, count)) => *count += 1,
            None => seen.push((*exchange, 1)),
        }
    }
    seen
}
