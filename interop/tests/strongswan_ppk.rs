//! Post-quantum pre-shared keys (RFC 8784), cygnet and strongSwan 5.9 in both roles.

#![allow(clippy::indexing_slicing, reason = "a panic is how a story ends badly")]

use std::net::Ipv4Addr;

use anyhow::Result;
use control::{Failure, Role, What};
use interop::{Cygnet, Namespace, StrongSwan, World, story};

const OURS: Ipv4Addr = Ipv4Addr::new(10, 91, 0, 1);
const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 92, 0, 1);

/// What a side has.
#[derive(Clone, Copy)]
struct Has {
    /// The name of its PPK. Keys of one name are the same on both sides.
    id: &'static str,
    required: bool,
}

const OPTIONAL: Has = Has { id: "one", required: false };
const REQUIRED: Has = Has { id: "one", required: true };
const ANOTHER: Has = Has { id: "another", required: false };

fn key(id: &str) -> String {
    format!("{id}-0123456789abcdef0123456789abcdef")
}

/// Both ends of a tunnel. As responder, strongSwan names no PPK: it would take no other, and not do
/// without, required or not.
struct Ends {
    dut: Namespace,
    peer: Namespace,
    cygnet: Cygnet,
    strongswan: StrongSwan,
}

impl Ends {
    fn new(world: &World, by: Role, ours: Has, theirs: Has) -> Result<Self> {
        let (dut, peer) = world.pair()?;
        peer.address("lo", "10.92.0.1/32")?;
        let strongswan = StrongSwan::start_with(&peer, &swanctl_conf(theirs, by))?;
        let cygnet = Cygnet::start_with(&dut, "dut", &config(ours))?;
        Ok(Self { dut, peer, cygnet, strongswan })
    }

    /// Packets pass, and strongSwan has mixed a PPK in or not. New keys change nothing of that.
    fn check(&mut self, mixed: bool) -> Result<()> {
        let ppk = if mixed { Some("yes") } else { None };
        assert_eq!(self.strongswan.established()?[0].value("ppk"), ppk);
        self.ping()?;
        self.strongswan.rekey()?;
        let is_rekeyed = |what: &What| matches!(what, What::Rekeyed { .. }).then_some(());
        self.cygnet.wait_for_event("a new IKE SA", is_rekeyed)?;
        self.strongswan.rekey_child()?;
        let is_rekeyed = |what: &What| matches!(what, What::ChildRekeyed { .. }).then_some(());
        self.cygnet.wait_for_event("a new child", is_rekeyed)?;
        self.ping()
    }

    fn ping(&self) -> Result<()> {
        self.dut.ping(OURS, THEIRS)?;
        self.peer.ping(THEIRS, OURS)
    }

    /// Why the set-up that we have answered failed.
    fn failure(&mut self) -> Result<Failure> {
        self.cygnet.wait_for_event("a failure", |what| match what {
            What::Failed { why, .. } => Some(why.clone()),
            _ => None,
        })
    }
}

#[test]
fn a_ppk_that_both_sides_require_is_mixed_in_by_either_role() -> Result<()> {
    story(|world| {
        let mut ends = Ends::new(world, Role::Initiator, REQUIRED, REQUIRED)?;
        ends.cygnet.up()?;
        ends.check(true)
    })?;
    story(|world| {
        let mut ends = Ends::new(world, Role::Responder, REQUIRED, REQUIRED)?;
        ends.strongswan.initiate()?;
        ends.check(true)
    })
}

#[test]
fn a_ppk_that_both_sides_may_do_without_is_mixed_in_by_either_role() -> Result<()> {
    story(|world| {
        let mut ends = Ends::new(world, Role::Initiator, OPTIONAL, OPTIONAL)?;
        ends.cygnet.up()?;
        ends.check(true)
    })?;
    story(|world| {
        let mut ends = Ends::new(world, Role::Responder, OPTIONAL, OPTIONAL)?;
        ends.strongswan.initiate()?;
        ends.check(true)
    })
}

#[test]
fn where_each_has_another_ppk_they_do_without_if_they_may() -> Result<()> {
    story(|world| {
        let mut ends = Ends::new(world, Role::Initiator, OPTIONAL, ANOTHER)?;
        ends.cygnet.up()?;
        ends.check(false)
    })?;
    story(|world| {
        let mut ends = Ends::new(world, Role::Responder, OPTIONAL, ANOTHER)?;
        ends.strongswan.initiate()?;
        ends.check(false)
    })
}

#[test]
fn where_each_has_another_ppk_and_one_insists_there_is_no_sa() -> Result<()> {
    story(|world| {
        let mut ends = Ends::new(world, Role::Initiator, REQUIRED, ANOTHER)?;
        assert!(ends.cygnet.up().is_err());
        assert_eq!(ends.failure()?, Failure::RefusedByPeer);
        Ok(())
    })?;
    story(|world| {
        let mut ends = Ends::new(world, Role::Responder, REQUIRED, ANOTHER)?;
        assert!(ends.strongswan.initiate().is_err());
        assert_eq!(ends.failure()?, Failure::NoPpk);
        Ok(())
    })
}

fn config(ours: Has) -> String {
    let Has { id, required } = ours;
    format!(
        r#"
[daemon]
listen = ["10.77.0.1"]
[connections.dut]
local_addrs = ["10.77.0.1"]
remote_addrs = ["10.77.0.2"]
proposals = ["aes256gcm16-prfsha384-x25519"]
inner_addrs = ["10.91.0.1/24"]
ppk_id = "{id}"
ppk_required = {required}
[connections.dut.local]
id = "@dut"
[connections.dut.remote]
id = "@peer"
[connections.dut.children.net]
local_ts = ["10.91.0.0/24"]
remote_ts = ["10.92.0.0/24"]
[secrets.psk]
secret = "correct horse battery staple"
[ppks.key]
id = "{id}"
secret = "{}"
"#,
        key(id)
    )
}

fn swanctl_conf(theirs: Has, by: Role) -> String {
    let Has { id, required } = theirs;
    let named = match by {
        Role::Initiator => String::new(),
        Role::Responder => format!("ppk_id = {id}"),
    };
    let required = if required { "yes" } else { "no" };
    format!(
        "connections {{ dut {{
            version = 2
            local_addrs = 10.77.0.2
            remote_addrs = 10.77.0.1
            proposals = aes256gcm16-prfsha384-x25519
            encap = yes
            mobike = no
            {named}
            ppk_required = {required}
            local {{ auth = psk
                     id = @peer }}
            remote {{ auth = psk
                      id = @dut }}
            children {{ net {{ local_ts = 10.92.0.0/24
                               remote_ts = 10.91.0.0/24
                               esp_proposals = aes256gcm16
                               mode = tunnel }} }}
        }} }}
        secrets {{
            ike-dut {{ secret = \"correct horse battery staple\" }}
            ppk-key {{ secret = \"{}\"
                       id = {id} }}
        }}\n",
        key(id)
    )
}
