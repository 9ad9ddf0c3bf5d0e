//! The machine's addresses and routes: connections go along when they change.

use std::net::IpAddr;

use super::Endpoint;
use crate::time::Now;

impl Endpoint {
    /// The machine has these addresses now, or other routes. Those of its own
    /// tunnels, and those that lead nowhere beyond a link, are not among them.
    /// `source_towards` tells from which address datagrams to another one leave;
    /// `None`: none leads there.
    ///
    /// SAs that we have begun move if their peer knows MOBIKE (RFC 4555). Others
    /// whose address is gone are resumed, or set up anew, at once.
    pub fn handle_addresses(
        &mut self,
        now: Now,
        addresses: Vec<IpAddr>,
        source_towards: impl Fn(IpAddr) -> Option<IpAddr>,
    ) {
        let are_new = self.cx.addresses != addresses;
        self.cx.addresses = addresses;
        for index in 0..self.lines.len() {
            let Some(line) = self.lines.get_mut(index) else { return };
            let coming = line.coming;
            match line.sa {
                Some(spi) => {
                    for spi in coming.into_iter().chain([spi]) {
                        self.change(now, spi, |sa, cx| sa.roam(cx, now, &source_towards));
                    }
                }
                None if are_new => self.return_soon(now, index),
                None => {}
            }
        }
    }
}
