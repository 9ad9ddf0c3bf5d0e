//! dnsmasq as a name server that knows one name.

use std::net::Ipv4Addr;

use anyhow::Result;

use crate::namespace::Namespace;
use crate::process::Process;
use crate::tree::tree;
use crate::wait::PATIENCE;

/// A running name server, and what it was asked.
pub struct NameServer {
    process: Process,
}

impl NameServer {
    /// Starts one at an address that `namespace` has. There is only `name` for it, at `found`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(namespace: &Namespace, at: Ipv4Addr, name: &str, found: Ipv4Addr) -> Result<Self> {
        let mut command = namespace.command("chroot");
        command.arg(tree("names")?).arg("/usr/sbin/dnsmasq");
        command.args("--keep-in-foreground --conf-file= --user=root --pid-file=".split(' '));
        command.args("--no-resolv --no-hosts --bind-interfaces".split(' '));
        command.args("--log-queries --log-facility=-".split(' '));
        command.arg(format!("--listen-address={at}"));
        command.arg(format!("--host-record={name},{found}"));
        // There is no other name. What is known may be kept.
        command.args(["--address=/#/", "--local-ttl=600"]);
        let mut process = Process::spawn(namespace.dir(), &format!("dns-{at}"), &mut command)?;
        process.wait_for_line("started", PATIENCE)?;
        Ok(Self { process })
    }

    /// Whether it was asked for a name.
    ///
    /// # Errors
    /// When its log cannot be read.
    pub fn was_asked_for(&self, name: &str) -> Result<bool> {
        Ok(self.process.output()?.contains(&format!("] {name} from ")))
    }
}
