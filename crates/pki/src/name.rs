//! Whom a certificate may prove somebody to be.

use std::net::IpAddr;

use crate::dn::Dn;

/// An identity that somebody claims in IKE, as certificates are matched with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name<'a> {
    /// `ID_IPV4_ADDR`, `ID_IPV6_ADDR`: an iPAddress.
    Address(IpAddr),
    /// `ID_FQDN`: a dNSName, whatever its case.
    Dns(&'a str),
    /// `ID_RFC822_ADDR`: an rfc822Name; the case of the domain does not matter.
    Email(&'a str),
    /// `ID_DER_ASN1_DN`: the subject.
    Dn(Dn),
    /// `ID_KEY_ID`: the subject key identifier.
    KeyId(&'a [u8]),
}

/// Names in a certificate's subjectAltName (RFC 5280 section 4.2.1.6).
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct AlternativeNames {
    pub(crate) dns: Vec<String>,
    pub(crate) emails: Vec<String>,
    pub(crate) addresses: Vec<IpAddr>,
}

impl AlternativeNames {
    /// Wildcards in a dNSName are not names of peers (RFC 4945 section 5.1.3.6
    /// knows none), and match nobody.
    pub(crate) fn has_dns(&self, name: &str) -> bool {
        self.dns.iter().any(|own| !own.contains('*') && own.eq_ignore_ascii_case(name))
    }

    pub(crate) fn has_email(&self, address: &str) -> bool {
        self.emails.iter().any(|own| same_mailbox(own, address))
    }
}

/// The local part is compared to the letter (RFC 5280 section 7.5).
fn same_mailbox(a: &str, b: &str) -> bool {
    match (a.rsplit_once('@'), b.rsplit_once('@')) {
        (Some((local_a, domain_a)), Some((local_b, domain_b))) => {
            local_a == local_b && domain_a.eq_ignore_ascii_case(domain_b)
        }
        (Some(_) | None, None) | (None, Some(_)) => false,
    }
}
