//! A TAP device in a network namespace of its own.
//!
//! UNSAFETY: neither a namespace nor a TAP device can be had without a bare system call.
#![allow(unsafe_code, reason = "two system calls that no safe interface here has")]

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use core_reactor::WaitSource;
use net_impl_smoltcp::NetDevice;
use net_impl_smoltcp::smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use net_impl_smoltcp::smoltcp::time::Instant;

/// What the device is called in its namespace.
pub(crate) const NAME: &str = "tap0";

/// Of an Ethernet frame without its checksum.
const MTU: usize = 1514;

/// Moves the calling thread, and those that it starts, to a network namespace of their own.
pub(crate) fn enter_namespace() {
    // SAFETY: a network namespace belongs to the thread; no memory or descriptor is touched.
    let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert!(done == 0, "a network namespace cannot be made: {}: run this test as root", std::io::Error::last_os_error());
}

/// The device, as its user in this process sees it.
pub(crate) struct Tap {
    file: File,
    frame: Box<[u8]>,
}

impl Tap {
    /// Makes the device in the thread's namespace. It is gone with its last descriptor.
    pub(crate) fn new() -> Self {
        let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
        let file =
            file.unwrap_or_else(|e| panic!("/dev/net/tun cannot be opened: {e}: a kernel with TAP devices is needed (modprobe tun)"));
        // SAFETY: zeros are a request without a name and flags.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name.iter_mut().zip(NAME.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as i16;
        // SAFETY: the descriptor is open, and the kernel reads and writes one `ifreq` during the
        // call.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
        assert!(done == 0, "no TAP device: {}: run this test as root", std::io::Error::last_os_error());
        Self { file, frame: vec![0; MTU].into() }
    }

    /// Another handle, to wait on.
    pub(crate) fn handle(&self) -> File {
        self.file.try_clone().expect("a descriptor is free")
    }
}

impl NetDevice for Tap {
    fn wait_source(&self) -> Option<WaitSource> {
        Some(WaitSource(self.file.as_raw_fd()))
    }
}

impl Device for Tap {
    type RxToken<'a> = Rx<'a>;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Rx<'_>, Tx<'_>)> {
        match (&self.file).read(&mut self.frame) {
            Ok(len) => Some((Rx(&self.frame[..len]), Tx(&self.file))),
            Err(e) if e.kind() == ErrorKind::WouldBlock => None,
            Err(e) => panic!("the TAP device cannot be read: {e}"),
        }
    }

    fn transmit(&mut self, _: Instant) -> Option<Tx<'_>> {
        Some(Tx(&self.file))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

/// A frame that was read.
pub(crate) struct Rx<'a>(&'a [u8]);

impl RxToken for Rx<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

/// Leave to write a frame.
pub(crate) struct Tx<'a>(&'a File);

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(mut self, len: usize, f: F) -> R {
        let mut frame = [0; MTU];
        let done = f(&mut frame[..len]);
        match self.0.write(&frame[..len]) {
            Ok(_) => {}
            // The kernel has no room for it: lost, as on any wire.
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(e) => panic!("the TAP device cannot be written: {e}"),
        }
        done
    }
}
