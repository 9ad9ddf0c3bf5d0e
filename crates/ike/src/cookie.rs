//! Stateless cookies (RFC 7296 section 2.6): a stranger must show that it
//! receives what we send to its address before it costs us memory.

use std::time::Duration;

use crypto::{CookieKey, Provider};

use crate::event::Path;
use crate::time::Instant;
use crate::wire::IkeSpi;

/// A secret makes cookies for this long, and is then good for as long again.
const ROTATE_EVERY: Duration = Duration::from_secs(60);

/// How long cookies are asked for after there was last a need. A stranger
/// whose first message was answered with a cookie must not have a delayed copy
/// of it answered with an SA: it could not tell which of its messages was meant.
const CALM_DOWN: Duration = Duration::from_secs(10);

pub(crate) struct Cookies {
    current: CookieKey,
    previous: CookieKey,
    rotate_at: Instant,
    wanted_until: Option<Instant>,
}

impl Cookies {
    pub(crate) fn new(provider: &mut Provider, now: Instant) -> Self {
        Self {
            current: CookieKey::generate(provider),
            previous: CookieKey::generate(provider),
            rotate_at: now + ROTATE_EVERY,
            wanted_until: None,
        }
    }

    /// Whether strangers must bring one, given whether there is a need just now.
    pub(crate) fn are_wanted(&mut self, now: Instant, is_needed: bool) -> bool {
        if is_needed {
            self.wanted_until = Some(now + CALM_DOWN);
        }
        self.wanted_until.is_some_and(|until| now < until)
    }

    /// The cookie for whoever sent this from there.
    pub(crate) fn make(
        &mut self,
        provider: &mut Provider,
        now: Instant,
        (path, spi_i, nonce): (&Path, IkeSpi, &[u8]),
    ) -> [u8; 32] {
        self.rotate_if_due(provider, now);
        bind(path, spi_i, nonce, |parts| self.current.tag(parts))
    }

    /// Whether we made this cookie for whoever sent it, not long ago.
    pub(crate) fn is_good(
        &mut self,
        provider: &mut Provider,
        now: Instant,
        (path, spi_i, nonce): (&Path, IkeSpi, &[u8]),
        cookie: &[u8],
    ) -> bool {
        self.rotate_if_due(provider, now);
        bind(path, spi_i, nonce, |parts| {
            self.current.verify(parts, cookie).is_ok()
                || self.previous.verify(parts, cookie).is_ok()
        })
    }

    fn rotate_if_due(&mut self, provider: &mut Provider, now: Instant) {
        if now < self.rotate_at {
            return;
        }
        let fresh = CookieKey::generate(provider);
        self.previous = std::mem::replace(&mut self.current, fresh);
        if now >= self.rotate_at + ROTATE_EVERY {
            // Nothing has asked for a whole period: the last one is stale, too.
            self.previous = CookieKey::generate(provider);
        }
        self.rotate_at = now + ROTATE_EVERY;
    }
}

/// `Ni | IPi | SPIi` of RFC 7296 section 2.6, and the port: behind one NAT
/// there may be many.
fn bind<R>(path: &Path, spi_i: IkeSpi, nonce: &[u8], f: impl FnOnce(&[&[u8]]) -> R) -> R {
    let address = match path.remote.ip() {
        std::net::IpAddr::V4(a) => a.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(a) => a.octets(),
    };
    f(&[nonce, &address, &path.remote.port().to_be_bytes(), &spi_i.0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Port;

    fn path(remote: &str) -> Path {
        let local = "198.51.100.1:500".parse().unwrap();
        Path { local, remote: remote.parse().unwrap(), port: Port::Ike }
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_nanos(seconds * 1_000_000_000)
    }

    fn cookies() -> (Cookies, Provider) {
        let mut provider = Provider::seeded(1);
        (Cookies::new(&mut provider, at(0)), provider)
    }

    #[test]
    fn a_cookie_is_good_for_one_period_and_the_next() {
        let here = path("192.0.2.1:500");
        let from = (&here, IkeSpi([1; 8]), &[7; 32][..]);
        for (checked_at, is_good) in [(0, true), (59, true), (119, true), (120, false)] {
            let (mut cookies, mut provider) = cookies();
            let cookie = cookies.make(&mut provider, at(0), from);
            cookies.are_wanted(at(checked_at), true);
            // Somebody asks in between, so that each period has its secret.
            cookies.make(&mut provider, at(checked_at.min(60)), from);
            let answer = cookies.is_good(&mut provider, at(checked_at), from, &cookie);
            assert_eq!(answer, is_good, "after {checked_at} s");
        }
    }

    #[test]
    fn a_cookie_is_good_for_who_asked_from_there_with_that_nonce() {
        let (mut cookies, mut provider) = cookies();
        let (here, there) = (path("192.0.2.1:500"), path("192.0.2.1:501"));
        let nonce = &[7; 32][..];
        let spi = IkeSpi([1; 8]);
        let cookie = cookies.make(&mut provider, at(0), (&here, spi, nonce));
        let mut is_good = |from, cookie: &[u8]| cookies.is_good(&mut provider, at(1), from, cookie);
        assert!(is_good((&here, spi, nonce), &cookie));
        assert!(!is_good((&there, spi, nonce), &cookie));
        assert!(!is_good((&here, IkeSpi([2; 8]), nonce), &cookie));
        assert!(!is_good((&here, spi, &[8; 32]), &cookie));
        assert!(!is_good((&here, spi, nonce), &cookie[..31]));
    }

    #[test]
    fn cookies_are_wanted_until_things_have_calmed_down() {
        let (mut cookies, _) = cookies();
        assert!(!cookies.are_wanted(at(0), false));
        assert!(cookies.are_wanted(at(1), true));
        assert!(cookies.are_wanted(at(10), false));
        assert!(!cookies.are_wanted(at(11), false));
    }
}
