//! IKE_INTERMEDIATE (RFC 9242) with one more key exchange each (RFC 9370
//! section 2.2.2).
//!
//! ```text
//! HDR, SK { KEi(n) } -->
//!              <-- HDR, SK { KEr(n) }
//! ```
//! Each replaces the keys of the SA. The messages are covered by AUTH.

use crypto::{Group, IkeSuite, IntAuth, SharedSecret};

use crate::event::Role;
use crate::exchange::{Shape, Transcript, sa_init};
use crate::sa::protection::{Keys, Spis};
use crate::wire::{PayloadType, Payloads};

/// What request and response must hold.
const MESSAGE: Shape = Shape { required: &[PayloadType::KE], forbidden: &[PayloadType::NONCE] };

/// The peer's public value for an exchange in `group`.
pub(crate) fn share<'a>(payloads: &Payloads<'a>, group: Group) -> Option<&'a [u8]> {
    MESSAGE.check(payloads).ok()?;
    let (sent, public) = sa_init::key_share(payloads)?;
    (sent == group).then_some(public)
}

/// What AUTH covers after one more exchange, whose messages were protected by
/// `keys` (RFC 9242 section 3.3.2).
pub(crate) fn cover(
    before: Option<IntAuth>,
    role: Role,
    keys: &Keys,
    (request, response): (&[u8], &[u8]),
) -> IntAuth {
    let (sk_pi, sk_pr) = match role {
        Role::Initiator => (&keys.our_p, &keys.their_p),
        Role::Responder => (&keys.their_p, &keys.our_p),
    };
    let messages = ((sk_pi, request), (sk_pr, response));
    match before {
        None => IntAuth::first(messages.0, messages.1),
        Some(before) => before.next(messages.0, messages.1),
    }
}

/// The keys after one more key exchange, in place of `keys`, of which the
/// message keys are left.
pub(crate) fn strengthen(
    keys: Keys,
    (role, spis, suite): (Role, Spis, IkeSuite),
    transcript: &Transcript,
    shared: SharedSecret,
) -> (Keys, crate::sa::protection::Protection) {
    let Keys { protection, sk_d, our_p: _, their_p: _ } = keys;
    let nonces = transcript.nonces();
    let on_wire = crypto::IkeSpis { initiator: spis.initiator.0, responder: spis.responder.0 };
    let next = sk_d.strengthen(shared, nonces).expand(suite, nonces, on_wire);
    (Keys::new(role, spis, next, protection.room()), protection)
}
