//! What outlives a daemon: files in the state directory, for root alone.
//!
//! A file is written beside its place and moved there: after a crash there is
//! the old one or the new one, and never half of one.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crypto::Provider;
use zeroize::Zeroizing;

/// The state directory.
#[derive(Clone, Debug)]
pub struct State(PathBuf);

impl State {
    /// Opens it, and makes it if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Ok(Self(path.to_owned()))
    }

    /// A secret of this name: the same each time, made when it is first asked for.
    ///
    /// # Errors
    /// When it can be neither read nor made, when it is not as long as a
    /// secret, or when others could have read it.
    pub fn secret(&self, name: &str, provider: &mut Provider) -> io::Result<Zeroizing<[u8; 32]>> {
        match File::open(self.0.join(name)) {
            Ok(file) => read_secret(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret = Zeroizing::new(provider.array());
                self.write(name, secret.as_slice())?;
                Ok(secret)
            }
            Err(error) => Err(error),
        }
    }

    /// Puts a file in its place. It is on the disk when this returns.
    ///
    /// # Errors
    /// When the disk does not take it; what was there before is there still.
    pub fn write(&self, name: &str, octets: &[u8]) -> io::Result<()> {
        let (place, beside) = (self.0.join(name), self.0.join(format!("{name}.new")));
        // One that a crash has left may belong to anybody's mode.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&beside, &place)?;
        File::open(&self.0)?.sync_all()
    }
}

fn read_secret(mut file: File) -> io::Result<Zeroizing<[u8; 32]>> {
    let meta = file.metadata()?;
    let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if !meta.is_file() || meta.len() != 32 {
        return invalid("not a secret of 32 octets");
    }
    if meta.mode() & 0o077 != 0 || meta.uid() != rustix::process::geteuid().as_raw() {
        return invalid("others may have read it");
    }
    let mut secret = Zeroizing::new([0; 32]);
    file.read_exact(secret.as_mut_slice())?;
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_for_root_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let mut provider = Provider::system();
        let first = State::open(&path).unwrap().secret("token", &mut provider).unwrap();
        let again = State::open(&path).unwrap().secret("token", &mut provider).unwrap();
        assert_eq!(*first, *again);
        let other = State::open(&path).unwrap().secret("other", &mut provider).unwrap();
        assert_ne!(*first, *other);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(path.join("token")).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&path).unwrap().count(), 2);
    }

    #[test]
    fn a_secret_that_others_can_read_or_that_is_none_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        let mut provider = Provider::system();
        state.write("token", &[1; 32]).unwrap();
        assert!(state.secret("token", &mut provider).is_ok());
        fs::set_permissions(dir.path().join("token"), Permissions::from_mode(0o640)).unwrap();
        assert!(state.secret("token", &mut provider).is_err());
        state.write("token", &[1; 31]).unwrap();
        assert!(state.secret("token", &mut provider).is_err());
    }

    #[test]
    fn a_file_is_replaced_whole_even_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let state = State::open(dir.path()).unwrap();
        state.write("file", b"old").unwrap();
        fs::write(dir.path().join("file.new"), b"half of a n").unwrap();
        state.write("file", b"new").unwrap();
        assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
