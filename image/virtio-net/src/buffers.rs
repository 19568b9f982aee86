//! The card's buffers: those that wait for frames, and those that carry frames out.
//!
//! ```text
//!   receiving   given to the card ─► filled ─► lent to the stack ─► given back with the next look
//!   sending     free ─► filled by the stack, with the card ─► sent ─► free with the next look for room
//! ```

// UNSAFETY: while the card has a buffer, nobody may touch it, which no borrow can say.
#![allow(unsafe_code)]

use alloc::boxed::Box;
use alloc::vec;

use virtio_drivers::Error;

use crate::FRAME;
use crate::find::{Card, QUEUE};

/// Bytes of a buffer: a frame and the card's header.
const SIZE: usize = 2048;

/// Memory of as many buffers as a queue has places. It is never freed, so a card that writes late
/// writes into nothing else.
struct Memory(*mut [u8; SIZE]);

// SAFETY: it is the only pointer to its memory.
unsafe impl Send for Memory {}

impl Memory {
    fn new() -> Self {
        Self(Box::leak(vec![[0; SIZE]; QUEUE].into_boxed_slice()).as_mut_ptr())
    }

    /// # Safety
    /// `at` is below `QUEUE`, the card does not have that buffer, and no other reference to it
    /// lives.
    unsafe fn buffer<'a>(&self, at: usize) -> &'a mut [u8; SIZE] {
        // SAFETY: inside the memory; the rest is the caller's.
        unsafe { &mut *self.0.add(at) }
    }
}

/// Which buffer each descriptor of a queue stands for.
type Places = [u16; QUEUE];

pub(crate) struct Receiver {
    memory: Memory,
    places: Places,
    /// The buffer that the stack has had.
    lent: Option<usize>,
}

impl Receiver {
    pub(crate) fn new(card: &mut Card) -> Result<Self, Error> {
        let mut receiver = Self { memory: Memory::new(), places: [0; QUEUE], lent: None };
        (0..QUEUE).try_for_each(|at| receiver.post(card, at))?;
        Ok(receiver)
    }

    /// Gives a buffer to the card, which must not have it.
    fn post(&mut self, card: &mut Card, at: usize) -> Result<(), Error> {
        // SAFETY: `at` is an index of `places`, the card has not got the buffer, and nobody else
        // keeps a reference; it is next looked at when the card is done.
        let token = unsafe { card.receive_begin(self.memory.buffer(at))? };
        self.places[usize::from(token)] = at as u16;
        Ok(())
    }

    /// Gives the card what the stack has had.
    pub(crate) fn give_back(&mut self, card: &mut Card) {
        if let Some(at) = self.lent.take() {
            // There is room: a buffer less is with the card than it has places for.
            if self.post(card, at).is_err() {
                self.lent = Some(at);
            }
        }
    }

    /// The next frame that has arrived; it is good until the next call.
    pub(crate) fn take(&mut self, card: &mut Card) -> Option<&[u8]> {
        loop {
            self.give_back(card);
            let token = card.poll_receive()?;
            let at = usize::from(*self.places.get(usize::from(token))?);
            // SAFETY: the card is done with the buffer that was posted under this token; the
            // reference ends when the buffer is given back, which borrows `self`.
            let buffer = unsafe { self.memory.buffer(at) };
            // SAFETY: the same buffer as was posted.
            let received = unsafe { card.receive_complete(token, buffer) };
            self.lent = Some(at);
            // A card that claims more than it was given is not believed.
            if let Some(frame) = received.ok().and_then(|(head, len)| buffer.get(head..)?.get(..len)) {
                return Some(frame);
            }
        }
    }
}

pub(crate) struct Sender {
    memory: Memory,
    places: Places,
    lengths: [u16; QUEUE],
    /// Buffers that are free: the first `count` of `free`.
    free: Places,
    count: usize,
}

impl Sender {
    pub(crate) fn new() -> Self {
        let free = core::array::from_fn(|at| at as u16);
        Self { memory: Memory::new(), places: [0; QUEUE], lengths: [0; QUEUE], free, count: QUEUE }
    }

    /// Whether a frame can be sent now.
    pub(crate) fn has_room(&mut self, card: &mut Card) -> bool {
        // The card is asked when half of the buffers are out: it touches memory that the host
        // writes.
        if self.count <= QUEUE / 2 {
            while self.reclaim(card).is_some() {}
        }
        self.count > 0
    }

    fn reclaim(&mut self, card: &mut Card) -> Option<()> {
        let token = card.poll_transmit()?;
        let at = *self.places.get(usize::from(token))?;
        // SAFETY: the card is done with the buffer that was sent under this token.
        let buffer = unsafe { self.memory.buffer(usize::from(at)) };
        // SAFETY: the same bytes as were sent.
        unsafe { card.transmit_complete(token, &buffer[..usize::from(self.lengths[usize::from(at)])]).ok()? };
        self.free[self.count] = at;
        self.count += 1;
        Some(())
    }

    /// Sends a frame of `len` bytes, at most [`FRAME`], which `fill` writes. Ask
    /// [`has_room`](Self::has_room) before.
    pub(crate) fn send<R>(&mut self, card: &mut Card, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        assert!(len <= FRAME && self.count > 0, "the stack sends a frame of {len} bytes, with {} buffers free", self.count);
        let at = usize::from(self.free[self.count - 1]);
        // SAFETY: a free buffer is nobody's.
        let buffer = unsafe { self.memory.buffer(at) };
        let head = card.fill_buffer_header(buffer).unwrap_or(0);
        let result = fill(&mut buffer[head..head + len]);
        // SAFETY: the buffer is not free from here on, and is next looked at when the card is done.
        if let Ok(token) = unsafe { card.transmit_begin(&buffer[..head + len]) } {
            self.count -= 1;
            self.places[usize::from(token)] = at as u16;
            self.lengths[at] = (head + len) as u16;
        }
        result
    }
}
