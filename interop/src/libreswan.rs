//! libreswan 5.2 in a guest, with that kernel's ESP.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::guest::Guest;
use crate::namespace::Namespace;
use crate::papers::Papers;
use crate::tunnel::{Proof, Side, Tunnel};
use crate::wait::{PATIENCE, until};

/// A running pluto with one connection, `dut`, that is loaded and waits.
pub struct Libreswan {
    guest: Guest,
}

/// How long pluto needs from its start to its control socket, at most; the guest's system calls
/// are slow.
const START: &str = "for _ in $(seq 1000); do
	ipsec whack --status >/dev/null 2>&1 && exit; sleep 0.02
done; exit 1";

impl Libreswan {
    /// Boots a guest on a TAP device in `namespace`, whose address there becomes the tunnel's
    /// remote outer one, and starts pluto with the tunnel and `extra` lines in its `conn`.
    ///
    /// # Errors
    /// When the guest or pluto does not come up, or the connection is refused.
    pub fn start(namespace: &Namespace, tunnel: &Tunnel, extra: &str) -> Result<Self> {
        Self::boot(namespace, tunnel, None, &format!("{}\n{extra}", subnets(tunnel)))
    }

    /// As [`Libreswan::start`], but `lines` say what is behind the ends, too. The tunnel's inner
    /// addresses are those that are configured and routed in the guest.
    ///
    /// # Errors
    /// As there.
    pub fn start_with(namespace: &Namespace, tunnel: &Tunnel, lines: &str) -> Result<Self> {
        Self::boot(namespace, tunnel, None, lines)
    }

    /// As [`Libreswan::start`], with certificates for both ends.
    ///
    /// # Errors
    /// As there.
    pub fn start_certified(
        namespace: &Namespace,
        tunnel: &Tunnel,
        papers: &Papers,
        extra: &str,
    ) -> Result<Self> {
        Self::boot(namespace, tunnel, Some(papers), &format!("{}\n{extra}", subnets(tunnel)))
    }

    fn boot(
        namespace: &Namespace,
        tunnel: &Tunnel,
        papers: Option<&Papers>,
        lines: &str,
    ) -> Result<Self> {
        let Tunnel { local, remote, .. } = tunnel;
        let mut guest = Guest::boot(namespace, "tap0", &format!("{}/24", local.outer))?;
        namespace.address("tap0", &format!("{}/24", remote.outer))?;
        // The inner address, and the way into the tunnel, which the disabled updown script
        // would have made.
        guest.run(&format!(
            "ip link add inside type dummy && ip link set inside up &&
             ip addr add {}/24 dev inside && ip route add {} via {}",
            local.inner,
            remote.network(),
            remote.outer
        ))?;
        let conf = guest.put("ipsec.conf", ipsec_conf(tunnel, lines))?;
        let secret = tunnel.secret().map(|secret| format!(": PSK \"{secret}\"\n"));
        let secrets = guest.put("ipsec.secrets", secret.unwrap_or_default())?;
        let import = papers
            .map(|papers| import(&guest, papers, local, &namespace.dir().join("papers")))
            .transpose()?;
        let import = import.unwrap_or_default();
        // Its log goes to the console, which is the guest's log on the host.
        guest.run(&format!(
            "mkdir -p /run/pluto /run/nss && cp /var/lib/ipsec/nss/* /run/nss &&
             mount --bind /run/nss /var/lib/ipsec/nss && {import}
             mount --bind {conf} /etc/ipsec.conf && mount --bind {secrets} /etc/ipsec.secrets &&
             {{ /usr/libexec/ipsec/pluto --nofork --stderrlog --config /etc/ipsec.conf \
                </dev/null >/dev/console 2>&1 & }}
             {START}"
        ))?;
        let mut libreswan = Self { guest };
        libreswan.guest.run("ipsec add dut")?;
        Ok(libreswan)
    }

    /// Begins to bring the tunnel up from this side: with its ticket if it has one, by a full
    /// exchange otherwise.
    ///
    /// # Errors
    /// When pluto refuses the command.
    pub fn initiate(&mut self) -> Result<()> {
        self.guest.run("ipsec up --asynchronous dut").map(drop)
    }

    /// Takes the tunnel down and keeps the ticket. This libreswan sends a Delete.
    ///
    /// # Errors
    /// When pluto refuses the command.
    pub fn suspend(&mut self) -> Result<()> {
        self.guest.run("ipsec whack --suspend --name dut").map(drop)
    }

    /// Deletes the IKE SA from this side.
    ///
    /// # Errors
    /// When pluto refuses the command.
    pub fn terminate(&mut self) -> Result<()> {
        self.guest.run("ipsec down dut").map(drop)
    }

    /// Begins to replace the keys of the IKE SA.
    ///
    /// # Errors
    /// When there is none.
    pub fn rekey(&mut self) -> Result<()> {
        self.guest.run("ipsec whack --rekey-ike --asynchronous --name dut").map(drop)
    }

    /// Begins to replace the keys of the child.
    ///
    /// # Errors
    /// When there is none.
    pub fn rekey_child(&mut self) -> Result<()> {
        self.guest.run("ipsec whack --rekey-child --asynchronous --name dut").map(drop)
    }

    /// Replaces the key that its tickets are sealed with. It keeps the one before, so two calls
    /// void all its tickets.
    ///
    /// # Errors
    /// When pluto refuses the command.
    pub fn roll_ticket_key(&mut self) -> Result<()> {
        self.guest.run("ipsec whack --impair trigger:EVENT_REINIT_SECRET").map(drop)
    }

    /// Octets of the ticket that it holds for its own use.
    ///
    /// # Errors
    /// When pluto does not answer.
    pub fn ticket(&mut self) -> Result<Option<usize>> {
        let status = self.guest.run("ipsec status")?;
        let line = status.lines().find(|line| line.contains("session resume ticket:"));
        let length = line.and_then(|line| line.split_once("length: ")?.1.split_once(' '));
        length.map(|(digits, _)| digits.parse().context("ticket length")).transpose()
    }

    /// The children it has now, one line each, as `ipsec trafficstatus` shows them.
    ///
    /// # Errors
    /// When pluto does not answer.
    pub fn children(&mut self) -> Result<Vec<String>> {
        let status = self.guest.run("ipsec trafficstatus")?;
        Ok(status.lines().filter(|line| line.contains("\"dut\"")).map(str::to_owned).collect())
    }

    /// The inner address that it was given.
    ///
    /// # Errors
    /// When pluto does not answer.
    pub fn given(&mut self) -> Result<Option<Ipv4Addr>> {
        let status = self.guest.run("ipsec status")?;
        let given = |line: &str| line.split_once("my_ip=")?.1.split_once(';')?.0.parse().ok();
        Ok(status.lines().find_map(given))
    }

    /// Waits until it has `count` children.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn wait_for_children(&mut self, count: usize) -> Result<Vec<String>> {
        let mut last = Vec::new();
        until(PATIENCE, format!("{count} children at libreswan"), || {
            last = self.children()?;
            Ok((last.len() == count).then(|| last.clone()))
        })
        .with_context(|| format!("they were {last:#?}"))
    }

    /// The SAs that its kernel holds, as `ip xfrm state` shows them, without keys.
    ///
    /// # Errors
    /// When the guest has died.
    pub fn kernel_sas(&mut self) -> Result<String> {
        self.guest.run("ip xfrm state list nokeys")
    }

    /// The guest it runs in.
    pub fn guest(&mut self) -> &mut Guest {
        &mut self.guest
    }
}

/// What fills the certificate database, before pluto opens it.
fn import(guest: &Guest, papers: &Papers, side: &Side, dir: &Path) -> Result<String> {
    const DATABASE: &str = "-d sql:/var/lib/ipsec/nss";
    let bundle = guest.put("own.p12", papers.pkcs12(&side.id, dir)?)?;
    let root = guest.put("root.pem", papers.root())?;
    Ok(format!(
        "pk12util -i {bundle} {DATABASE} -W '{}' &&
         certutil -A -n root -t CT,, -a -i {root} {DATABASE} &&",
        Papers::PASSPHRASE
    ))
}

fn subnets(Tunnel { local, remote, .. }: &Tunnel) -> String {
    format!("leftsubnet={}\nrightsubnet={}", local.network(), remote.network())
}

fn ipsec_conf(tunnel: &Tunnel, lines: &str) -> String {
    let Tunnel { local, remote, .. } = tunnel;
    // Here, both ends prove themselves in the same way.
    let auth = match local.proof {
        Proof::Secret(_) => "authby=secret",
        Proof::Certificates => "leftcert=own\n\tleftsendcert=always",
    };
    let lines: String = lines.lines().map(|line| format!("\t{}\n", line.trim())).collect();
    format!(
        "config setup
\tdnssec-enable=no
conn dut
\tleft={}
\tleftid={}
\tleftupdown=%disabled
\tright={}
\trightid={}
\t{auth}
\tsession-resumption=yes
\tauto=ignore
{lines}",
        local.outer, local.id, remote.outer, remote.id
    )
}
