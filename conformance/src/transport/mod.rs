//! The suite that every transport must pass.
//!
//! A test is a function of an [`Env`] and is called after the statement that it proves (`s31_…`:
//! statement 31). Every test also checks what holds for all events of all queues (`ledger.rs`), and
//! that every buffer has come home when its groups are gone.

#[doc(hidden)]
pub mod connect;
#[doc(hidden)]
pub mod cores;
mod driver;
#[doc(hidden)]
pub mod ends;
#[doc(hidden)]
pub mod fairness;
#[doc(hidden)]
pub mod keys;
mod ledger;
mod lot;
#[doc(hidden)]
pub mod messages;
#[doc(hidden)]
pub mod remote;
#[doc(hidden)]
pub mod room;
#[doc(hidden)]
pub mod stress;
#[doc(hidden)]
pub mod view;
#[doc(hidden)]
pub mod waiting;
mod world;

pub use driver::{Driver, Setup};
pub use world::{A, B, Done, LISTENER, World};

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use core_reactor::transport::Transport;
use core_reactor::{CoreId, Platform};

/// What a test runs on.
#[derive(Clone)]
pub struct Env {
    /// The transport under test.
    pub transport: &'static dyn Transport,
    /// An address where it can listen, and to which it can connect.
    pub host: IpAddr,
    /// An address that no machine in reach has.
    pub nowhere: SocketAddr,
    /// The platform of the test's threads. Statement 30 is proven only by one that really sleeps;
    /// with another, its tests fail.
    pub platform: Arc<dyn Platform>,
}

impl Env {
    /// The core that the test's groups are on.
    pub fn core(&self) -> CoreId {
        self.platform.cores().iter().next().expect("a platform has a core")
    }
}

/// One `#[test]` for each property of a transport. The argument is an expression for an
/// [`Env`](crate::transport::Env), which each test evaluates for itself.
#[macro_export]
macro_rules! transport_suite {
    ($env:expr) => {
        $crate::transport_cases! { $env;
            connect {
                s31_a_connect_is_accepted
                s31_private_data_goes_both_ways
                s31_private_data_past_its_limit_is_refused
                s31_a_rejection_brings_private_data
                s31_a_dropped_request_is_rejected
                s31_without_a_listener_a_connect_is_refused
                s31_an_unreachable_connect_arrives_as_closed
                s31_an_unanswered_connect_times_out
                s31_a_connect_under_way_can_be_ended
                s31_a_listener_that_ends_rejects_what_waits
                s31_requests_wait_for_the_listener_to_be_attached
                s31_an_address_that_cannot_be_had_is_an_error
                s31_before_established_nothing_is_taken
                s31_many_connects_at_once
            }
            messages {
                s32_messages_arrive_in_order_and_whole
                s32_a_message_may_be_empty
                s32_immediate_data_comes_beside_a_message
                s32_a_frame_of_many_buffers_is_one_message
                s31_messages_wait_for_a_receiver_that_is_not_ready
                s31_two_ends_that_are_not_ready_do_not_block_each_other
                s31_a_message_that_waits_holds_up_no_other_queue
                s31_a_telling_write_waits_for_a_receiver_that_is_not_ready
                s31_a_receiver_that_is_never_ready_ends_the_connection
                s31_a_message_longer_than_a_receive_buffer_ends_the_connection
            }
            remote {
                s32_a_write_is_in_place_before_the_message_behind_it
                s32_a_write_with_immediate_tells_the_peer
                s32_a_read_fills_the_spare_room
                s32_a_read_sees_what_was_written_before_it
                s32_both_ends_reach_each_other
                s32_an_access_of_no_bytes_is_not_checked
                s32_exposed_buffers_come_back_at_the_end
                s31_an_access_that_is_not_exposed_ends_the_connection
                s31_a_withdrawn_buffer_is_out_of_reach
                s31_a_violation_harms_no_other_queue
            }
            room {
                s32_a_queue_tells_its_limits
                s32_the_smaller_number_of_reads_counts
                s32_past_the_send_depth_a_post_is_refused
                s32_past_the_number_of_reads_a_read_is_refused
                s32_what_is_too_large_for_ever_is_refused_as_that
                s32_a_group_takes_no_more_depth_than_it_has_operations
                s32_a_full_group_refuses_queues_and_listeners
                s32_exposures_have_a_limit
                s32_options_beyond_the_device_are_an_error
                s32_a_group_beyond_the_device_is_an_error
                s88_what_there_is_no_room_for_ever_is_refused_as_that
                s89_a_group_that_cannot_work_is_an_error
            }
            ends {
                s31_either_side_may_disconnect
                s31_both_sides_may_disconnect_at_once
                s31_what_was_done_before_a_disconnect_is_received
                s31_what_is_posted_comes_back_flushed_in_order
                s31_what_is_posted_comes_back_when_the_peer_disconnects
                s31_the_peers_death_ends_a_queue
                s31_a_client_that_dies_in_mid_transfer_harms_nobody_else
                s31_a_dropped_group_gives_every_buffer_back
                s31_after_disconnect_nothing_is_taken
                s87_a_disconnect_after_a_failure_does_not_hide_it
            }
            keys {
                s31_a_stale_key_is_an_error_and_never_another_queue
                s31_a_key_of_another_group_is_stale
                s32_an_exposed_key_is_stale_when_its_buffer_is_back
                s21_any_queue_may_be_ended_while_events_are_handled
            }
            cores {
                s31_a_requested_queue_goes_to_another_cores_group
                s31_a_queue_may_be_used_where_it_was_not_made
            }
            waiting {
                s30_a_polled_group_has_nothing_to_wait_for
                s30_nothing_to_do_does_not_wake_a_core
                s30_an_event_driven_group_misses_nothing
            }
            fairness {
                s20_queues_of_a_group_are_served_in_rotation
                s20_a_flood_on_one_queue_starves_no_other
            }
            view {
                s232_a_queue_group_tells_who_looks_what_it_has
            }
            stress {
                s31_s32_random_work_comes_to_its_end
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! transport_cases {
    ($env:expr; $($module:ident { $($name:ident)* })*) => {
        // An expression cannot be repeated inside the list.
        fn __transport_suite_env() -> $crate::transport::Env {
            $env
        }

        $($(
            #[test]
            fn $name() {
                $crate::transport::$module::$name(&__transport_suite_env());
            }
        )*)*
    };
}

/// Fails unless `came` is `sent`, with at most zeros behind it, up to `most` bytes.
fn begins_with(came: &[u8], sent: &[u8], most: usize) {
    assert!(came.len() <= most, "{} bytes of private data", came.len());
    assert_eq!(came.get(..sent.len()), Some(sent), "private data");
    assert!(came[sent.len()..].iter().all(|byte| *byte == 0), "private data is padded with zeros only");
}

#[cfg(test)]
mod tests {
    /// A test that is written and not listed would never run.
    #[test]
    fn every_test_is_listed() {
        let list = include_str!("mod.rs");
        let sources = [
            include_str!("connect.rs"),
            include_str!("cores.rs"),
            include_str!("ends.rs"),
            include_str!("fairness.rs"),
            include_str!("keys.rs"),
            include_str!("messages.rs"),
            include_str!("remote.rs"),
            include_str!("room.rs"),
            include_str!("stress.rs"),
            include_str!("view.rs"),
            include_str!("waiting.rs"),
        ];
        let names: Vec<_> = sources.iter().flat_map(|s| s.split("\npub fn ").skip(1)).filter_map(|s| s.split('(').next()).collect();
        assert!(names.len() > 50);
        for name in names {
            assert_eq!(list.lines().filter(|line| line.trim() == name).count(), 1, "{name}");
        }
    }
}
