//! One tunnel, described once; each implementation renders it in its own format.

use std::net::Ipv4Addr;

/// One end of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The outer address.
    pub outer: Ipv4Addr,
    /// The identity: `@name` for a domain name, an e-mail address, an address, or a subject.
    pub id: String,
    /// The address inside the tunnel; the network is the /24 around it.
    pub inner: Ipv4Addr,
    /// How it proves who it is.
    pub proof: Proof,
}

impl Side {
    /// The network behind this end.
    pub fn network(&self) -> String {
        let [a, b, c, _] = self.inner.octets();
        format!("{a}.{b}.{c}.0/24")
    }
}

/// How an end proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By this secret, which both know.
    Secret(String),
    /// By the certificates of [`Papers`](crate::Papers), which are in their folders.
    Certificates,
}

/// A connection with one child, as seen from `local`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// This end.
    pub local: Side,
    /// The other end.
    pub remote: Side,
    /// IKE proposal in strongSwan's (and cygnet's) spelling.
    pub ike: String,
    /// ESP proposal in strongSwan's (and cygnet's) spelling.
    pub esp: String,
}

impl Tunnel {
    /// As IKE proposals: what each side takes if it is not told.
    pub const DEFAULT: &str = "default";

    /// From the daemon under test (10.77.0.1, with 10.91.0.0/24) to its peer (10.77.0.2, with
    /// 10.92.0.0/24).
    pub fn new(ike: &str, esp: &str) -> Self {
        let proof = Proof::Secret("correct horse battery staple".into());
        Self {
            local: Side {
                outer: Ipv4Addr::new(10, 77, 0, 1),
                id: "@dut".into(),
                inner: Ipv4Addr::new(10, 91, 0, 1),
                proof: proof.clone(),
            },
            remote: Side {
                outer: Ipv4Addr::new(10, 77, 0, 2),
                id: "@peer".into(),
                inner: Ipv4Addr::new(10, 92, 0, 1),
                proof,
            },
            ike: ike.into(),
            esp: esp.into(),
        }
    }

    /// The same with certificates, for names that a certificate can hold.
    pub fn certified(ike: &str, esp: &str) -> Self {
        let mut tunnel = Self::new(ike, esp).proven_by([Proof::Certificates, Proof::Certificates]);
        tunnel.local.id = "@dut.example.org".into();
        tunnel.remote.id = "@peer.example.org".into();
        tunnel
    }

    /// The same tunnel from its other end.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self { local: self.remote.clone(), remote: self.local.clone(), ..self.clone() }
    }

    /// The same tunnel with another secret.
    #[must_use]
    pub fn with_secret(self, secret: &str) -> Self {
        let proof = Proof::Secret(secret.into());
        self.proven_by([proof.clone(), proof])
    }

    /// The same tunnel with another proof of the local end and the remote one.
    #[must_use]
    pub fn proven_by(mut self, [local, remote]: [Proof; 2]) -> Self {
        (self.local.proof, self.remote.proof) = (local, remote);
        self
    }

    /// What a side needs to know if anybody proves itself by a secret.
    pub(crate) fn secret(&self) -> Option<&str> {
        [&self.local, &self.remote].into_iter().find_map(|side| match &side.proof {
            Proof::Secret(secret) => Some(&**secret),
            Proof::Certificates => None,
        })
    }
}
