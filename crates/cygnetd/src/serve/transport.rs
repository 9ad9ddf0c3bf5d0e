//! A client's octets, with a limit that zlink does not have.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::UnixStream;
use zlink::connection::PassedCredentials;
use zlink::connection::socket::{ReadHalf, ReadResult, Socket, WriteHalf};

/// A socket on which no message is longer than [`control::MAX_CALL`], and no
/// file descriptor is accepted: zlink's own reads up to 100 MiB, and takes all
/// descriptors that it is sent.
#[derive(Debug)]
pub(super) struct Bounded(pub(super) Arc<UnixStream>);

impl Socket for Bounded {
    type ReadHalf = BoundedRead;
    type WriteHalf = Writer;

    fn split(self) -> (BoundedRead, Writer) {
        (BoundedRead { stream: Arc::clone(&self.0), unended: 0 }, Writer(self.0))
    }
}

#[derive(Debug)]
pub(super) struct BoundedRead {
    stream: Arc<UnixStream>,
    /// Octets of the message that has not ended yet.
    unended: usize,
}

impl ReadHalf for BoundedRead {
    async fn read(&mut self, buf: &mut [u8]) -> zlink::Result<ReadResult> {
        loop {
            self.stream.readable().await?;
            match self.stream.try_read(buf) {
                Ok(len) => {
                    self.count(buf.get(..len).unwrap_or_default())?;
                    return Ok(ReadResult::new(len));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl BoundedRead {
    fn count(&mut self, read: &[u8]) -> zlink::Result<()> {
        for message in read.split_inclusive(|&octet| octet == 0) {
            self.unended += message.len();
            if self.unended > control::MAX_CALL {
                return Err(zlink::Error::BufferOverflow);
            }
            if message.last() == Some(&0) {
                self.unended = 0;
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(super) struct Writer(Arc<UnixStream>);

impl WriteHalf for Writer {
    async fn write(
        &mut self,
        mut buf: &[u8],
        _fds: &[impl AsFd],
        _credentials: Option<&PassedCredentials>,
    ) -> zlink::Result<()> {
        while !buf.is_empty() {
            self.0.writable().await?;
            match self.0.try_write(buf) {
                Ok(len) => buf = buf.get(len..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Completes when the client has nothing more to say. If it says something,
/// that may never be: it is left unread.
pub(super) async fn hung_up(stream: &UnixStream) {
    let peek = || rustix::net::recv(stream, &mut [0; 1], rustix::net::RecvFlags::PEEK);
    loop {
        let peeked = match stream.readable().await {
            Ok(()) => stream.try_io(Interest::READABLE, || Ok(peek()?)),
            Err(error) => Err(error),
        };
        match peeked {
            Ok((0, _)) => return,
            Ok(_) => std::future::pending().await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
