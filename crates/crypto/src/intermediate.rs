//! What AUTH covers of the exchanges between the first one and IKE_AUTH
//! (RFC 9242 section 3.3.2).

use crate::schedule::SkP;
use crate::secret::Mac;

/// IntAuth_i and IntAuth_r after some IKE_INTERMEDIATE exchanges.
///
/// A message counts as it was before it was sealed and maybe fragmented: from
/// the IKE header to the generic header of the Encrypted payload, with lengths
/// that count neither IV nor padding nor ICV, and then the payloads inside.
pub struct IntAuth {
    initiator: Mac,
    responder: Mac,
}

impl IntAuth {
    /// After the first exchange: prf(SK_px, message) for either side, with the
    /// keys that protected the exchange.
    #[must_use]
    pub fn first((sk_pi, request): (&SkP, &[u8]), (sk_pr, response): (&SkP, &[u8])) -> Self {
        Self { initiator: sk_pi.mac(&[request]), responder: sk_pr.mac(&[response]) }
    }

    /// After one more exchange: prf(SK_px, before | message).
    #[must_use]
    pub fn next(self, (sk_pi, request): (&SkP, &[u8]), (sk_pr, response): (&SkP, &[u8])) -> Self {
        Self {
            initiator: sk_pi.mac(&[self.initiator.as_bytes(), request]),
            responder: sk_pr.mac(&[self.responder.as_bytes(), response]),
        }
    }

    /// IntAuth = IntAuth_iN | IntAuth_rN | IKE_AUTH_MID, where the last is the
    /// message id of the first IKE_AUTH request.
    #[must_use]
    pub fn octets(&self, auth_id: u32) -> Box<[u8]> {
        [self.initiator.as_bytes(), self.responder.as_bytes(), &auth_id.to_be_bytes()]
            .concat()
            .into()
    }
}
