//! The socket in the file system: made, guarded, removed.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with,
};
use tokio::net::UnixListener;

use super::access::{Access, group_id};

/// Where and for whom the control interface is.
#[derive(Clone, Debug)]
pub struct ControlSettings {
    /// The directory of `control.sock`; made if it is not there.
    pub runtime_dir: PathBuf,
    /// The group whose members may use it besides root.
    pub group: Option<String>,
}

/// A control socket that listens. Exists once a directory; removed when dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: net::UnixListener,
    path: PathBuf,
    access: Access,
    /// Held as long as we live: who has it owns the directory's socket.
    _lock: fs::File,
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another daemon has it.
    #[error("another daemon is running in {0} (use --runtime-dir for a second one)")]
    Running(PathBuf),
    /// Everybody could replace the socket.
    #[error("{0} can be written to by everybody: a control socket there could be replaced")]
    OpenDirectory(PathBuf),
    /// Something that we did not make is in the way.
    #[error("{0} is in the way and not a socket")]
    InTheWay(PathBuf),
    /// The configured group does not exist.
    #[error("there is no group \"{0}\" (control_group)")]
    NoGroup(String),
    /// The system refused.
    #[error("cannot {action} {path}: {error}")]
    Os {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

impl ControlSocket {
    /// Makes the directory and the socket, in place of one whose daemon is dead.
    ///
    /// # Errors
    /// [`BindError`] says why there is none.
    pub fn bind(settings: &ControlSettings) -> Result<Self, BindError> {
        let dir = settings.runtime_dir.as_path();
        let group = settings.group.as_deref().map(resolve).transpose()?;
        make_directory(dir, group)?;
        let lock = lock(dir)?;
        let path = dir.join("control.sock");
        remove_stale(&path)?;
        let listener = listen_at(&path, group)?;
        Ok(Self { listener, path, access: Access::new(group), _lock: lock })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) const fn access(&self) -> Access {
        self.access
    }

    pub(super) fn listener(&self) -> io::Result<UnixListener> {
        UnixListener::from_std(self.listener.try_clone()?)
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Gone already, or the file system is: neither matters at the end.
        let _ = fs::remove_file(&self.path);
    }
}

fn resolve(name: &str) -> Result<u32, BindError> {
    match group_id(name) {
        Ok(Some(id)) => Ok(id),
        Ok(None) => Err(BindError::NoGroup(name.to_owned())),
        Err(error) => Err(failed("read", Path::new("/etc/group"))(error)),
    }
}

fn make_directory(dir: &Path, group: Option<u32>) -> Result<(), BindError> {
    let mode = if group.is_some() { 0o750 } else { 0o755 };
    match fs::DirBuilder::new().mode(mode).create(dir) {
        Ok(()) => chown(dir, None, group).map_err(failed("change the group of", dir)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => closed_directory(dir),
        Err(error) => Err(failed("make", dir)(error)),
    }
}

fn closed_directory(dir: &Path) -> Result<(), BindError> {
    let mode = fs::metadata(dir).map_err(failed("look at", dir))?.mode();
    if mode & 0o002 == 0 { Ok(()) } else { Err(BindError::OpenDirectory(dir.to_owned())) }
}

fn lock(dir: &Path) -> Result<fs::File, BindError> {
    let path = dir.join("control.lock");
    let file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(failed("open", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(BindError::Running(dir.to_owned())),
        Err(error) => Err(failed("lock", &path)(error.into())),
    }
}

/// We hold the lock, so a socket that is there belongs to nobody.
fn remove_stale(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("look at", path)(error)),
        Ok(found) if found.file_type().is_socket() => {
            fs::remove_file(path).map_err(failed("remove", path))
        }
        Ok(_) => Err(BindError::InTheWay(path.to_owned())),
    }
}

/// Mode and group are set before anybody can connect.
fn listen_at(path: &Path, group: Option<u32>) -> Result<net::UnixListener, BindError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let make = || -> rustix::io::Result<OwnedFd> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(socket)
    };
    let socket = make().map_err(|error| failed("make", path)(error.into()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))
        .map_err(failed("change the mode of", path))?;
    chown(path, None, group).map_err(failed("change the group of", path))?;
    listen(&socket, 64).map_err(|error| failed("listen at", path)(error.into()))?;
    Ok(net::UnixListener::from(socket))
}

fn failed(action: &'static str, path: &Path) -> impl Fn(io::Error) -> BindError {
    move |error| BindError::Os { action, path: path.to_owned(), error }
}

/// What to do when nobody could be accepted: out of descriptors or memory, the
/// client waits in the backlog until something is free again; a client that
/// has already left is forgotten; all else is the end.
pub(super) async fn survive(error: io::Error) -> io::Result<()> {
    use rustix::io::Errno;
    match Errno::from_io_error(&error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => {
            tracing::warn!("cannot accept a control client: {error}");
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        }
        Some(Errno::CONNABORTED | Errno::INTR) => Ok(()),
        Some(_) | None => Err(error),
    }
}
