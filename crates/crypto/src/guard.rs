//! Keeps secrets from growing traits that would show or copy them: a type that
//! implements a forbidden trait makes the crate fail to compile.

use crate::{
    ChildKeys, CookieKey, EspKey, EspOpeningKey, EspSealingKey, IkeKeys, IntAuth, KeyAnswer,
    KeyExchange, Mac, MessageKey, Ppk, Psk, SharedSecret, SharedSecrets, SigningKey, SkD, SkP,
    Skeyseed, TicketKey,
};

/// If `$type` implements `$trait`, both impls of `Candidate` apply to it and
/// the inferred parameter is ambiguous.
macro_rules! never_implements {
    ($type:ty: $($trait:path),+) => {
        const _: fn() = || {
            $({
                trait Candidate<Marker> {
                    fn resolve() {}
                }
                struct Forbidden;
                impl<T: ?Sized> Candidate<()> for T {}
                impl<T: ?Sized + $trait> Candidate<Forbidden> for T {}
                <$type as Candidate<_>>::resolve();
            })+
        };
    };
}

macro_rules! secrets {
    ($($type:ty),+ $(,)?) => {
        $(never_implements!($type: Clone, std::fmt::Debug, std::fmt::Display, PartialEq, AsRef<[u8]>);)+
    };
}

secrets!(
    ChildKeys,
    CookieKey,
    EspKey,
    EspOpeningKey,
    EspSealingKey,
    IkeKeys,
    IntAuth,
    KeyAnswer,
    KeyExchange,
    Mac,
    MessageKey,
    Ppk,
    Psk,
    SharedSecret,
    SharedSecrets,
    SigningKey,
    SkD,
    SkP,
    Skeyseed,
    TicketKey,
    crate::secret::PrfKey,
);

/// Packet threads share keys by reference.
const fn shared_between_threads<T: Send + Sync>() {}
const _: () = {
    shared_between_threads::<EspSealingKey>();
    shared_between_threads::<EspOpeningKey>();
    shared_between_threads::<TicketKey>();
    shared_between_threads::<CookieKey>();
};
