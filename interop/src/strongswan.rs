//! strongSwan: charon with its user-space ESP, one instance a namespace.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::namespace::Namespace;
use crate::process::{Process, run};
use crate::tree::tree;
use crate::tunnel::{Proof, Tunnel};
use crate::vici::Section;
use crate::wait::{PATIENCE, until};

/// Which of those that `interop/setup.sh` installs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edition {
    /// 5.9, from the distribution.
    Installed,
    /// 6, from a tree of Debian's unstable release: it has ML-KEM (RFC 9370).
    Unstable,
}

impl Edition {
    /// How to start charon, and the directory of `namespace` as it sees it.
    fn charon(self, namespace: &Namespace) -> Result<(Command, &Path)> {
        match self {
            Self::Installed => Ok((namespace.command("charon-systemd"), namespace.dir())),
            Self::Unstable => {
                // `ip netns exec` gave this shell a mount namespace of its own.
                let script = r#"mount --bind "$2" "$1/host" && mount --rbind /dev "$1/dev" &&
                    mount -t proc proc "$1/proc" && mount -t tmpfs tmpfs "$1/run" &&
                    exec chroot "$1" /usr/sbin/charon-systemd"#;
                let mut command = namespace.command("sh");
                command.args(["-c", script, "sh"]).arg(tree("sid")?).arg(namespace.dir());
                Ok((command, Path::new("/host")))
            }
        }
    }
}

/// A running charon with one connection, `dut`, and its child `net`.
pub struct StrongSwan {
    edition: Edition,
    namespace: Namespace,
    process: Process,
}

impl StrongSwan {
    /// Starts charon in `namespace`, which gets the tunnel's local inner address, and loads the
    /// tunnel.
    ///
    /// # Errors
    /// When charon does not come up or refuses the configuration.
    pub fn start(namespace: &Namespace, tunnel: &Tunnel) -> Result<Self> {
        Self::start_edition(Edition::Installed, namespace, tunnel)
    }

    /// As [`StrongSwan::start`], of an edition.
    ///
    /// # Errors
    /// When charon does not come up or refuses the configuration.
    pub fn start_edition(edition: Edition, namespace: &Namespace, tunnel: &Tunnel) -> Result<Self> {
        namespace.address("lo", &format!("{}/32", tunnel.local.inner))?;
        Self::launch(edition, namespace, &swanctl_conf(tunnel, ""))
    }

    /// As [`StrongSwan::start`], with further lines of the connection.
    ///
    /// # Errors
    /// When charon does not come up or refuses the configuration.
    pub fn start_saying(namespace: &Namespace, tunnel: &Tunnel, lines: &str) -> Result<Self> {
        namespace.address("lo", &format!("{}/32", tunnel.local.inner))?;
        Self::launch(Edition::Installed, namespace, &swanctl_conf(tunnel, lines))
    }

    /// Starts charon in `namespace` and loads a whole `swanctl.conf`, whose one connection is
    /// `dut` with the child `net`.
    ///
    /// # Errors
    /// When charon does not come up or refuses the configuration.
    pub fn start_with(namespace: &Namespace, conf: &str) -> Result<Self> {
        Self::launch(Edition::Installed, namespace, conf)
    }

    /// As [`StrongSwan::start`], with a child in transport mode, between the hosts.
    ///
    /// # Errors
    /// When charon does not come up or refuses the configuration.
    pub fn start_for_hosts(namespace: &Namespace, tunnel: &Tunnel) -> Result<Self> {
        let conf = swanctl_conf(tunnel, "")
            .replace(&tunnel.local.network(), "dynamic")
            .replace(&tunnel.remote.network(), "dynamic")
            .replace("mode = tunnel", "mode = transport");
        Self::launch_saying(Edition::Installed, namespace, &conf, FOR_HOSTS)
    }

    /// As [`StrongSwan::start`], of one that knows no method 14 (RFC 7427): it signs by methods 1
    /// and 9 to 11, and so do those who talk with it.
    ///
    /// # Errors
    /// When charon does not come up or refuses the configuration.
    pub fn start_classic(namespace: &Namespace, tunnel: &Tunnel) -> Result<Self> {
        namespace.address("lo", &format!("{}/32", tunnel.local.inner))?;
        let conf = swanctl_conf(tunnel, "");
        Self::launch_saying(Edition::Installed, namespace, &conf, CLASSIC)
    }

    /// Kills charon, which has no time to tell its peers.
    ///
    /// # Errors
    /// When it has ended already.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait_exit(PATIENCE).map(drop)
    }

    /// Starts charon again after [`StrongSwan::kill`], with the same configuration.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_again(&mut self) -> Result<()> {
        self.process = spawn(self.edition, &self.namespace)?;
        self.load()
    }

    fn launch(edition: Edition, namespace: &Namespace, conf: &str) -> Result<Self> {
        Self::launch_saying(edition, namespace, conf, "")
    }

    /// With further lines about charon itself.
    fn launch_saying(
        edition: Edition,
        namespace: &Namespace,
        conf: &str,
        lines: &str,
    ) -> Result<Self> {
        let dir = namespace.dir();
        let (_, seen) = edition.charon(namespace)?;
        fs::create_dir_all(dir.join("swanctl"))?;
        fs::write(dir.join("strongswan.conf"), daemon_conf(seen, lines))?;
        fs::write(dir.join("swanctl/swanctl.conf"), conf)?;
        let process = spawn(edition, namespace)?;
        let strongswan = Self { edition, namespace: namespace.clone(), process };
        strongswan.load()?;
        Ok(strongswan)
    }

    fn load(&self) -> Result<()> {
        // The socket is there a moment before it answers.
        until(PATIENCE, "charon to answer", || Ok(self.swanctl("--stats").ok()))?;
        self.swanctl("--load-all --noprompt").map(drop)
    }

    /// Brings the tunnel up from this side.
    ///
    /// # Errors
    /// When the peer refuses or is silent, with what swanctl says.
    pub fn initiate(&self) -> Result<()> {
        self.initiate_child("net")
    }

    /// Brings up a child, and first its IKE SA if there is none.
    ///
    /// # Errors
    /// When the peer refuses or is silent, with what swanctl says.
    pub fn initiate_child(&self, child: &str) -> Result<()> {
        self.swanctl(&format!("--initiate --child {child} --timeout 15")).map(drop)
    }

    /// Deletes the IKE SA from this side.
    ///
    /// # Errors
    /// When there is none, or the peer does not answer.
    pub fn terminate(&self) -> Result<()> {
        self.swanctl("--terminate --ike dut --timeout 15").map(drop)
    }

    /// Begins to replace the keys of the IKE SA.
    ///
    /// # Errors
    /// When there is none.
    pub fn rekey(&self) -> Result<()> {
        self.swanctl("--rekey --ike dut").map(drop)
    }

    /// Begins to replace the keys of the child.
    ///
    /// # Errors
    /// When there is none.
    pub fn rekey_child(&self) -> Result<()> {
        self.rekey_child_named("net")
    }

    /// Begins to replace the keys of a child.
    ///
    /// # Errors
    /// When there is none.
    pub fn rekey_child_named(&self, child: &str) -> Result<()> {
        self.swanctl(&format!("--rekey --child {child}")).map(drop)
    }

    /// Ends a child, and not its IKE SA.
    ///
    /// # Errors
    /// When there is none, or the peer does not answer.
    pub fn terminate_child(&self, child: &str) -> Result<()> {
        self.swanctl(&format!("--terminate --child {child} --timeout 15")).map(drop)
    }

    /// Sends the peer to another gateway, by its address.
    ///
    /// # Errors
    /// When there is no IKE SA.
    pub fn redirect(&self, gateway: &str) -> Result<()> {
        self.swanctl(&format!("--redirect --ike dut --gateway {gateway}")).map(drop)
    }

    /// The established IKE SAs.
    ///
    /// # Errors
    /// When charon does not answer.
    pub fn established(&self) -> Result<Vec<Section>> {
        let listed = self.swanctl("--list-sas --raw")?;
        let mut established = Vec::new();
        for event in listed.lines().filter(|line| line.starts_with("list-sa event")) {
            let event = Section::parse(event)?;
            let sas = event.sections().map(|(_, sa)| sa);
            established.extend(sas.filter(|sa| sa.value("state") == Some("ESTABLISHED")).cloned());
        }
        Ok(established)
    }

    /// The one child of the one IKE SA.
    ///
    /// # Errors
    /// When there is more or less than one.
    pub fn child(&self) -> Result<Section> {
        let sas = self.established()?;
        let [sa] = sas.as_slice() else { anyhow::bail!("not one IKE SA: {sas:#?}") };
        let children: Vec<_> =
            sa.section("child-sas").into_iter().flat_map(Section::sections).collect();
        let [(_, child)] = children.as_slice() else { anyhow::bail!("not one child: {sa:#?}") };
        Ok((*child).clone())
    }

    /// Waits until it holds `count` established IKE SAs.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn wait_for_established(&self, count: usize) -> Result<()> {
        until(PATIENCE, format!("{count} IKE SAs at strongSwan"), || {
            Ok((self.established()?.len() == count).then_some(()))
        })
    }

    /// Checks that it has written this into its log.
    ///
    /// # Errors
    /// When it has not.
    pub fn ensure_logged(&self, line: &str) -> Result<()> {
        let log = fs::read_to_string(self.namespace.dir().join("charon-file.log"))?;
        ensure!(log.contains(line), "strongSwan has no \"{line}\"");
        Ok(())
    }

    fn swanctl(&self, arguments: &str) -> Result<String> {
        let dir = self.namespace.dir();
        let mut command = Command::new("swanctl");
        command.args(arguments.split_whitespace());
        command.arg("--uri").arg(format!("unix://{}", dir.join("vici").display()));
        command.env("STRONGSWAN_CONF", dir.join("strongswan.conf"));
        command.env("SWANCTL_DIR", dir.join("swanctl"));
        run(&mut command).context("swanctl")
    }
}

/// charon with the files that are there, up to its control socket.
fn spawn(edition: Edition, namespace: &Namespace) -> Result<Process> {
    let dir = namespace.dir();
    let (mut command, seen) = edition.charon(namespace)?;
    command.env("STRONGSWAN_CONF", seen.join("strongswan.conf"));
    let mut process = Process::spawn(dir, "charon", &mut command)?;
    let socket = dir.join("vici");
    process.wait_for(PATIENCE, "its control socket", |_| Ok(socket.exists().then_some(())))?;
    Ok(process)
}

/// What is inside may go to the peer itself; charon's own packets bear a mark and stay outside.
const FOR_HOSTS: &str = "plugins { kernel-libipsec { allow_peer_ts = yes }
                                   kernel-netlink { fwmark = !0x42 }
                                   socket-default { fwmark = 0x42 } }";

const CLASSIC: &str = "signature_authentication = no";

/// kernel-libipsec before kernel-netlink: the first takes the SAs, the second the rest.
fn daemon_conf(dir: &Path, lines: &str) -> String {
    let dir = dir.display();
    format!(
        "charon-systemd {{
            load = random nonce openssl aes sha1 sha2 hmac kdf gcm ctr chapoly curve25519 pem \
                   pkcs1 pkcs8 pubkey x509 constraints revocation kernel-libipsec kernel-netlink \
                   socket-default vici updown
            plugins {{ vici {{ socket = unix://{dir}/vici }} }}
            {lines}
            filelog {{ file {{ path = {dir}/charon-file.log
                               default = 1
                               ike = 2
                               flush_line = yes }} }}
            syslog {{ daemon {{ default = -1 }} }}
            journal {{ default = -1 }}
            make_before_break = yes
            retransmit_timeout = 1.0
            retransmit_tries = 3
        }}
        swanctl {{ load = random openssl pem pkcs1 pkcs8 pubkey x509 }}\n"
    )
}

fn swanctl_conf(tunnel: &Tunnel, lines: &str) -> String {
    let Tunnel { local, remote, ike, esp } = tunnel;
    let (auth, own) = match local.proof {
        Proof::Secret(_) => ("psk", ""),
        Proof::Certificates => ("pubkey", "certs = own.pem"),
    };
    let remote_auth = match remote.proof {
        Proof::Secret(_) => "psk",
        Proof::Certificates => "pubkey",
    };
    let secret = tunnel.secret();
    let secrets = secret.map(|secret| format!("secrets {{ ike-dut {{ secret = \"{secret}\" }} }}"));
    let secrets = secrets.unwrap_or_default();
    format!(
        "connections {{ dut {{
            version = 2
            local_addrs = {}
            remote_addrs = {}
            proposals = {ike}
            encap = yes
            mobike = no
            {lines}
            local {{ auth = {auth}
                     {own}
                     id = \"{}\" }}
            remote {{ auth = {remote_auth}
                      id = \"{}\" }}
            children {{ net {{ local_ts = {}
                               remote_ts = {}
                               esp_proposals = {esp}
                               mode = tunnel }} }}
        }} }}
        {secrets}\n",
        local.outer,
        remote.outer,
        local.id,
        remote.id,
        local.network(),
        remote.network()
    )
}
