//! The daemon's command line.

use std::path::PathBuf;

use clap::Parser;

/// The cygnet daemon: IKEv2 client and gateway with session resumption.
#[derive(Clone, PartialEq, Eq, Debug, Parser)]
#[command(name = "cygnetd", version, after_help = EXAMPLES)]
pub struct Cli {
    /// The configuration file. The files conf.d/*.toml beside it are read as well.
    #[arg(long, value_name = "FILE", default_value = "/etc/cygnet/cygnet.toml")]
    pub config: PathBuf,

    /// Only check the configuration: print what is wrong with it and exit with 0 (good) or 1.
    #[arg(long)]
    pub check: bool,

    /// Where the control socket is (control.sock), and what need not outlive a reboot.
    #[arg(long, value_name = "DIR", env = "RUNTIME_DIRECTORY", default_value = "/run/cygnet")]
    pub runtime_dir: PathBuf,

    /// Where that is kept which outlives a reboot.
    #[arg(long, value_name = "DIR", env = "STATE_DIRECTORY", default_value = "/var/lib/cygnet")]
    pub state_dir: PathBuf,

    /// What to log: error, warn, info, debug or trace, also by module ("info,ike=debug").
    #[arg(long, value_name = "FILTER", env = "CYGNET_LOG", default_value = "info")]
    pub log: String,
}

const EXAMPLES: &str = "\
Examples:
  cygnetd                                  run with /etc/cygnet/cygnet.toml
  cygnetd --check                          say whether that file is good
  cygnetd --config lab.toml --runtime-dir /run/cygnet-lab
                                           a second daemon on this machine;
                                           talk to it with
                                           cygnet --socket /run/cygnet-lab/control.sock";
