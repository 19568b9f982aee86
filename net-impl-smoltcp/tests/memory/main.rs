//! The conformance suite over two stacks joined by a wire in memory: one is under test, the other
//! has its peers. Time is the clock's.
//!
//! In good weather all of it; in bad weather, with frames lost, repeated and overtaken by others,
//! what is about streams. Two MiB and more at such a loss take longer than the suite waits (smoltcp
//! retransmits after up to a second); the program `streams` has those, in a time of its own.

#[path = "../common/wire.rs"]
#[allow(dead_code, reason = "other test programs use more of it")]
mod wire;

mod conn;
mod peers;
mod world;

mod calm {
    use super::wire::Weather;
    use super::world;

    conformance::net_suite_of!(world::env(world::V4, Weather::CALM), world::env(world::V6, Weather::CALM); net_statements);

    mod of_kernels {
        use super::{Weather, world};

        fn __net_suite_env() -> conformance::net::Env {
            world::env(world::V4, Weather::CALM)
        }

        conformance::net_cases! { beside_others
            ends {
                s19_s60_an_end_before_the_accept_is_told
                s19_s60_of_thousands_that_send_and_reset_nothing_stays
            }
        }
    }
}

mod storm {
    use super::world;

    fn __net_suite_env() -> conformance::net::Env {
        world::env(world::V4, world::storm())
    }

    conformance::net_cases! { beside_others
        connect {
            s15_before_connected_nothing_is_sent
            s15_shutdown_while_connecting_waits_for_the_connection
        }
        receive {
            s17_pause_and_resume_lose_nothing
            s17_without_buffers_sockets_wait_and_lose_nothing
        }
        send {
            s18_sends_complete_in_order
            s18_frames_of_many_parts_go_out_whole
        }
        stream {
            s17_s18_random_streams_with_a_plain_peer
        }
        ends {
            s19_data_before_fin_comes_before_the_end
            s19_after_our_fin_the_peer_may_go_on_sending
            s19_after_the_peers_fin_we_may_go_on_sending
            s19_close_is_an_orderly_end
        }
        keys {
            s21_detach_and_attach_elsewhere_mid_stream
            s21_detach_gives_back_what_was_not_sent
            s21_ends_move_with_their_socket
        }
    }
}
