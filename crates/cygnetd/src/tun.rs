//! The TUN device: where inner packets enter and leave the daemon.
//!
//! ```text
//! let tun = Tun::create(&TunConfig::default())?;     up, without addresses; see crate::links for those
//! tun.name(), tun.mtu(), tun.index()
//! ```
//!
//! The device goes away with the value (or the process). Packets pass in
//! batches: the kernel hands over and takes TCP and UDP in large segments
//! (`IFF_VNET_HDR`), and splitting and joining them happens here.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crypto::EspCipher;
use esp::outbound;
use tun_rs::{DeviceBuilder, GROTable, IDEAL_BATCH_SIZE, SyncDevice, VIRTIO_NET_HDR_LEN};

/// The largest MTU so that ESP in UDP in IPv6 fits a link of this MTU, with an
/// AEAD cipher; AES-CBC takes up to 28 octets more.
#[must_use]
pub const fn mtu_within(link_mtu: u16) -> u16 {
    const IPV6_AND_UDP: usize = 40 + 8;
    const AEAD: EspCipher = EspCipher::ChaCha20Poly1305;
    // No larger than link_mtu.
    outbound::inner_len_within(AEAD, (link_mtu as usize).saturating_sub(IPV6_AND_UDP)) as u16
}

/// What an Ethernet path carries, with room for one more tunnel's header.
pub const DEFAULT_MTU: u16 = 1400;
const _: () = assert!(DEFAULT_MTU <= mtu_within(1500));

/// IPv6 needs this much (RFC 8200 section 5).
pub const MIN_MTU: u16 = 1280;

/// How the device is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TunConfig {
    /// Its name, at most 15 octets; `%d` in it is replaced by a number.
    pub name: String,
    /// Its MTU, at least [`MIN_MTU`].
    pub mtu: u16,
}

impl Default for TunConfig {
    fn default() -> Self {
        Self { name: "cygnet0".into(), mtu: DEFAULT_MTU }
    }
}

/// A TUN device, up.
pub struct Tun {
    device: SyncDevice,
    name: String,
    index: u32,
    mtu: u16,
}

impl Tun {
    /// Creates the device and brings it up.
    ///
    /// # Errors
    /// A name that is taken or too long, an MTU that is too small, or missing
    /// privilege.
    pub fn create(config: &TunConfig) -> io::Result<Self> {
        if config.mtu < MIN_MTU {
            let message = format!("an MTU of {} is too small for IPv6 inside", config.mtu);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let device = DeviceBuilder::new()
            .name(config.name.clone())
            .mtu(config.mtu)
            .enable(false)
            .with(|linux| {
                linux.offload(true).packet_information(false);
            })
            .build_sync()?;
        device.set_nonblocking(true)?;
        let name = device.name()?;
        forbid_link_local(&name);
        device.enabled(true)?;
        let index = device.if_index()?;
        Ok(Self { device, name, index, mtu: config.mtu })
    }

    /// Its name as the system knows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its interface index.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Its MTU.
    #[must_use]
    pub const fn mtu(&self) -> u16 {
        self.mtu
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is open as long as `self.device` lives, which
        // the lifetime of the result does not exceed.
        unsafe { BorrowedFd::borrow_raw(self.device.as_raw_fd()) }
    }
}

/// A link-local address would make the system send router solicitations and
/// multicast reports into the tunnel. Where `/proc/sys` is read-only they are
/// dropped as link scope packets.
fn forbid_link_local(name: &str) {
    const ADDR_GEN_MODE_NONE: &str = "1";
    let path = format!("/proc/sys/net/ipv6/conf/{name}/addr_gen_mode");
    let _ = std::fs::write(path, ADDR_GEN_MODE_NONE);
}

/// Packets that were read from a TUN device together.
pub struct TunReader {
    /// A segment as the kernel hands it over.
    raw: Box<[u8]>,
    packets: Vec<Box<[u8]>>,
    lengths: Vec<usize>,
    count: usize,
}

/// Packets that a split of one large segment can make: one of the largest size
/// with the smallest MSS that Linux uses by default (536) still fits twice.
const READ_PACKETS: usize = 512;
/// Room for a split must be left when a read begins.
const READ_UNTIL: usize = READ_PACKETS - 2 * IDEAL_BATCH_SIZE;

/// What ended a [`TunReader::fill`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filled {
    /// There may be more to read.
    Full,
    /// The device has no packet left.
    Drained,
    /// A segment could not be split and is lost.
    Unreadable,
    /// The device does not work now: it is down or was deleted.
    Broken,
}

impl TunReader {
    /// For packets of a device of this MTU.
    #[must_use]
    pub fn new(mtu: u16) -> Self {
        let len = usize::from(mtu).next_multiple_of(64);
        Self {
            raw: vec![0; VIRTIO_NET_HDR_LEN + 65_536].into_boxed_slice(),
            packets: (0..READ_PACKETS).map(|_| vec![0; len].into_boxed_slice()).collect(),
            lengths: vec![0; READ_PACKETS],
            count: 0,
        }
    }

    /// Reads until the device has nothing left or the buffers are full.
    /// Packets of the last time are forgotten.
    pub fn fill(&mut self, tun: &Tun) -> Filled {
        self.count = 0;
        while self.count < READ_UNTIL {
            let (Some(packets), Some(lengths)) =
                (self.packets.get_mut(self.count..), self.lengths.get_mut(self.count..))
            else {
                return Filled::Full;
            };
            match tun.device.recv_multiple(&mut self.raw, packets, lengths, 0) {
                Ok(read) => self.count += read,
                Err(error) => return self.stopped_by(&error),
            }
        }
        Filled::Full
    }

    fn stopped_by(&self, error: &io::Error) -> Filled {
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted, _) => Filled::Drained,
            (_, Some(_)) => Filled::Broken,
            (_, None) => Filled::Unreadable,
        }
    }

    /// The packets of the last [`TunReader::fill`], in order.
    pub fn packets_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let lengths = self.lengths.iter();
        self.packets
            .iter_mut()
            .zip(lengths)
            .take(self.count)
            .filter_map(|(packet, len)| packet.get_mut(..*len))
    }
}

/// Packets that are to be written to a TUN device together, so that rows of
/// one connection become large segments.
pub struct TunWriter {
    table: GROTable,
    packets: Vec<Joinable>,
    count: usize,
}

/// Packets that a writer takes before it must be flushed.
const WRITE_PACKETS: usize = IDEAL_BATCH_SIZE;

impl Default for TunWriter {
    fn default() -> Self {
        let packets = (0..WRITE_PACKETS).map(|_| Joinable::default()).collect();
        Self { table: GROTable::default(), packets, count: 0 }
    }
}

impl TunWriter {
    /// Adds a packet. There must be room: see [`TunWriter::is_full`].
    pub fn push(&mut self, packet: &[u8]) -> Option<&mut [u8]> {
        let Joinable(buffer) = self.packets.get_mut(self.count)?;
        buffer.clear();
        buffer.resize(VIRTIO_NET_HDR_LEN, 0);
        buffer.extend_from_slice(packet);
        self.count += 1;
        buffer.get_mut(VIRTIO_NET_HDR_LEN..)
    }

    /// Whether it must be flushed before the next packet.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.count >= self.packets.len()
    }

    /// Writes what was pushed. Returns how many packets there were.
    ///
    /// # Errors
    /// The device did not take all of them.
    pub fn flush(&mut self, tun: &Tun) -> io::Result<usize> {
        let count = std::mem::take(&mut self.count);
        let packets = self.packets.get_mut(..count).unwrap_or_default();
        if !packets.is_empty() {
            tun.device.send_multiple(&mut self.table, packets, VIRTIO_NET_HDR_LEN)?;
        }
        Ok(count)
    }
}

/// A buffer that others can be joined to.
struct Joinable(Vec<u8>);

impl Default for Joinable {
    /// As much as one segment may hold; pages are only used when written.
    fn default() -> Self {
        Self(Vec::with_capacity(VIRTIO_NET_HDR_LEN + 65_536))
    }
}

impl AsRef<[u8]> for Joinable {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl AsMut<[u8]> for Joinable {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl tun_rs::ExpandBuffer for Joinable {
    fn buf_capacity(&self) -> usize {
        self.0.capacity()
    }

    fn buf_resize(&mut self, new_len: usize, value: u8) {
        self.0.resize(new_len, value);
    }

    fn buf_extend_from_slice(&mut self, src: &[u8]) {
        self.0.extend_from_slice(src);
    }
}
