//! Who may use the control interface.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use rustix::net::sockopt::socket_peercred;

/// Root, the daemon's own user, and the members of a group.
///
/// The socket's mode says the same; this holds as well where somebody opened
/// the mode, or handed a connected socket on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    own: u32,
    group: Option<u32>,
}

impl Access {
    pub(super) fn new(group: Option<u32>) -> Self {
        Self { own: rustix::process::geteuid().as_raw(), group }
    }

    /// Whether the process that connected `socket` may use it.
    pub(super) fn allows(self, socket: impl AsFd) -> io::Result<bool> {
        let peer = socket_peercred(&socket)?;
        let user = peer.uid.as_raw();
        if user == 0 || user == self.own {
            return Ok(true);
        }
        let Some(group) = self.group else { return Ok(false) };
        Ok(peer.gid.as_raw() == group || peer_groups(&socket)?.contains(&group))
    }
}

/// The supplementary groups of the process that connected `socket`, when it did.
fn peer_groups(socket: &impl AsFd) -> io::Result<Vec<libc::gid_t>> {
    // NGROUPS_MAX of Linux; more cannot be.
    let mut groups = vec![0; 65536];
    let mut len = u32::try_from(size_of_val(groups.as_slice())).unwrap_or(u32::MAX);
    // SAFETY: `groups` has `len` writable octets, any bits are a gid_t, and the
    // descriptor is open as long as it is borrowed.
    let status = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERGROUPS,
            groups.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if status != 0 {
        return Err(io::Error::last_os_error());
    }
    groups.truncate(len as usize / size_of::<libc::gid_t>());
    Ok(groups)
}

/// The id of a group of `/etc/group`, or the number itself.
pub(super) fn group_id(name: &str) -> io::Result<Option<u32>> {
    if let Ok(id) = name.parse() {
        return Ok(Some(id));
    }
    Ok(id_in(&fs::read_to_string("/etc/group")?, name))
}

/// A line is `name:password:id:members` (group(5)).
fn id_in(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let file = "root:x:0:\ncygnets:x:7:ann\ncygnet:x:990:ann,bob\nbroken\n";
        assert_eq!(id_in(file, "cygnet"), Some(990));
        assert_eq!(id_in(file, "root"), Some(0));
        assert_eq!(id_in(file, "cygne"), None);
        assert_eq!(id_in(file, "broken"), None);
    }
}
