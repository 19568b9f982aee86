//! What a host is to be.

use alloc::boxed::Box;
use alloc::format;

use core_reactor::net::NetError;
use core_reactor::statistics::stats;
use net_link::Addresses;
use smoltcp::wire::EthernetAddress;

/// The size and the addresses of a host. Its sockets and their buffers are allocated when it
/// starts.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// The hardware address of its device.
    pub hardware: [u8; 6],
    /// How it gets its addresses.
    pub addresses: Addresses,
    /// For sequence numbers, ports, and what is asked in a flood of SYNs: a number that differs
    /// from boot to boot and that nobody outside can know.
    pub seed: u64,
    /// TCP sockets in all: connections, those that are still closing, and each listener's backlog.
    /// Default 64.
    pub sockets: usize,
    /// Bytes that each can hold received. Default 16 KiB.
    pub recv_buf: usize,
    /// Bytes that each can hold sent and not acknowledged. Default 16 KiB; with more, a connection
    /// begins with two segments and finds out how much the way carries.
    pub send_buf: usize,
    /// Connections that wait to be accepted at a listener that does not say how many. Default 16.
    pub backlog: u32,
}

impl StackConfig {
    /// The defaults, for a device with this hardware address.
    pub fn new(hardware: [u8; 6], addresses: Addresses) -> Self {
        Self { hardware, addresses, seed: 0, sockets: 64, recv_buf: 16 << 10, send_buf: 16 << 10, backlog: 16 }
    }

    pub(crate) fn check(&self) -> Result<(), NetError> {
        let hardware = EthernetAddress(self.hardware);
        if !hardware.is_unicast() {
            return refuse("StackConfig::hardware", format!("{hardware} is no address of one device"));
        }
        if self.sockets == 0 || self.sockets > net_group::slab::LIMIT {
            return refuse("StackConfig::sockets", format!("{} is not between 1 and {}", self.sockets, net_group::slab::LIMIT));
        }
        for (option, bytes) in [("StackConfig::recv_buf", self.recv_buf), ("StackConfig::send_buf", self.send_buf)] {
            // Window scaling ends at 1 GiB (RFC 7323, 2.3); under two segments the protocol crawls.
            if !(2048..=1 << 30).contains(&bytes) {
                return refuse(option, format!("{bytes} bytes are not between 2048 and {}", 1 << 30));
            }
        }
        self.addresses.check().or_else(|why| refuse("StackConfig::addresses", why))
    }
}

/// That an option cannot be had, and why.
pub(crate) fn refuse<T>(option: &'static str, why: impl Into<Box<str>>) -> Result<T, NetError> {
    Err(NetError::Option { option, why: why.into() })
}

stats! {
    /// What a host has done since it started.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct StackStats {
        /// Frames taken from the device.
        pub frames_in: u64 => counter("lcore_stack_received_frames_total"),
        /// Sockets that are free now.
        pub free: usize => gauge("lcore_stack_sockets_free"),
        /// Connections that their applications have closed and that the protocol has not ended yet.
        pub closing: usize => gauge("lcore_stack_closing_connections"),
        /// SYNs dropped because no socket of their listener was free: their senders try again, or
        /// have been asked to show that they are there.
        pub syns_dropped: u64 => counter("lcore_stack_syns_dropped_total"),
        /// SYNs dropped because their connection was there already: duplicates.
        pub syns_repeated: u64 => counter("lcore_stack_syns_repeated_total"),
        /// Half-open connections given up: their peer did not answer.
        pub half_open_ended: u64 => counter("lcore_stack_half_open_ended_total"),
    }
}
