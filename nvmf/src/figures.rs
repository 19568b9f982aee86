//! What a poll group counts.

use statistics::stats;

use crate::atomic::AtomicU64;

stats! {
    /// What a poll group has done. Its core writes, everybody may look.
    #[derive(Debug, Default)]
    pub struct GroupFigures {
        /// Admin queues that it has had.
        pub admin_queues: AtomicU64 => counter("lcore_nvmf_admin_queues_total"),
        /// I/O queues that it has had.
        pub io_queues: AtomicU64 => counter("lcore_nvmf_io_queues_total"),
        /// Admin queues that it has.
        pub current_admin_queues: AtomicU64 => gauge("lcore_nvmf_admin_queues"),
        /// I/O queues that it has.
        pub current_io_queues: AtomicU64 => gauge("lcore_nvmf_io_queues"),
        /// Connections that no host has said anything on yet.
        pub current_connecting: AtomicU64 => gauge("lcore_nvmf_connecting"),
        /// Connections that there was no room for.
        pub turned_away: AtomicU64 => counter("lcore_nvmf_turned_away_total"),
        /// Commands that were answered.
        pub commands: AtomicU64 => counter("lcore_nvmf_commands_total"),
        /// Requests that devices have.
        pub pending_io: AtomicU64 => gauge("lcore_nvmf_pending_device_requests"),
        /// Commands that had to wait for a buffer.
        pub buffer_waits: AtomicU64 => counter("lcore_nvmf_buffer_waits_total"),
        /// Queues that were ended because their hosts broke the protocol.
        pub faults: AtomicU64 => counter("lcore_nvmf_protocol_errors_total"),
        /// Connections that TLS has refused: wrong or unknown keys, and what is no TLS.
        pub tls_refused: AtomicU64 => counter("lcore_nvmf_tls_refused_total"),
        /// Controllers whose hosts were silent for too long.
        pub expired: AtomicU64 => counter("lcore_nvmf_keep_alive_expired_total"),
        /// Queues that were ended because their hosts took too long.
        pub late: AtomicU64 => counter("lcore_nvmf_late_queues_total"),
        /// Queues whose hosts have shown who they are.
        pub authenticated: AtomicU64 => counter("lcore_nvmf_authentications_total"),
        /// Queues whose hosts have not.
        pub unauthenticated: AtomicU64 => counter("lcore_nvmf_authentication_failures_total"),
        /// Messages of authentication that were turned away, because too much was to be computed.
        pub auth_turned_away: AtomicU64 => counter("lcore_nvmf_authentications_turned_away_total"),
    }
}
