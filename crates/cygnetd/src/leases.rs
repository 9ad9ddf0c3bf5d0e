//! Leases of inner addresses, kept over a restart.
//!
//! A file in the state directory, written by a thread of its own: an answer to
//! a client does not wait for a disk. What a crash loses is the last moment, and
//! an address that was given then is given again to whoever brings a ticket for it.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use ike::identity::Id;
use ike::pool::{Lease, LeaseChange};
use redb::{
    Database, DatabaseError, ReadableDatabase as _, ReadableTable as _, StorageError,
    TableDefinition,
};

/// Pool and address.
type Key = (&'static str, &'static [u8]);

/// Order, identity type and identity.
type Value = (u64, u8, &'static [u8]);

const LEASES: TableDefinition<'_, Key, Value> = TableDefinition::new("leases");

/// The name of the file.
const FILE: &str = "leases.redb";

/// The leases of a gateway on disk.
pub struct LeaseStore {
    changes: Sender<LeaseChange>,
    writer: JoinHandle<()>,
}

impl LeaseStore {
    /// Opens the file in `directory`, or makes it, and reads all leases. A file
    /// that cannot be read is put aside: leases can be lost, a gateway not.
    ///
    /// # Errors
    /// When there is no such directory, or no file can be made in it.
    pub fn open(directory: &Path) -> anyhow::Result<(Self, Vec<Lease>)> {
        std::fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let file = directory.join(FILE);
        let database = match Database::create(&file) {
            Ok(database) => database,
            Err(DatabaseError::Storage(error)) if is_broken(&error) => {
                let aside = file.with_extension("broken");
                tracing::error!("{error}: {} is now {}", file.display(), aside.display());
                std::fs::rename(&file, &aside)?;
                Database::create(&file)?
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot open {}", file.display()));
            }
        };
        let leases = read(&database).with_context(|| format!("cannot read {}", file.display()))?;
        let (changes, receiver) = mpsc::channel();
        let writer = thread::Builder::new()
            .name("cygnet-leases".into())
            .spawn(move || write_all(&database, &receiver))?;
        Ok((Self { changes, writer }, leases))
    }

    /// Keeps a change, in the order of the calls.
    pub fn keep(&self, change: LeaseChange) {
        // The writer ends after us.
        let _ = self.changes.send(change);
    }

    /// Waits until all is written.
    pub fn close(self) {
        drop(self.changes);
        if self.writer.join().is_err() {
            tracing::error!("the last leases were not written");
        }
    }
}

/// Whether it is the file's content that is wrong.
fn is_broken(error: &StorageError) -> bool {
    match error {
        StorageError::Corrupted(_) => true,
        StorageError::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

fn read(database: &Database) -> Result<Vec<Lease>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(LEASES) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut leases = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        leases.extend(lease(key.value(), value.value()));
    }
    Ok(leases)
}

fn lease((pool, address): (&str, &[u8]), (order, kind, owner): (u64, u8, &[u8])) -> Option<Lease> {
    let v4 = <[u8; 4]>::try_from(address).map(IpAddr::from);
    let address = v4.or_else(|_| <[u8; 16]>::try_from(address).map(IpAddr::from)).ok()?;
    Some(Lease { pool: Arc::from(pool), address, owner: Id::from_wire(kind, owner).ok()?, order })
}

/// Until nobody sends any more. Whatever has come meanwhile is one transaction.
fn write_all(database: &Database, changes: &Receiver<LeaseChange>) {
    while let Ok(first) = changes.recv() {
        let batch = std::iter::once(first).chain(changes.try_iter());
        if let Err(error) = write(database, batch) {
            tracing::error!("leases cannot be written: {error}");
        }
    }
}

fn write(
    database: &Database,
    changes: impl Iterator<Item = LeaseChange>,
) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(LEASES)?;
        for change in changes {
            match change {
                LeaseChange::Put(Lease { pool, address, owner, order }) => {
                    let value = (order, owner.kind().code(), owner.data());
                    table.insert((&*pool, &*octets(address)), value)?;
                }
                LeaseChange::Drop { pool, address } => {
                    table.remove((&*pool, &*octets(address)))?;
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(address: &str, owner: &str, order: u64) -> Lease {
        let address = address.parse().unwrap();
        Lease { pool: "clients".into(), address, owner: owner.parse().unwrap(), order }
    }

    #[test]
    fn leases_are_there_again_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (store, leases) = LeaseStore::open(directory.path()).unwrap();
        assert_eq!(leases, []);
        let (alice, bob) = (lease("10.3.0.1", "alice@example.org", 1), lease("fd00::1", "bob", 2));
        for lease in [&alice, &bob, &lease("10.3.0.2", "carol", 3)] {
            store.keep(LeaseChange::Put(lease.clone()));
        }
        let address = "10.3.0.2".parse().unwrap();
        store.keep(LeaseChange::Drop { pool: "clients".into(), address });
        store.close();
        let (store, leases) = LeaseStore::open(directory.path()).unwrap();
        assert_eq!(leases, [alice, bob]);
        let other = lease("10.3.0.1", "dave", 4);
        store.keep(LeaseChange::Put(other.clone()));
        store.close();
        let (_, leases) = LeaseStore::open(directory.path()).unwrap();
        assert_eq!(leases.first(), Some(&other));
    }

    #[test]
    fn a_broken_file_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), vec![7; 8192]).unwrap();
        let opened = LeaseStore::open(directory.path());
        let (store, leases) = opened.unwrap();
        assert_eq!(leases, []);
        assert!(directory.path().join("leases.broken").exists());
        store.close();
    }
}
