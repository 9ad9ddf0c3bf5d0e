//! One tunnel, described once; each implementation renders it in its own format.

use std::net::Ipv4Addr;

/// One end of a tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The outer address.
    pub outer: Ipv4Addr,
    /// The identity, as `@name` for a domain name.
    pub id: String,
    /// The address inside the tunnel; the network is the /24 around it.
    pub inner: Ipv4Addr,
}

impl Side {
    /// The network behind this end.
    pub fn network(&self) -> String {
        let [a, b, c, _] = self.inner.octets();
        format!("{a}.{b}.{c}.0/24")
    }
}

/// How both ends prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// By this shared secret.
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
    /// How both ends prove who they are.
    pub proof: Proof,
}

impl Tunnel {
    /// As IKE proposals: what each side takes if it is not told.
    pub const DEFAULT: &str = "default";

    /// From the daemon under test (10.77.0.1, with 10.91.0.0/24) to its peer (10.77.0.2, with
    /// 10.92.0.0/24).
    pub fn new(ike: &str, esp: &str) -> Self {
        Self {
            local: Side {
                outer: Ipv4Addr::new(10, 77, 0, 1),
                id: "@dut".into(),
                inner: Ipv4Addr::new(10, 91, 0, 1),
            },
            remote: Side {
                outer: Ipv4Addr::new(10, 77, 0, 2),
                id: "@peer".into(),
                inner: Ipv4Addr::new(10, 92, 0, 1),
            },
            ike: ike.into(),
            esp: esp.into(),
            proof: Proof::Secret("correct horse battery staple".into()),
        }
    }

    /// The same with certificates, for names that a certificate can hold.
    pub fn certified(ike: &str, esp: &str) -> Self {
        let mut tunnel = Self { proof: Proof::Certificates, ..Self::new(ike, esp) };
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
        Self { proof: Proof::Secret(secret.into()), ..self }
    }
}
