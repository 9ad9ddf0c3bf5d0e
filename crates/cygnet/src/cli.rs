//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::certificates::PkiCommand;

/// Controls cygnetd: a VPN whose tunnels come back by themselves.
#[derive(Debug, Parser)]
#[command(
    name = "cygnet",
    version,
    max_term_width = 100,
    after_help = EXAMPLES,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// The daemon's control socket.
    #[arg(long, global = true, value_name = "PATH", env = "CYGNET_SOCKET")]
    #[arg(default_value = control::DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring a connection up, by resumption if its session sleeps.
    ///
    /// Returns when packets can flow. Interrupted, it leaves the daemon trying.
    #[command(after_help = "Example:\n  cygnet up office")]
    Up {
        /// The connection's name in the configuration.
        name: String,
    },
    /// End a connection and forget its session.
    #[command(after_help = "Example:\n  cygnet down office")]
    Down {
        /// The connection's name in the configuration.
        name: String,
    },
    /// Put a connection to sleep: it can be resumed until its ticket expires.
    ///
    /// The gateway is told nothing. No packet leaves in clear text meanwhile.
    #[command(after_help = "Example:\n  cygnet suspend office && cygnet resume office")]
    Suspend {
        /// The connection's name in the configuration.
        name: String,
    },
    /// Bring a suspended session back, without a public-key operation.
    ///
    /// If the gateway refuses the ticket, a full exchange follows.
    #[command(after_help = "Example:\n  cygnet suspend office && cygnet resume office")]
    Resume {
        /// The connection's name in the configuration.
        name: String,
    },
    /// Replace the keys of a connection that is up.
    ///
    /// Returns when that has begun; `cygnet monitor` shows the end of it.
    #[command(after_help = "Examples:\n  cygnet rekey office\n  cygnet rekey office --child")]
    Rekey {
        /// The connection's name in the configuration.
        name: String,
        /// The keys of its children, and not those of the IKE SA.
        #[arg(long)]
        child: bool,
    },
    /// Send clients to another gateway: those that are here, and those that come.
    ///
    /// Only those that can be redirected (RFC 5685); the others stay, and are counted. It holds
    /// until `--off` or the daemon's end.
    #[command(after_help = "\
Examples:
  cygnet redirect 192.0.2.2                        all clients, to drain this gateway
  cygnet redirect --connection clients gw2.example.org
  cygnet redirect --off                            from now on, clients stay again")]
    Redirect {
        /// Only the clients of this connection.
        #[arg(long, value_name = "NAME")]
        connection: Option<String>,
        /// The other gateway: an address, or a name that the clients know.
        #[arg(value_name = "TARGET", required_unless_present = "off")]
        target: Option<String>,
        /// Send nobody away any more, but as the configuration says.
        #[arg(long, conflicts_with = "target")]
        off: bool,
    },
    /// Have the daemon read its configuration again.
    ///
    /// Connections that are the same go on undisturbed; those that are not there any more are
    /// taken down; SAs of altered ones stay until they end. With a mistake in it, nothing changes.
    #[command(after_help = "Example:\n  cygnet check && cygnet reload")]
    Reload,
    /// Show all connections, or one in detail.
    #[command(after_help = "\
Examples:
  cygnet status                    all connections, one a line
  cygnet status office             one, with its SA, ticket and traffic
  watch cygnet status              again and again
  cygnet status --json | jq -r '.connections[] | select(.state == \"up\") | .name'")]
    Status {
        /// Only this connection, in detail.
        name: Option<String>,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show what happens, until interrupted: one line an event.
    #[command(after_help = "\
Examples:
  cygnet monitor
  cygnet monitor --json | jq --unbuffered 'select(.event == \"down\")'")]
    Monitor {
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Check configuration files without using them.
    ///
    /// Runs `cygnetd --check`. Without a file, that which the daemon reads.
    #[command(after_help = "Examples:\n  cygnet check\n  cygnet check ./cygnet.toml")]
    Check {
        /// The files; each is one whole configuration.
        #[arg(value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Make certificates for a first set-up, and explain those of others.
    #[command(after_help = "\
Examples:
  cygnet pki ca                                    an authority: ca.pem, ca.key
  cygnet pki issue --id gateway.example.org        a peer: gateway.example.org.pem and .key
  cygnet pki issue --id alice@example.org
  cygnet pki show alice@example.org.pem --ca ca.pem
  cygnet pki revoke alice@example.org.pem          a revocation list: ca.crl")]
    Pki {
        #[command(subcommand)]
        command: Box<PkiCommand>,
    },
    /// Print a completion script for a shell.
    #[command(after_help = "\
Example:
  cygnet completions bash > /usr/share/bash-completion/completions/cygnet")]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

const EXAMPLES: &str = "\
Examples:
  cygnet up office                 bring the connection up
  cygnet suspend office            put its session to sleep
  cygnet resume office             bring it back
  cygnet status                    see what is up
  cygnet monitor                   see what happens

Exit status: 0 done, 1 refused or failed (the reason is on stderr), 2 wrong usage.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
