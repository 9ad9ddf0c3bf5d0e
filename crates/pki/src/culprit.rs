//! On which certificate a check has failed, for people to read: nothing is
//! decided here, and no signature is verified.

use std::time::SystemTime;

use crate::certificate::Certificate;
use crate::refusal::{Refusal, Refused};
use crate::trust::{MAX_CERTIFICATES, Trust, in_time};
use crate::vouched::Trace;

impl Trust {
    /// The refusal with the certificate that failed, where that is certain.
    pub(crate) fn blame(
        &self,
        check: Refusal,
        leaf: &Certificate,
        others: &[&[u8]],
        time: SystemTime,
    ) -> Refused {
        let path = self.path(leaf, others);
        match self.culprit(check, &path, time) {
            Some(certificate) => Refused::on(check, certificate),
            None => check.into(),
        }
    }

    fn culprit<'a>(
        &self,
        check: Refusal,
        path: &'a [Certificate],
        time: SystemTime,
    ) -> Option<&'a Certificate> {
        let (leaf, issuers) = path.split_first()?;
        let shown = || path.iter().filter(|it| !self.is_anchor(it));
        match check {
            Refusal::Expired | Refusal::NotYetValid => {
                path.iter().find(|it| in_time(it, time) == Err(check))
            }
            Refusal::Revoked => shown().find(|it| self.is_revoked(&Trace::of(it))),
            Refusal::ExtendedKeyUsage => shown().find(|it| !self.usage_is_good(it)),
            Refusal::BasicConstraints if leaf.is_authority() => Some(leaf),
            Refusal::BasicConstraints => issuers.iter().find(|it| !it.is_authority()),
            // Where the path ends that leads to nobody.
            Refusal::UnknownIssuer if !path.iter().any(|it| self.is_anchor(it)) => path.last(),
            Refusal::UnknownIssuer
            | Refusal::Signature
            | Refusal::Algorithm
            | Refusal::Malformed
            | Refusal::Key
            | Refusal::KeyUsage
            | Refusal::NoRevocationList
            | Refusal::RevocationList
            | Refusal::PathLength
            | Refusal::NameConstraints
            | Refusal::CriticalExtension => shown().eq([leaf]).then_some(leaf),
            Refusal::Identity => Some(leaf),
            Refusal::Missing | Refusal::TooMuch | Refusal::UnknownKey => None,
        }
    }

    /// From the peer's certificate by the names of issuers, to one of our
    /// authorities or as far as it goes.
    fn path(&self, leaf: &Certificate, others: &[&[u8]]) -> Vec<Certificate> {
        let others: Vec<_> =
            others.iter().filter_map(|der| Certificate::from_der(der).ok()).collect();
        let mut path = vec![leaf.clone()];
        while path.len() <= MAX_CERTIFICATES {
            let Some(last) = path.last().filter(|it| !self.is_anchor(it)) else { break };
            let all = self.authorities.iter().chain(&others);
            let mut issuers = all.filter(|it| it.subject() == last.issuer());
            let Some(next) = issuers.find(|it| !path.contains(it)) else { break };
            path.push(next.clone());
        }
        path
    }

    fn is_anchor(&self, certificate: &Certificate) -> bool {
        self.authorities.contains(certificate)
    }
}
