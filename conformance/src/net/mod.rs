//! The suite for network backends.

#[doc(hidden)]
pub mod accept;
#[doc(hidden)]
pub mod connect;
mod driver;
#[doc(hidden)]
pub mod ends;
#[doc(hidden)]
pub mod fairness;
#[doc(hidden)]
pub mod keys;
mod limits;
#[doc(hidden)]
pub mod options;
mod peer;
mod plain;
#[doc(hidden)]
pub mod pools;
#[doc(hidden)]
pub mod proxy;
#[doc(hidden)]
pub mod receive;
#[doc(hidden)]
pub mod send;
#[doc(hidden)]
pub mod share;
pub mod steady;
#[doc(hidden)]
pub mod stream;
#[doc(hidden)]
pub mod unix;
#[doc(hidden)]
pub mod view;
pub mod waking;

pub use driver::{Driver, LISTENER, Setup};
pub use limits::{Descriptors, alone, beside_others, need_descriptors};
pub use peer::{PATIENCE, Peer, PeerListener, PeerStream, Peers};
pub use plain::Plain;

use std::any::Any;
use std::net::IpAddr;
use std::sync::Arc;

use core_reactor::Platform;
use core_reactor::net::NetImpl;

/// What a test runs on.
#[derive(Clone)]
pub struct Env {
    /// The backend under test.
    pub backend: &'static dyn NetImpl,
    /// The address at which it listens.
    pub host: IpAddr,
    /// The other side.
    pub peers: Arc<dyn Peers>,
    /// The address of the other side: the same over a kernel's sockets, the other end of the wire
    /// for a stack of its own.
    pub peer: IpAddr,
    /// The platform of the test's threads.
    pub platform: Arc<dyn Platform>,
    /// What has to live as long as the test.
    pub world: Option<Arc<dyn Any + Send + Sync>>,
}

impl Env {
    /// A backend over the kernel's sockets: both sides are at this loopback address.
    pub fn on_loopback(backend: &'static dyn NetImpl, host: IpAddr, platform: Arc<dyn Platform>) -> Self {
        Self { backend, host, peer: host, peers: Arc::new(Plain), platform, world: None }
    }
}

/// One `#[test]` for each property of a network backend, in the modules `v4` and `v6`.
///
/// The first argument is an expression for the backend (`&'static dyn NetImpl`), the second one for
/// a platform (`Arc<dyn Platform>`).
#[macro_export]
macro_rules! net_suite {
    ($backend:expr, $platform:expr) => {
        $crate::net_tests!(
            v4,
            $crate::net::Env::on_loopback($backend, std::net::Ipv4Addr::LOCALHOST.into(), $platform),
            net_statements net_statements_of_kernels
        );
        $crate::net_tests!(
            v6,
            $crate::net::Env::on_loopback($backend, std::net::Ipv6Addr::LOCALHOST.into(), $platform),
            net_statements net_statements_of_kernels
        );
    };
}

/// As [`net_suite!`], for a backend with a TCP of its own: only these lists of tests, without that
/// of what only a kernel has.
///
/// Before the lists there are expressions for an [`Env`](crate::net::Env) of either family, one of
/// which is made for each test. There is one list, `net_statements`.
#[macro_export]
macro_rules! net_suite_of {
    ($v4:expr, $v6:expr; $($list:ident)*) => {
        $crate::net_tests!(v4, $v4, $($list)*);
        $crate::net_tests!(v6, $v6, $($list)*);
    };
}

/// The tests of one address family.
#[doc(hidden)]
#[macro_export]
macro_rules! net_tests {
    ($family:ident, $env:expr, $($list:ident)*) => {
        mod $family {
            #[allow(unused_imports)]
            use super::*;

            fn __net_suite_env() -> $crate::net::Env {
                $env
            }

            $($crate::$list! {})*
        }
    };
}

/// The list of the tests for every backend. A test of this crate's own sees to it that all are in
/// this list or the next two.
#[doc(hidden)]
#[macro_export]
macro_rules! net_statements {
    () => {
        $crate::net_cases! { beside_others
            connect {
                s14_port_0_takes_a_free_port_and_tells_it
                s14_a_written_address_can_be_listened_to
                s14_an_address_that_cannot_be_had_is_an_error
                s15_a_connect_connects
                s15_before_connected_nothing_is_sent
                s15_shutdown_while_connecting_waits_for_the_connection
                s15_who_is_paused_while_connecting_is_not_read
                s15_a_refused_connect_arrives_as_closed
                s15_an_unreachable_connect_arrives_as_closed
                s15_all_addresses_are_tried
                s15_no_address_is_an_error
                s450_a_connect_comes_from_its_source
                s450_a_source_that_cannot_be_had_is_an_error
                s15_an_unanswered_connect_times_out_and_blocks_nobody
                s15_a_connect_under_way_can_be_closed
                s15_a_connect_under_way_can_be_detached
                s131_a_connect_that_succeeds_unseen_is_told_once
            }
            accept {
                s16_accept_drains_in_batches
                s16_an_accepted_socket_that_is_dropped_is_closed
                s16_a_paused_listener_lets_wait
                s16_a_listener_sends_nothing
                s16_a_listener_can_change_its_group
            }
            receive {
                s17_an_echo_comes_back
                s17_bytes_arrive_in_order_each_once
                s17_a_slow_consumer_holds_back_only_its_own_socket
                s17_pause_and_resume_lose_nothing
                s17_without_buffers_sockets_wait_and_lose_nothing
                s17_sockets_wait_for_buffers_in_order
                s17_s27_buffers_from_another_core_end_the_wait
                s64_who_has_no_bytes_waits_for_no_buffer
                s64_nobody_receives_past_those_that_wait
                s64_an_end_waits_for_no_buffer
            }
            send {
                s18_sends_complete_in_order
                s18_a_frame_without_a_tag_reports_nothing
                s18_frames_of_many_parts_go_out_whole
                s18_short_writes_are_the_groups_affair
                s18_past_its_limit_a_send_is_refused_and_the_frame_given_back
                s18_past_its_number_of_frames_a_send_is_refused
                s18_a_full_socket_holds_back_only_itself
                s18_a_socket_full_of_answers_reads_no_questions
                s18_an_answer_to_each_buffer_is_never_refused
                s18_flush_writes_without_a_poll
            }
            view {
                s216_a_group_tells_who_looks_what_it_has
            }
            waking {
                s104_a_group_is_watched_on_its_core_and_holds_its_thread
            }
            stream {
                s17_s18_random_streams_with_a_plain_peer
                s17_s18_random_streams_between_two_of_its_own
            }
            ends {
                s19_data_before_fin_comes_before_the_end
                s19_after_our_fin_the_peer_may_go_on_sending
                s19_after_the_peers_fin_we_may_go_on_sending
                s19_fin_goes_out_behind_the_queue
                s19_a_reset_closes_with_the_error
                s19_a_reset_after_fin_closes_with_the_error
                s19_a_reset_gives_queued_frames_back
                s19_a_closed_sockets_sends_come_back_cancelled_in_order
                s19_close_is_an_orderly_end
                s19_close_with_unread_bytes_is_still_orderly
                s19_abort_resets
                s19_dropping_a_group_closes_its_sockets
                s19_s60_an_end_right_behind_the_bytes_is_told
                s19_s60_an_end_below_the_low_water_mark_is_told
            }
            fairness {
                s20_ready_sockets_are_served_in_rotation
                s20_reports_leave_room_for_what_arrives
                s64_who_asks_little_does_not_wait_for_all_who_send_much
                s65_a_storm_of_connections_leaves_room_for_others
            }
            keys {
                s21_any_socket_may_be_closed_while_events_are_handled
                s21_a_stale_key_is_an_error_and_never_another_socket
                s21_a_key_of_another_group_is_stale
                s21_a_key_of_a_group_that_is_gone_is_stale
                s21_detach_and_attach_elsewhere_mid_stream
                s21_detach_gives_back_what_was_not_sent
                s21_ends_move_with_their_socket
                s21_an_accepted_socket_may_cross_cores
                s21_a_socket_that_is_refused_comes_back
            }
            options {
                s23_defaults
                s23_options_are_set_and_read_back
                s23_below_the_low_water_mark_bytes_wait
                s23_an_option_that_cannot_be_honoured_is_an_error
                s23_busy_poll_is_granted_or_refused
                s23_zero_copy_is_honoured_or_refused_and_off_on_loopback
            }
            pools {
                s26_a_group_echoes_from_its_reserve_while_another_holds_all_that_is_shared
                s28_a_group_that_waits_is_served_when_another_core_gives_back
                s42_sizes_that_cannot_work_are_refused_with_the_numbers
            }
            proxy {
                s70_the_peers_end_is_told_before_ones_own_and_after_it
                s70_s71_a_proxy_passes_on_bytes_and_ends
                s71_who_was_refused_hears_when_there_is_room
            }
            share {
                s72_an_answer_to_each_buffer_is_taken_whatever_the_limits_are
                s73_peers_that_do_not_read_do_not_stop_the_others
                s74_when_buffers_are_short_who_takes_nothing_is_reset
                s74_while_buffers_are_plenty_nobody_is_reset
            }
        }
        $crate::net_cases! { alone
            ends {
                s19_a_thousand_connections_half_reset_leave_nothing
            }
        }
    };
}

/// The list of the tests for what only a kernel's sockets have: descriptors to run out of,
/// listeners that share a port, urgent data, CPUs at which packets arrive, and the options that a
/// stack of its own need not have; peers on the same machine, whose bytes have arrived when their
/// write returns; and a clock apart from the group's, which a test may then move.
#[doc(hidden)]
#[macro_export]
macro_rules! net_statements_of_kernels {
    () => {
        $crate::net_cases! { beside_others
            accept {
                s16_listeners_may_share_an_address
            }
            receive {
                s17_urgent_data_holds_nothing_up
            }
            options {
                s22_placement_is_told
                s23_the_options_of_kernels_are_set_and_read_back
            }
            fairness {
                s20_a_firehose_cannot_starve_999_others
            }
            share {
                s74_who_reads_slowly_is_not_reset
            }
            ends {
                s19_s60_an_end_before_the_accept_is_told
            }
            unix {
                s443_where_nothing_can_listen_one_sentence_says_why
                s443_a_connect_where_nobody_listens_says_what_to_do
                s444_bytes_go_both_ways_and_ends_are_told
                s444_a_connect_connects_to_a_listener_of_its_own
                s444_who_closes_has_what_it_sent_read_and_is_no_error
                s444_a_close_with_unread_bytes_is_orderly
                s444_a_peer_that_does_not_read_holds_back_what_is_sent
                s445_a_full_queue_is_waited_for
                s447_the_file_goes_with_its_listener_and_no_other_does
                s447_a_listener_that_is_detached_keeps_its_file
                s447_what_only_tcp_has_is_passed_over
            }
        }
        $crate::net_cases! { alone
            accept {
                s16_out_of_descriptors_pauses_and_goes_on
            }
            unix {
                s446_descriptors_sent_along_hide_no_bytes_and_stay_outside
            }
            ends {
                s19_s60_of_thousands_that_send_and_reset_nothing_stays
            }
        }
    };
}

/// Some tests of the suite, in a module whose `__net_suite_env` makes the [`Env`](crate::net::Env)
/// of each.
#[doc(hidden)]
#[macro_export]
macro_rules! net_cases {
    ($company:ident $($module:ident { $($name:ident)* })*) => {
        $($(
            #[test]
            fn $name() {
                let _company = $crate::net::$company();
                $crate::net::$module::$name(&__net_suite_env());
            }
        )*)*
    };
}

#[cfg(test)]
mod tests {
    /// A test that is written and not listed would never run.
    #[test]
    fn every_test_is_listed() {
        let list = include_str!("mod.rs");
        let sources = [
            include_str!("accept.rs"),
            include_str!("connect.rs"),
            include_str!("ends.rs"),
            include_str!("fairness.rs"),
            include_str!("keys.rs"),
            include_str!("options.rs"),
            include_str!("pools.rs"),
            include_str!("receive.rs"),
            include_str!("send.rs"),
            include_str!("proxy.rs"),
            include_str!("share.rs"),
            include_str!("stream.rs"),
            include_str!("unix.rs"),
            include_str!("waking.rs"),
        ];
        let names: Vec<_> = sources.iter().flat_map(|s| s.split("\npub fn ").skip(1)).filter_map(|s| s.split('(').next()).collect();
        assert!(names.len() > 50);
        for name in names {
            assert_eq!(list.lines().filter(|line| line.trim() == name).count(), 1, "{name}");
        }
    }
}
