//! Peers that die in the middle of a message, which no transport's client can do: made of
//! librdmacm's own calls. Without a device it fails: `cargo xtask vm test` runs it in a machine
//! that has one.
//!
//! UNSAFETY: C is called, on objects that one function makes, uses and destroys.

mod common;

use std::net::SocketAddr;
use std::ptr::null_mut;
use std::thread;

use common::env;
use conformance::transport::{A, B, World};
use core_reactor::transport::{QueueOptions, Token};
use rdma_sys as ffi;

fn good(what: &str, answer: i32) {
    assert_eq!(answer, 0, "{what}: {}", std::io::Error::last_os_error());
}

/// Connects, sends the first packet of a message whose rest lies in memory that is not registered,
/// and ends when its device has noticed.
fn die_in_mid_message(at: SocketAddr) {
    let SocketAddr::V4(at) = at else { panic!("the machine has an address of IPv4") };
    let mut to = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: at.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(at.ip().octets()) },
        sin_zero: [0; 8],
    };
    let mut memory = vec![7_u8; 1024];
    // SAFETY: calls of librdmacm and libibverbs on what was made above them; all that is passed
    // lives until the end of the function, and the id and what it has are destroyed in it. Without
    // a channel the calls block, and are told the outcome.
    unsafe {
        let mut id = null_mut();
        good("an id", ffi::rdma_create_id(null_mut(), &raw mut id, null_mut(), ffi::rdma_port_space::RDMA_PS_TCP));
        good("an address", ffi::rdma_resolve_addr(id, null_mut(), (&raw mut to).cast(), 5000));
        good("a route", ffi::rdma_resolve_route(id, 5000));
        let mut init: ffi::ibv_qp_init_attr = std::mem::zeroed();
        init.cap = ffi::ibv_qp_cap { max_send_wr: 4, max_recv_wr: 1, max_send_sge: 2, max_recv_sge: 1, max_inline_data: 0 };
        init.qp_type = ffi::ibv_qp_type::IBV_QPT_RC;
        good("a queue pair", ffi::rdma_create_qp(id, null_mut(), &raw mut init));
        let region = ffi::ibv_reg_mr((*id).pd, memory.as_mut_ptr().cast(), memory.len(), 0);
        assert!(!region.is_null(), "a region");
        let mut conn: ffi::rdma_conn_param = std::mem::zeroed();
        (conn.retry_count, conn.rnr_retry_count) = (7, 7);
        good("a connection", ffi::rdma_connect(id, &raw mut conn));
        let addr = memory.as_mut_ptr().expose_provenance() as u64;
        let key = (*region).lkey;
        let mut parts = [ffi::ibv_sge { addr, length: 1024, lkey: key }, ffi::ibv_sge { addr, length: 1024, lkey: !key }];
        let mut request: ffi::ibv_send_wr = std::mem::zeroed();
        (request.sg_list, request.num_sge) = (parts.as_mut_ptr(), 2);
        request.opcode = ffi::ibv_wr_opcode::IBV_WR_SEND;
        request.send_flags = ffi::ibv_send_flags::IBV_SEND_SIGNALED.0;
        let mut bad = null_mut();
        good("a message", ffi::ibv_post_send((*id).qp, &raw mut request, &raw mut bad));
        let mut ended: ffi::ibv_wc = std::mem::zeroed();
        while ffi::ibv_poll_cq((*id).send_cq, 1, &raw mut ended) == 0 {
            thread::yield_now();
        }
        assert_ne!(ended.status, ffi::ibv_wc_status::IBV_WC_SUCCESS, "its rest is nowhere");
        ffi::rdma_disconnect(id);
        ffi::rdma_destroy_qp(id);
        ffi::ibv_dereg_mr(region);
        ffi::rdma_destroy_id(id);
    }
}

/// Statement 91: more such peers than there are receive buffers cost none of them.
#[test]
fn s91_peers_that_die_in_the_middle_of_a_message_cost_no_receive_buffer() {
    let mut world = World::new(&env());
    let (_, at) = world.listen(B, &QueueOptions::default());
    // A queue that stands all the while, and receives something now and then.
    let (near, far) = world.connect_at(A, B, at, &QueueOptions::default(), Token(1));
    let receives = world.at(B).group().limits(far).expect("it is established").receives;
    for n in 0..2 * receives {
        let peer = thread::spawn(move || die_in_mid_message(at));
        let queue = world.requested(B);
        let id = world.at(B).attach(queue, Token(2), &[]);
        world.established(B, id);
        world.closed(B, id);
        peer.join().expect("it connected");
        if n % 8 == 7 {
            world.at(A).send(near, b"still served", 1);
            assert_eq!(world.message(B, far), b"still served");
            world.well_done(A, near);
        }
    }
    world.turns(2000);
    let stats = world.at(B).group().stats();
    println!("{} of {} receives were lost, {} are out", stats.receives_lost, 2 * receives, stats.receives_out);
    assert_eq!(stats.receives_out, 0);
    // That one flushes, and is waited for.
    if std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("Linux has it").starts_with("6.1.") {
        assert_eq!(stats.receives_lost, 0);
    }
    // The device has them all: it takes so many messages without anybody's help.
    for n in 0..receives {
        world.at(A).send(near, b"message", u64::from(n));
    }
    while world.at(A).outstanding(near) > 0 {
        world.at(A).poll();
        thread::yield_now();
    }
    for _ in 0..receives {
        assert_eq!(world.message(B, far), b"message");
    }
}
