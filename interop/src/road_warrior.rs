//! A client that gets its inner address from a gateway: cygnet's configuration in either role,
//! between the outer addresses of [`World::pair`](crate::World::pair).

use std::net::Ipv4Addr;

/// Where the pool of [`gateway`] begins.
pub const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 1);

/// Behind the gateway.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 92, 0, 1);

/// The name server behind the gateway.
pub const NAME_SERVER: Ipv4Addr = Ipv4Addr::new(10, 92, 0, 53);

/// What both know.
pub const SECRET: &str = "correct horse battery staple";

/// The client at 10.77.0.1, whose connection is `dut`, with `extra` lines.
pub fn client(extra: &str) -> String {
    format!(
        r#"
[daemon]
listen = ["10.77.0.1"]
[connections.dut]
local_addrs = ["10.77.0.1"]
remote_addrs = ["10.77.0.2"]
vips = ["0.0.0.0"]
{extra}
[connections.dut.local]
id = "@dut"
[connections.dut.remote]
id = "@peer"
[connections.dut.children.net]
remote_ts = ["10.92.0.0/24"]
[secrets.psk]
secret = "{SECRET}"
"#
    )
}

/// The gateway at 10.77.0.2, whose connection is `clients`, with `extra` lines.
pub fn gateway(extra: &str) -> String {
    format!(
        r#"
[daemon]
listen = ["10.77.0.2"]
[connections.clients]
inner_addrs = ["{SERVER}/24"]
pools = ["clients"]
{extra}
[connections.clients.local]
id = "@peer"
[connections.clients.remote]
[connections.clients.children.net]
local_ts = ["10.92.0.0/24"]
[secrets.psk]
secret = "{SECRET}"
[pools.clients]
addrs = ["10.3.0.0/24"]
dns = ["{NAME_SERVER}"]
domains = ["corp.example"]
"#
    )
}
