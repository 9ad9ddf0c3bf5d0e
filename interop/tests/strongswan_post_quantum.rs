//! ML-KEM with strongSwan 6, in both roles: set-up with IKE_INTERMEDIATE (RFC 9242), rekeys
//! with IKE_FOLLOWUP_KE (RFC 9370).

#![allow(clippy::indexing_slicing, reason = "a panic is how a story ends badly")]

use anyhow::Result;
use control::{Role, What};
use interop::{
    Cygnet, Edition, Namespace, PATIENCE, Section, Stream, StrongSwan, Tunnel, World, story, until,
};

const ML_KEM_768: &str = "aes256gcm16-prfsha384-x25519-ke1_mlkem768";
const ML_KEM_1024: &str = "aes256gcm16-prfsha384-ecp384-ke1_mlkem1024";
const ESP_ML_KEM_768: &str = "aes256gcm16-x25519-ke1_mlkem768";
const ESP_ML_KEM_1024: &str = "aes256gcm16-ecp384-ke1_mlkem1024";

#[test]
fn we_set_up_with_ml_kem_768_and_both_sides_rekey() -> Result<()> {
    story(|world| {
        let mut ends = Ends::new(world, &Tunnel::new(ML_KEM_768, ESP_ML_KEM_768))?;
        ends.cygnet.up()?;
        ends.rekey_by_both_sides("ML_KEM_768")
    })
}

#[test]
fn we_set_up_with_ml_kem_1024_and_both_sides_rekey() -> Result<()> {
    story(|world| {
        let mut ends = Ends::new(world, &Tunnel::new(ML_KEM_1024, ESP_ML_KEM_1024))?;
        ends.cygnet.up()?;
        ends.rekey_by_both_sides("ML_KEM_1024")
    })
}

#[test]
fn it_sets_up_with_ml_kem_768_and_both_sides_rekey() -> Result<()> {
    story(|world| {
        let mut ends = Ends::new(world, &Tunnel::new(ML_KEM_768, ESP_ML_KEM_768))?;
        ends.strongswan.initiate()?;
        ends.rekey_by_both_sides("ML_KEM_768")
    })
}

#[test]
fn it_sets_up_with_ml_kem_1024_and_both_sides_rekey() -> Result<()> {
    story(|world| {
        let mut ends = Ends::new(world, &Tunnel::new(ML_KEM_1024, ESP_ML_KEM_1024))?;
        ends.strongswan.initiate()?;
        ends.rekey_by_both_sides("ML_KEM_1024")
    })
}

#[test]
fn two_additional_key_exchanges_are_made_again_in_every_rekey() -> Result<()> {
    story(|world| {
        let ike = "aes256gcm16-prfsha384-x25519-ke1_mlkem768-ke2_ecp384";
        let esp = "aes256gcm16-x25519-ke1_mlkem768-ke2_ecp384";
        let mut ends = Ends::new(world, &Tunnel::new(ike, esp))?;
        ends.cygnet.up()?;
        ends.rekey_by_both_sides("ML_KEM_768")
    })
}

#[test]
fn what_both_sides_take_by_default_fits() -> Result<()> {
    story(|world| {
        let ends = Ends::new(world, &Tunnel::new(Tunnel::DEFAULT, "aes256gcm16"))?;
        ends.cygnet.up()?;
        ends.ping()
    })
}

/// Both ends of a tunnel.
struct Ends {
    tunnel: Tunnel,
    dut: Namespace,
    peer: Namespace,
    cygnet: Cygnet,
    strongswan: StrongSwan,
}

impl Ends {
    fn new(world: &World, tunnel: &Tunnel) -> Result<Self> {
        let (dut, peer) = world.pair()?;
        let theirs = tunnel.reversed();
        let strongswan = StrongSwan::start_edition(Edition::Unstable, &peer, &theirs)?;
        let cygnet = Cygnet::start(&dut, tunnel, "")?;
        Ok(Self { tunnel: tunnel.clone(), dut, peer, cygnet, strongswan })
    }

    fn ping(&self) -> Result<()> {
        let Tunnel { local, remote, .. } = &self.tunnel;
        self.dut.ping(local.inner, remote.inner)?;
        self.peer.ping(remote.inner, local.inner)
    }

    /// The IKE SA and the child get new keys, from us and then from strongSwan; each time with
    /// this additional key exchange, and under a stream that loses nothing.
    fn rekey_by_both_sides(&mut self, method: &str) -> Result<()> {
        self.check(method)?;
        let Tunnel { local, remote, .. } = &self.tunnel;
        let mut stream = Stream::start(&self.dut, local.inner, remote.inner)?;
        for by in [Role::Initiator, Role::Responder] {
            match by {
                Role::Initiator => self.cygnet.rekey()?,
                Role::Responder => self.strongswan.rekey()?,
            }
            let is_it = |what: &What| matches!(what, What::Rekeyed { by: who, .. } if *who == by);
            self.cygnet.wait_for_event("a new IKE SA", |what| is_it(what).then_some(()))?;
            self.check(method)?;
            match by {
                Role::Initiator => self.cygnet.rekey_child()?,
                Role::Responder => self.strongswan.rekey_child()?,
            }
            let is_it =
                |what: &What| matches!(what, What::ChildRekeyed { by: who, .. } if *who == by);
            self.cygnet.wait_for_event("a new child", |what| is_it(what).then_some(()))?;
            self.wait_for_child_of(method)?;
            self.check(method)?;
            stream.wait_for_more()?;
        }
        stream.finish()
    }

    /// strongSwan has made a child with `method`.
    fn wait_for_child_of(&self, method: &str) -> Result<()> {
        until(PATIENCE, format!("a child with {method} at strongSwan"), || {
            let sas = self.strongswan.established()?;
            let children = sas.first().and_then(|sa| sa.section("child-sas"));
            let mut children = children.into_iter().flat_map(Section::sections);
            Ok(children.any(|(_, child)| child.value("ake1") == Some(method)).then_some(()))
        })
    }

    /// One IKE SA, made with `method`, and packets pass.
    fn check(&self, method: &str) -> Result<()> {
        self.strongswan.wait_for_established(1)?;
        let sas = self.strongswan.established()?;
        assert_eq!(sas[0].value("ake1"), Some(method), "{:#?}", sas[0]);
        assert_eq!(self.cygnet.connection()?.suite.as_ref(), Some(&self.tunnel.ike));
        self.ping()
    }
}
