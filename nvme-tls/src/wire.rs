//! The bytes between a connection of the library and whoever has its socket.
//!
//! All that is unsafe about TLS here is in this file: the library asks for bytes, and gives some,
//! by two functions with a pointer.

use core::ffi::{c_int, c_void};
use core::{ptr, slice};

use s2n_tls::connection::Connection;
use s2n_tls::error::Error;

/// What came and was not taken yet, and what is to go out.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) input: Vec<u8>,
    /// So many bytes of the input are taken.
    taken: usize,
    pub(crate) output: Vec<u8>,
}

/// A connection whose bytes come from and go to memory.
pub(crate) struct Wired {
    // Dropped first: it has a pointer to the other.
    connection: Connection,
    wire: Owned,
}

/// A [`Wire`] that stays where it is, and is reached by a pointer of which there are copies.
struct Owned(*mut Wire);

impl Drop for Owned {
    fn drop(&mut self) {
        // SAFETY: it is of `Box::into_raw`, and the connection, which has the only copy of the
        // pointer, is gone: a field above.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

impl Wired {
    pub(crate) fn new(mut connection: Connection) -> Result<Self, Error> {
        let wire = Owned(Box::into_raw(Box::default()));
        connection.set_receive_callback(Some(give))?.set_send_callback(Some(take))?;
        // SAFETY: the wire lives until after the connection.
        unsafe {
            connection.set_receive_context(wire.0.cast())?;
            connection.set_send_context(wire.0.cast())?;
        }
        Ok(Self { connection, wire })
    }

    /// The connection, which calls [`give`] and [`take`].
    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(crate) fn peek(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        // SAFETY: it lives as long as this. The functions below, which have the other copy of the
        // pointer, are called only out of calls of the connection, for which this must be borrowed
        // mutably, as it is now.
        unsafe { &mut *self.wire.0 }
    }
}

fn would_block() -> c_int {
    errno::set_errno(errno::Errno(libc::EWOULDBLOCK));
    -1
}

/// The library asks for bytes.
///
/// # Safety
/// The context is that of [`Wired::new`], and there is room for `len` bytes.
unsafe extern "C" fn give(context: *mut c_void, to: *mut u8, len: u32) -> c_int {
    // SAFETY: it is the pointer of `Wired::new`; nobody else has a reference while the connection
    // is borrowed.
    let wire = unsafe { &mut *context.cast::<Wire>() };
    let left = &wire.input[wire.taken..];
    let some = left.len().min(len as usize).min(c_int::MAX as usize);
    if some == 0 {
        return would_block();
    }
    // SAFETY: the library has room for `len` bytes there, and its memory is none of ours.
    unsafe { ptr::copy_nonoverlapping(left.as_ptr(), to, some) };
    wire.taken += some;
    if wire.taken == wire.input.len() {
        // Most connections wait most of the time: they keep no memory for it.
        wire.input = Vec::new();
        wire.taken = 0;
    }
    some as c_int
}

/// The library gives bytes.
///
/// # Safety
/// The context is that of [`Wired::new`], and there are `len` bytes.
unsafe extern "C" fn take(context: *mut c_void, from: *const u8, len: u32) -> c_int {
    // SAFETY: as in `give`.
    let wire = unsafe { &mut *context.cast::<Wire>() };
    let some = (len as usize).min(c_int::MAX as usize);
    if some > 0 {
        // SAFETY: the library has `len` bytes there.
        wire.output.extend_from_slice(unsafe { slice::from_raw_parts(from, some) });
    }
    some as c_int
}
