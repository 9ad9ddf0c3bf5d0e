//! New keys of children and IKE SAs with libreswan 5.2 in both roles, asked for by either side,
//! and a resumption of what came of it, where libreswan has it.

use anyhow::Result;
use control::{How, Role, State};
use interop::{Cygnet, Keys, Libreswan, Namespace, Stream, Tunnel, World, story};

/// An exchange of its own for each child is what libreswan asks for if it is not told.
const FRESH: &str = "aes256gcm16-x25519";

#[test]
fn either_side_rekeys_what_cygnet_has_begun_and_resumed() -> Result<()> {
    story(|world| {
        let mut pair = Pair::up(world, Role::Initiator, FRESH, "")?;
        pair.rekey_children(1)?;
        pair.cygnet.suspend()?;
        pair.cygnet.resume()?;
        assert_eq!(pair.cygnet.connection()?.how, Some(How::Resumed));
        pair.ping()?;
        pair.rekey_ike(1)?;
        pair.rekey_children(2)?;
        pair.rekey_ike(2)?;
        // It gives tickets in IKE_AUTH only, and those of an SA end with it.
        let answer = pair.cygnet.ask(&["suspend", "dut"])?;
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert!(answer.complaint.contains("no ticket"), "{answer:?}");
        pair.ping()
    })
}

#[test]
fn either_side_rekeys_what_libreswan_has_begun_and_resumed() -> Result<()> {
    story(|world| {
        let mut pair = Pair::up(world, Role::Responder, FRESH, "")?;
        pair.rekey_children(1)?;
        pair.libreswan_returns()?;
        assert_eq!(pair.cygnet.connection()?.how, Some(How::Resumed));
        pair.rekey_ike(1)?;
        pair.rekey_children(2)?;
        pair.rekey_ike(2)?;
        // It offers the ticket of an SA that was replaced, which is void (RFC 5723 section 6.2),
        // and takes the refusal well.
        pair.libreswan_returns()?;
        assert_eq!(pair.cygnet.connection()?.how, Some(How::Full));
        Ok(())
    })
}

#[test]
fn children_get_keys_without_an_exchange_of_their_own_from_either_side() -> Result<()> {
    story(|world| {
        let mut pair = Pair::up(world, Role::Initiator, "aes256gcm16", "pfs=no")?;
        pair.rekey_children(1)?;
        pair.rekey_children(2)
    })
}

/// A tunnel that is up, and its ends.
struct Pair {
    tunnel: Tunnel,
    dut: Namespace,
    cygnet: Cygnet,
    libreswan: Libreswan,
}

impl Pair {
    fn up(world: &World, begins: Role, esp: &str, extra: &str) -> Result<Self> {
        let dut = world.namespace("dut")?;
        let tunnel = Tunnel::new("aes256gcm16-prfsha512-x25519", esp);
        let mut libreswan = Libreswan::start(&dut, &tunnel.reversed(), extra)?;
        let resumption = "resumption = true\nresume_auth = \"libreswan\"";
        let cygnet = Cygnet::start(&dut, &tunnel, resumption)?;
        match begins {
            Role::Initiator => cygnet.up()?,
            Role::Responder => libreswan.initiate()?,
        }
        libreswan.wait_for_children(1)?;
        cygnet.wait_for_state(State::Up)?;
        let mut pair = Self { tunnel, dut, cygnet, libreswan };
        pair.ping()?;
        Ok(pair)
    }

    /// By cygnet, then by libreswan.
    fn rekey_children(&mut self, count: usize) -> Result<()> {
        // Who answers may use the new SA at once (RFC 7296 section 2.8), and libreswan does: what
        // it sends before we have its answer is lost. So the stream is for its own rekey only.
        let children = self.libreswan.children()?.len();
        self.cygnet.rekey_child()?;
        self.cygnet.wait_for_rekey(Role::Initiator, Keys::Child, count)?;
        self.libreswan.wait_for_children(children)?;
        self.ping()?;
        self.while_a_stream_runs(|pair| {
            pair.libreswan.rekey_child()?;
            pair.cygnet.wait_for_rekey(Role::Responder, Keys::Child, count)?;
            pair.libreswan.wait_for_children(children).map(drop)
        })
    }

    /// The IKE SA, by cygnet, then by libreswan.
    fn rekey_ike(&mut self, count: usize) -> Result<()> {
        self.while_a_stream_runs(|pair| {
            pair.cygnet.rekey()?;
            pair.cygnet.wait_for_rekey(Role::Initiator, Keys::Ike, count)
        })?;
        self.while_a_stream_runs(|pair| {
            pair.libreswan.rekey()?;
            pair.cygnet.wait_for_rekey(Role::Responder, Keys::Ike, count)
        })
    }

    /// Nothing is lost in the meantime.
    fn while_a_stream_runs(&mut self, task: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let Tunnel { local, remote, .. } = &self.tunnel;
        let mut stream = Stream::start(&self.dut, local.inner, remote.inner)?;
        task(self)?;
        stream.wait_for_more()?;
        stream.finish()
    }

    fn libreswan_returns(&mut self) -> Result<()> {
        self.libreswan.suspend()?;
        self.libreswan.wait_for_children(0)?;
        self.cygnet.wait_for_state(State::Down)?;
        self.libreswan.initiate()?;
        self.libreswan.wait_for_children(1)?;
        self.cygnet.wait_for_state(State::Up)?;
        self.ping()
    }

    fn ping(&mut self) -> Result<()> {
        let (here, there) = (self.tunnel.local.inner, self.tunnel.remote.inner);
        self.dut.ping(here, there)?;
        self.libreswan.guest().ping(there, here)
    }
}
