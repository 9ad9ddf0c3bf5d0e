//! Name servers inside of tunnels: told to systemd-resolved where it runs, else
//! to resolvconf.
//!
//! Both know our servers by the TUN device. systemd-resolved forgets them when
//! the device goes, also after a kill; what resolvconf still has from a daemon
//! that was killed is removed at the next start.

mod resolvconf;
mod resolved;

use std::net::IpAddr;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use ike::inner::Domain;
use tokio::runtime::Runtime;

/// What the system's resolver is to know of the tunnels.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Servers {
    /// Name servers, the preferred first.
    pub servers: Vec<IpAddr>,
    /// The domains to ask them for; none: all.
    pub domains: Vec<Domain>,
}

/// The TUN device, by which a resolver knows us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
}

/// Speaks to the system's resolver from a thread of its own: nothing waits for it.
pub struct Names {
    wanted: Sender<Servers>,
    worker: JoinHandle<()>,
}

impl Names {
    /// Removes what an earlier daemon has left with resolvconf.
    ///
    /// # Errors
    /// When there can be no thread.
    pub fn prepare(device: Device) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (wanted, receiver) = mpsc::channel();
        let worker = thread::Builder::new()
            .name("cygnet-names".into())
            .spawn(move || Worker { device, runtime, said: Servers::default() }.run(&receiver))?;
        Ok(Self { wanted, worker })
    }

    /// From now on it is to know this and no more.
    pub fn set(&self, servers: Servers) {
        // The worker ends after us.
        let _ = self.wanted.send(servers);
    }

    /// Takes everything back.
    pub fn close(self) {
        drop(self.wanted);
        if self.worker.join().is_err() {
            tracing::error!("the resolver may still know our name servers");
        }
    }
}

struct Worker {
    device: Device,
    runtime: Runtime,
    said: Servers,
}

impl Worker {
    fn run(mut self, wanted: &Receiver<Servers>) {
        resolvconf::remove_leftovers(&self.device);
        while let Ok(first) = wanted.recv() {
            let last = wanted.try_iter().last();
            self.say(last.unwrap_or(first));
        }
        self.say(Servers::default());
    }

    fn say(&mut self, servers: Servers) {
        if servers == self.said {
            return;
        }
        match self.runtime.block_on(resolved::tell(&self.device, &servers)) {
            Ok(true) => {}
            Ok(false) => resolvconf::tell(&self.device, &servers),
            Err(error) => tracing::error!("systemd-resolved does not take name servers: {error}"),
        }
        self.said = servers;
    }
}
