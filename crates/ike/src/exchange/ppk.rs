//! Post-quantum pre-shared keys in the set-up (RFC 8784).
//!
//! ```text
//! IKE_SA_INIT   HDR, .., N(USE_PPK) -->
//!                             <-- HDR, .., N(USE_PPK)
//! IKE_AUTH      HDR, SK { .., AUTH, N(PPK_IDENTITY), [N(NO_PPK_AUTH)] } -->
//!                             <-- HDR, SK { .., AUTH, [N(PPK_IDENTITY)] }
//! ```
//! AUTH is made with the key mixed in, NO_PPK_AUTH without it.

use std::sync::Arc;

use crypto::Ppk;

use crate::config::{NamedPpk, PpkUse};
use crate::exchange::auth::AuthData;
use crate::sa::protection::Keys;
use crate::wire::{MessageBuilder, Notify, NotifyType, Payloads, Protected};

/// The type of a PPK_ID that is a configured string (RFC 8784 section 5.1).
const FIXED: u8 = 2;

/// Whether the peer knows PPKs and has some.
pub(crate) fn is_used(payloads: &Payloads<'_>) -> bool {
    payloads.notify(NotifyType::USE_PPK).is_some()
}

/// The PPK_ID in a request, with its type; in a response it means nothing but
/// that the PPK is used.
pub(crate) fn identity<'a>(payloads: &Payloads<'a>) -> Option<&'a [u8]> {
    payloads.notify(NotifyType::PPK_IDENTITY).map(|notify: Notify<'a>| notify.data)
}

/// The AUTH of an initiator that does not insist on its PPK.
pub(crate) fn auth_without<'a>(payloads: &Payloads<'a>) -> Option<&'a [u8]> {
    payloads.notify(NotifyType::NO_PPK_AUTH).map(|notify| notify.data)
}

/// Appends what an initiator says of the PPK that its AUTH is made with.
pub(crate) fn push_identity(
    builder: &mut MessageBuilder<Protected>,
    id: &str,
    without: Option<&AuthData>,
) {
    let id = [&[FIXED], id.as_bytes()].concat();
    builder.notify(NotifyType::PPK_IDENTITY, &id);
    match without {
        Some(AuthData::Code(code)) => builder.notify(NotifyType::NO_PPK_AUTH, code.as_bytes()),
        Some(AuthData::Signature(signature)) => {
            builder.notify(NotifyType::NO_PPK_AUTH, &signature.data)
        }
        None => builder,
    };
}

impl PpkUse {
    /// The key with this PPK_ID.
    pub(crate) fn named(&self, id: &[u8]) -> Option<&Arc<NamedPpk>> {
        let id = id.strip_prefix(&[FIXED])?;
        self.keys.iter().find(|ppk| ppk.id.as_bytes() == id)
    }
}

impl Keys {
    /// The keys that come after the set-up, and the proofs, get the PPK mixed in.
    /// Those of messages do not.
    pub(crate) fn mix(&mut self, ppk: &Ppk) {
        self.sk_d = self.sk_d.with_ppk(ppk);
        self.our_p = self.our_p.with_ppk(ppk);
        self.their_p = self.their_p.with_ppk(ppk);
    }
}
