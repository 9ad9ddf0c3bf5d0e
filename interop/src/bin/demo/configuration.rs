//! The configuration files of both daemons.

use crate::ground::{CLIENT_INSIDE, GATEWAY, GATEWAY_INSIDE};

/// The connection's name at the client.
pub(crate) const CLIENT_CONNECTION: &str = "office";
/// The connection's name at the gateway.
pub(crate) const GATEWAY_CONNECTION: &str = "laptop";

/// The gateway: it answers one client, and notices within seconds that it is gone.
pub(crate) fn gateway() -> String {
    format!(
        r#"[daemon]
listen = ["{GATEWAY}"]

[connections.{GATEWAY_CONNECTION}]
{PROPOSALS}
inner_addrs = ["{GATEWAY_INSIDE}/24"]
# So that the demonstration need not wait for long.
liveness = "1s"

[connections.{GATEWAY_CONNECTION}.local]
id = "@gateway.example.org"

[connections.{GATEWAY_CONNECTION}.remote]
id = "laptop@example.org"

[connections.{GATEWAY_CONNECTION}.children.net]
local_ts = ["10.92.0.0/24"]
remote_ts = ["{CLIENT_INSIDE}"]

[retransmission]
initial = "100ms"
tries = 5
{SECRET}"#
    )
}

/// The client; `resume` says what wakes its session: `manual` or `on-traffic`.
pub(crate) fn client(resume: &str) -> String {
    format!(
        r#"[connections.{CLIENT_CONNECTION}]
{PROPOSALS}
remote_addrs = ["{GATEWAY}"]
inner_addrs = ["{CLIENT_INSIDE}/32"]
resume = "{resume}"

[connections.{CLIENT_CONNECTION}.local]
id = "laptop@example.org"

[connections.{CLIENT_CONNECTION}.remote]
id = "@gateway.example.org"

[connections.{CLIENT_CONNECTION}.children.net]
local_ts = ["{CLIENT_INSIDE}"]
remote_ts = ["10.92.0.0/24"]
{SECRET}"#
    )
}

/// Without the additional key exchange that two cygnets agree on by default, and
/// its round trip: a resumption is compared with the shortest full exchange.
const PROPOSALS: &str = "proposals = [\"aes256gcm16-prfsha256-x25519\"]";

const SECRET: &str = r#"
[secrets.office]
id = ["laptop@example.org", "@gateway.example.org"]
secret = "correct horse battery staple"
"#;
