//! cygnet initiates, strongSwan 5.9 answers.

#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a panic is how a story ends badly"
)]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};

use anyhow::Result;
use control::{Failure, Gone, How, State, What};
use interop::{Capture, Cygnet, Namespace, PATIENCE, Packet, StrongSwan, Tunnel, World, story};

#[test]
fn aes_gcm_with_x25519_carries_pings_both_ways() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let strongswan = up_and_ping_both_ways(world, &tunnel)?;
        let sas = strongswan.established()?;
        assert_eq!(sas[0].value("encr-alg"), Some("AES_GCM_16"));
        assert_eq!(sas[0].value("prf-alg"), Some("PRF_HMAC_SHA2_384"));
        assert_eq!(sas[0].value("dh-group"), Some("CURVE_25519"));
        assert_eq!(strongswan.child()?.value("encr-alg"), Some("AES_GCM_16"));
        assert_eq!(strongswan.child()?.value("encr-keysize"), Some("256"));
        Ok(())
    })
}

#[test]
fn aes_cbc_with_p256_carries_pings_both_ways() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes128-sha256-ecp256", "aes128gcm16");
        let strongswan = up_and_ping_both_ways(world, &tunnel)?;
        let sas = strongswan.established()?;
        assert_eq!(sas[0].value("encr-alg"), Some("AES_CBC"));
        assert_eq!(sas[0].value("integ-alg"), Some("HMAC_SHA2_256_128"));
        assert_eq!(sas[0].value("dh-group"), Some("ECP_256"));
        assert_eq!(strongswan.child()?.value("encr-keysize"), Some("128"));
        Ok(())
    })
}

#[test]
fn aes_cbc_with_modp2048_carries_pings_in_chacha20() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256-sha512-prfsha512-modp2048", "chacha20poly1305");
        let strongswan = up_and_ping_both_ways(world, &tunnel)?;
        let sas = strongswan.established()?;
        assert_eq!(sas[0].value("integ-alg"), Some("HMAC_SHA2_512_256"));
        assert_eq!(sas[0].value("dh-group"), Some("MODP_2048"));
        assert_eq!(strongswan.child()?.value("encr-alg"), Some("CHACHA20_POLY1305"));
        Ok(())
    })
}

#[test]
fn esp_in_aes_cbc_with_sha256_carries_pings_both_ways() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256-sha256-x25519", "aes128-sha256");
        let strongswan = up_and_ping_both_ways(world, &tunnel)?;
        assert_eq!(strongswan.child()?.value("encr-alg"), Some("AES_CBC"));
        assert_eq!(strongswan.child()?.value("integ-alg"), Some("HMAC_SHA2_256_128"));
        Ok(())
    })
}

#[test]
fn esp_in_aes_cbc_with_sha512_carries_pings_both_ways() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256-sha256-x25519", "aes256-sha512");
        let strongswan = up_and_ping_both_ways(world, &tunnel)?;
        assert_eq!(strongswan.child()?.value("encr-keysize"), Some("256"));
        assert_eq!(strongswan.child()?.value("integ-alg"), Some("HMAC_SHA2_512_256"));
        Ok(())
    })
}

/// It has no ML-KEM, which our first proposal asks for.
#[test]
fn what_both_sides_take_by_default_fits() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new(Tunnel::DEFAULT, "aes256gcm16");
        let strongswan = up_and_ping_both_ways(world, &tunnel)?;
        assert_eq!(strongswan.established()?[0].value("dh-group"), Some("CURVE_25519"));
        Ok(())
    })
}

#[test]
fn larger_groups_carry_pings_both_ways() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("chacha20poly1305-prfsha512-ecp521", "aes256gcm16");
        let strongswan = up_and_ping_both_ways(world, &tunnel)?;
        let sas = strongswan.established()?;
        assert_eq!(sas[0].value("dh-group"), Some("ECP_521"));
        assert_eq!(sas[0].value("encr-alg"), Some("CHACHA20_POLY1305"));
        Ok(())
    })
}

#[test]
fn modp3072_carries_pings_both_ways() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256gcm16-prfsha256-modp3072", "aes256gcm16");
        let strongswan = up_and_ping_both_ways(world, &tunnel)?;
        assert_eq!(strongswan.established()?[0].value("dh-group"), Some("MODP_3072"));
        Ok(())
    })
}

#[test]
fn fragments_of_ike_auth_are_put_together() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let mut tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        // Longer than what one fragment holds.
        tunnel.local.id = format!("{}dut.example.org", "a-label-of-some-length.".repeat(20));
        let _strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
        let cygnet = Cygnet::start(&dut, &tunnel, "fragment_size = 576")?;
        let wire = Capture::start(&dut, "eth0")?;

        cygnet.up()?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        assert!(requests(&wire.packets()?, 35) >= 2, "IKE_AUTH went in one piece");
        Ok(())
    })
}

#[test]
fn a_key_share_of_another_group_is_sent_again_in_the_one_asked_for() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let ours = Tunnel::new("aes256gcm16-prfsha384-x25519-ecp256", "aes256gcm16");
        let theirs = Tunnel::new("aes256gcm16-prfsha384-ecp256", "aes256gcm16").reversed();
        let _strongswan = StrongSwan::start(&peer, &theirs)?;
        let cygnet = Cygnet::start(&dut, &ours, "")?;
        let wire = Capture::start(&dut, "eth0")?;

        cygnet.up()?;
        dut.ping(ours.local.inner, ours.remote.inner)?;
        assert_eq!(requests(&wire.packets()?, 34), 2);
        assert_eq!(cygnet.connection()?.round_trips, Some(3));
        Ok(())
    })
}

#[test]
fn it_comes_up_from_behind_a_nat() -> Result<()> {
    story(|world| {
        let (client, router) = (world.namespace("client")?, world.namespace("router")?);
        let gateway = world.namespace("gateway")?;
        world.link((&client, "eth0", "10.78.0.2/24"), (&router, "inside", "10.78.0.1/24"))?;
        world.link((&router, "outside", "10.77.0.1/24"), (&gateway, "eth0", "10.77.0.2/24"))?;
        client.ip("route add default via 10.78.0.1")?;
        router.masquerade("outside")?;

        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let strongswan = StrongSwan::start(&gateway, &tunnel.reversed())?;
        let mut behind = tunnel.clone();
        behind.local.outer = Ipv4Addr::new(10, 78, 0, 2);
        let cygnet = Cygnet::start(&client, &behind, "")?;

        cygnet.up()?;
        client.ping(tunnel.local.inner, tunnel.remote.inner)?;
        gateway.ping(tunnel.remote.inner, tunnel.local.inner)?;
        assert!(cygnet.connection()?.children[0].udp);
        assert_eq!(strongswan.established()?[0].value("nat-remote"), Some("yes"));
        Ok(())
    })
}

#[test]
fn down_deletes_the_sa_at_the_peer() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let (dut, cygnet, strongswan) = up(world, &tunnel)?;

        cygnet.down()?;
        assert_eq!(cygnet.connection()?.state, State::Down);
        strongswan.wait_for_established(0)?;
        dut.no_ping(tunnel.local.inner, tunnel.remote.inner)
    })
}

#[test]
fn a_delete_from_the_peer_takes_the_connection_down() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let (_dut, mut cygnet, strongswan) = up(world, &tunnel)?;

        // strongSwan waits for our answer and fails without it.
        strongswan.terminate()?;
        let why = cygnet.wait_for_event("down", |what| match what {
            What::Down { why, .. } => Some(*why),
            _ => None,
        })?;
        assert_eq!(why, Gone::PeerDeleted);
        cygnet.wait_for_state(State::Down)?;
        cygnet.up()?;
        strongswan.wait_for_established(1)
    })
}

#[test]
fn a_peer_that_vanishes_is_noticed_and_met_again() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
        Cygnet::make_impatient(&dut)?;
        let extra = "liveness = \"1s\"\nstart = \"on-boot\"";
        let mut cygnet = Cygnet::start(&dut, &tunnel, extra)?;
        cygnet.wait_for_state(State::Up)?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;

        peer.ip("link set eth0 down")?;
        let why = cygnet.wait_for_event("down", |what| match what {
            What::Down { why, .. } => Some(*why),
            _ => None,
        })?;
        assert_eq!(why, Gone::Unanswered);
        peer.ip("link set eth0 up")?;
        cygnet.wait_for_state(State::Up)?;
        dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
        // The new SA has told it that there is no other (INITIAL_CONTACT).
        strongswan.wait_for_established(1)
    })
}

#[test]
fn the_first_packet_starts_what_is_for_traffic_and_nothing_what_is_manual() -> Result<()> {
    for start in ["manual", "on-traffic"] {
        story(|world| {
            let (dut, peer) = world.pair()?;
            let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
            let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
            let cygnet = Cygnet::start(&dut, &tunnel, &format!("start = \"{start}\""))?;
            let (from, to) = (tunnel.local.inner, tunnel.remote.inner);
            assert_eq!(cygnet.connection()?.state, State::Down);
            if start == "manual" {
                dut.no_ping(from, to)?;
                assert_eq!(cygnet.connection()?.state, State::Down);
                return strongswan.wait_for_established(0);
            }
            // One packet, which waits for the SA and is answered.
            dut.run("ping", &format!("-n -q -c 1 -w 10 -I {from} {to}"))?;
            let connection = cygnet.wait_for_state(State::Up)?;
            strongswan.wait_for_established(1)?;
            // It had named the echo request first, and the tunnel is for all the same.
            let child = &connection.children[0];
            assert_eq!(child.local_ts, [tunnel.local.network()]);
            assert_eq!(child.remote_ts, [tunnel.remote.network()]);
            let theirs = strongswan.child()?;
            assert_eq!(theirs.value("local-ts"), Some(&*tunnel.remote.network()));
            assert_eq!(theirs.value("remote-ts"), Some(&*tunnel.local.network()));
            peer.ping(to, from)?;
            exchange_words((&dut, from), (&peer, to))?;
            cygnet.rekey_child()?;
            exchange_words((&dut, from), (&peer, to))
        })?;
    }
    Ok(())
}

#[test]
fn a_daemon_told_to_end_deletes_its_sas() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let (dut, cygnet, strongswan) = up(world, &tunnel)?;

        assert!(cygnet.stop()?.success());
        strongswan.wait_for_established(0)?;
        assert!(!dut.ip("link")?.contains("cygnet0"), "the interface is still there");
        Ok(())
    })
}

#[test]
fn another_secret_is_refused_once_and_said_clearly() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let strongswan = StrongSwan::start(&peer, &tunnel.reversed().with_secret("another"))?;
        let cygnet = Cygnet::start(&dut, &tunnel, "")?;
        refused(&dut, cygnet, "AUTHENTICATION_FAILED", Failure::RefusedByPeer)?;
        assert!(strongswan.established()?.is_empty());
        Ok(())
    })
}

#[test]
fn an_identity_that_the_peer_does_not_know_is_refused_once_and_said_clearly() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let _strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
        let mut stranger = tunnel;
        stranger.local.id = "@stranger".into();
        let cygnet = Cygnet::start(&dut, &stranger, "")?;
        refused(&dut, cygnet, "AUTHENTICATION_FAILED", Failure::RefusedByPeer)
    })
}

#[test]
fn a_peer_with_another_identity_than_configured_is_refused() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let mut impostor = tunnel.reversed();
        impostor.local.id = "@impostor".into();
        let strongswan = StrongSwan::start(&peer, &impostor)?;
        let cygnet = Cygnet::start(&dut, &tunnel, "")?;
        let answer = cygnet.ask(&["up", "dut"])?;
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert_eq!(cygnet.connection()?.state, State::Down);
        strongswan.wait_for_established(0)
    })
}

#[test]
fn without_a_common_proposal_the_reason_is_said_clearly() -> Result<()> {
    story(|world| {
        let (dut, peer) = world.pair()?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let other = Tunnel::new("aes128-sha256-ecp256", "aes256gcm16").reversed();
        let _strongswan = StrongSwan::start(&peer, &other)?;
        let cygnet = Cygnet::start(&dut, &tunnel, "")?;
        refused(&dut, cygnet, "proposal", Failure::NoIkeProposal)
    })
}

#[test]
fn without_a_ticket_there_is_nothing_to_suspend() -> Result<()> {
    story(|world| {
        let tunnel = Tunnel::new("aes256gcm16-prfsha384-x25519", "aes256gcm16");
        let (dut, cygnet, _strongswan) = up(world, &tunnel)?;

        let answer = cygnet.ask(&["suspend", "dut"])?;
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.complaint.contains("ticket"), "{answer:?}");
        assert_eq!(cygnet.connection()?.state, State::Up);
        dut.ping(tunnel.local.inner, tunnel.remote.inner)
    })
}

/// A UDP datagram each way.
fn exchange_words(
    (dut, from): (&Namespace, Ipv4Addr),
    (peer, to): (&Namespace, Ipv4Addr),
) -> Result<()> {
    let (asker, server) = (socket(dut, from)?, socket(peer, to)?);
    asker.send_to(b"question", server.local_addr()?)?;
    let mut word = [0; 16];
    let (len, from) = server.recv_from(&mut word)?;
    assert_eq!(word.get(..len), Some(&b"question"[..]));
    server.send_to(b"answer", from)?;
    let len = asker.recv(&mut word)?;
    assert_eq!(word.get(..len), Some(&b"answer"[..]));
    Ok(())
}

fn socket(namespace: &Namespace, address: Ipv4Addr) -> Result<UdpSocket> {
    let bind = move || {
        let socket = UdpSocket::bind((address, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    namespace.enter(bind)?.join().expect("no panic")
}

/// Brings the tunnel up from cygnet.
fn up(world: &World, tunnel: &Tunnel) -> Result<(Namespace, Cygnet, StrongSwan)> {
    let (dut, peer) = world.pair()?;
    let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
    let cygnet = Cygnet::start(&dut, tunnel, "resumption = true")?;
    cygnet.up()?;
    assert_eq!(cygnet.connection()?.state, State::Up);
    Ok((dut, cygnet, strongswan))
}

/// Brings the tunnel up, pings through it from both ends, and checks what cygnet and the wire say
/// of it.
fn up_and_ping_both_ways(world: &World, tunnel: &Tunnel) -> Result<StrongSwan> {
    let (dut, peer) = world.pair()?;
    let strongswan = StrongSwan::start(&peer, &tunnel.reversed())?;
    let cygnet = Cygnet::start(&dut, tunnel, "")?;
    let wire = Capture::start(&dut, "eth0")?;

    cygnet.up()?;
    dut.ping(tunnel.local.inner, tunnel.remote.inner)?;
    peer.ping(tunnel.remote.inner, tunnel.local.inner)?;

    let connection = cygnet.connection()?;
    assert_eq!((connection.how, connection.round_trips), (Some(How::Full), Some(2)));
    assert_eq!(connection.children.len(), 1, "{connection:#?}");
    let child = &connection.children[0];
    assert_eq!(child.suite, tunnel.esp);
    assert!(child.packets_in >= 6 && child.packets_out >= 6, "{child:#?}");
    // 20 octets of IPv4, 8 of ICMP, 56 of data.
    assert!(child.bytes_in >= 6 * 84 && child.bytes_out >= 6 * 84, "{child:#?}");
    assert!(strongswan.child()?.number("packets-in") >= 6);
    let packets = wire.packets()?;
    assert!(!packets.iter().any(|packet| matches!(packet, Packet::Clear { .. })), "{packets:#?}");
    Ok(strongswan)
}

/// Checks that `cygnet up` fails with this reason, without trying again by itself.
fn refused(dut: &Namespace, mut cygnet: Cygnet, said: &str, failure: Failure) -> Result<()> {
    let wire = Capture::start(dut, "eth0")?;
    let answer = cygnet.ask(&["up", "dut"])?;
    assert_eq!(answer.code, Some(1), "{answer:?}");
    assert!(answer.complaint.contains(said), "{answer:?}");
    let why = cygnet.wait_for_event("failed", |what| match what {
        What::Failed { why, .. } => Some(why.clone()),
        _ => None,
    })?;
    assert_eq!(why, failure);
    assert_eq!(cygnet.connection()?.state, State::Down);
    let packets = wire.wait_for(PATIENCE, "the exchange", |packets| requests(packets, 34) > 0)?;
    // An error in clear may be forged, so an attempt waits and repeats itself a little (RFC 7296
    // section 2.21.1); but there is one attempt, and an authentic refusal ends it at once.
    assert_eq!(attempts(&packets), 1);
    assert!(requests(&packets, 34) <= 3 && requests(&packets, 35) <= 1, "{packets:#?}");
    Ok(())
}

/// How many different initiator's SPIs there are.
fn attempts(packets: &[Packet]) -> usize {
    let spis: BTreeSet<_> = packets
        .iter()
        .filter_map(|packet| match packet {
            Packet::Ike { spi, .. } => Some(spi),
            _ => None,
        })
        .collect();
    spis.len()
}

fn requests(packets: &[Packet], wanted: u8) -> usize {
    let is_one = |packet: &&Packet| matches!(packet, Packet::Ike { exchange, response: false, .. } if *exchange == wanted);
    packets.iter().filter(is_one).count()
}
