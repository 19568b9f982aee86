//! Whether io_uring works here, found out by doing what a group does.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use core_reactor::net::NetError;
use core_uring::{BufRing, Completion, Io, Key, Member, Ring, Sizes};
use net_sockets::{Errno, error};
use pool::BufGroup;

use crate::buffers::Buffers;
use crate::error::net_error;
use crate::key::Op;
use crate::requests;

/// The bytes that go through the probe's socket, and how often.
const BYTES: &[u8] = b"probe";
const TIMES: usize = 2;
/// As small as may be: the kernel counts a ring as locked memory for some time after it was closed,
/// which the real one would lack.
const SIZES: Sizes = Sizes { submissions: 2, completions: 4 };

/// Sets up a ring of its own and receives through it, twice with one request.
///
/// # Errors
/// [`NetError::Unusable`], with the call that failed.
pub(crate) fn probe() -> Result<(), NetError> {
    receive_twice().map_err(|why| match why {
        NetError::Os { doing, code, .. } => error::unusable(doing, Errno(code)),
        NetError::Unusable(_) => why,
        other => NetError::Unusable(other.to_string().into()),
    })
}

fn receive_twice() -> Result<(), NetError> {
    let ring = Ring::new(SIZES).map_err(net_error)?;
    let io = &mut *ring.io();
    let member = io.join(TIMES).map_err(net_error)?;
    let ready = BufRing::open(io, member, TIMES as u16).map_err(net_error)?;
    // An eighth of a pool lies ready.
    let mut buffers = Buffers::new(ready, TIMES as u16, BufGroup::new(8 * TIMES, 64));
    let outcome = receive_through(io, member, &mut buffers);
    // Its socket is closed, which has ended the request; and none runs any more except in an entry
    // of ours, of which there is no other. So nothing is received into the buffers, also if this
    // entry fails.
    let _ = io.try_enter_for_events();
    io.leave(member);
    buffers.end(io);
    outcome
}

/// Receives through a socket pair of its own, which is closed at the end.
fn receive_through(io: &mut Io, member: Member, buffers: &mut Buffers) -> Result<(), NetError> {
    let fail = |doing| move |why: std::io::Error| error::plain(doing, Errno::of(&why));
    let (mut far, near) = UnixStream::pair().map_err(fail("socketpair"))?;
    let key = Key::new(member, Op::Recv as u8, 0);
    requests::receive(io, key, near.as_raw_fd(), buffers.ring(), true);
    for _ in 0..TIMES {
        buffers.lay_out(io);
        io.try_enter_for_events().map_err(net_error)?;
        far.write_all(BYTES).map_err(fail("write to a socket pair"))?;
        io.try_enter_for_events().map_err(net_error)?;
        let mut completion = [Completion::NOTHING];
        let received = (io.take(member, &mut completion) > 0).then(|| {
            let [completion] = completion;
            (completion.result(), completion.more(), buffers.take(completion))
        });
        match received {
            Some((_, true, Some(buf))) if *buf == *BYTES => {}
            Some((n, ..)) if n < 0 => return Err(error::unusable("a multishot receive", Errno(-n))),
            Some(_) => return Err(NetError::Unusable("a multishot receive ended early".into())),
            None => return Err(NetError::Unusable("a multishot receive did not complete".into())),
        }
    }
    Ok(())
}
