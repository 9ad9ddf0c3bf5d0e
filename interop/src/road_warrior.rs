//! A client that gets its inner address from a gateway: cygnet's and strongSwan's configuration
//! in either role, between the outer addresses of [`World::pair`](crate::World::pair).

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

/// strongSwan as that client, with the same names.
pub fn swanctl_client() -> String {
    swanctl_conf(
        "local_addrs = 10.77.0.1
         remote_addrs = 10.77.0.2
         vips = 0.0.0.0
         local { auth = psk
                 id = @dut }
         remote { auth = psk
                  id = @peer }",
        "remote_ts = 10.92.0.0/24",
    )
}

/// strongSwan as that gateway, with the same pool.
pub fn swanctl_gateway() -> String {
    let gateway = swanctl_conf(
        "local_addrs = 10.77.0.2
         pools = clients
         local { auth = psk
                 id = @peer }
         remote { auth = psk }",
        "local_ts = 10.92.0.0/24",
    );
    format!(
        "{gateway}
         pools {{ clients {{ addrs = 10.3.0.0/24
                             dns = {NAME_SERVER} }} }}\n"
    )
}

fn swanctl_conf(connection: &str, net: &str) -> String {
    format!(
        "connections {{ dut {{
            version = 2
            proposals = aes256gcm16-prfsha384-x25519
            encap = yes
            mobike = no
            {connection}
            children {{ net {{ {net}
                               esp_proposals = aes256gcm16
                               mode = tunnel }} }}
        }} }}
        secrets {{ ike-dut {{ secret = \"{SECRET}\" }} }}\n"
    )
}
