//! What must not compile, does not: the types say which core a value may be on, and that turns do
//! not nest.

use core_reactor::net::{Events, Frame, NetEvent, SockGroup};
use core_reactor::{
    Cx, Hold, IoChannel, IoDevice, Msg, Reactor, Reactors, Receiver, Registered, Ring, Thread, ThreadHandle, ThreadLib, Unregistered, Watch,
};
use static_assertions::{assert_impl_all, assert_not_impl_any};

struct Disk;

impl IoDevice for Disk {
    type Channel = ();
    type Error = Unregistered;

    fn open(&self, _: &mut Cx<'_>) -> Result<(), Unregistered> {
        Ok(())
    }
}

// They stay on the core where they are.
assert_not_impl_any!(Thread: Send, Sync);
assert_not_impl_any!(Reactor: Send, Sync);
assert_not_impl_any!(Cx<'static>: Send, Sync, Clone);
assert_not_impl_any!(Hold: Send, Sync, Clone);
assert_not_impl_any!(Watch: Send, Sync, Clone);
assert_not_impl_any!(IoChannel<Disk>: Send, Sync);
assert_not_impl_any!(Box<dyn SockGroup>: Send, Sync);
assert_not_impl_any!(NetEvent: Send, Sync);
assert_not_impl_any!(Events: Send, Sync);
assert_not_impl_any!(Frame: Send, Sync);
assert_not_impl_any!(pool::Buf: Send, Sync);

// They go anywhere.
assert_impl_all!(ThreadHandle: Send, Sync, Clone);
assert_impl_all!(ThreadLib: Send, Sync, Clone);
assert_impl_all!(Reactors: Send);
assert_impl_all!(Msg: Send);
assert_impl_all!(Registered<Disk>: Send, Sync, Clone);

// There is one receiver, and a ring carries over to another core only what may go there.
assert_not_impl_any!(Receiver<u8>: Clone);
assert_impl_all!(Receiver<u8>: Send);
assert_not_impl_any!(Receiver<std::rc::Rc<u8>>: Send, Sync);
assert_not_impl_any!(Ring<std::rc::Rc<u8>>: Send, Sync);

// What hangs on `Send` alone is held by the `compile_fail` examples of `ThreadHandle::send` and
// `Cx::poller`: the compiler's words for it depend on which other crates are near.
#[test]
fn s07_what_must_not_compile_does_not() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
