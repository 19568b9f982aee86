//! Questions: something done on another thread, whose answer comes back.

use core::marker::PhantomData;

use crate::{Cx, Msg, PushError, Refused, ThreadHandle};

/// A question was dropped unanswered: who was asked is gone.
///
/// ```
/// use core_reactor::Gone;
///
/// let answer: Result<u32, Gone> = Err(Gone);
/// assert_eq!(answer.unwrap_err().to_string(), "who was asked is gone");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("who was asked is gone")]
pub struct Gone;

impl ThreadHandle {
    /// Runs `ask` on this thread, as [`send`](Self::send) does, and then `answered` on the thread
    /// of `cx` with what came of it. That is [`Gone`] where this thread ends first, or where `ask`
    /// panics. Both closures together have 32 bytes for what they capture, the answer and
    /// `answered` 48.
    ///
    /// There is one answer, also to a question that was refused, if nobody sends it again. If the
    /// thread that asks has ended by then `answered` is dropped. An answer is never refused: where
    /// the mailbox of who asks is full it waits beside it. Those of one thread come in the order in
    /// which it gave them.
    ///
    /// ```
    /// use core_reactor::sim::Sim;
    /// use core_reactor::{Cx, Gone, ThreadConfig};
    ///
    /// let mut sim = Sim::new(2);
    /// let to = sim.lib().spawn(ThreadConfig::new("asked"), |_| {})?;
    /// let asks = move |cx: &mut Cx<'_>| {
    ///     let answered = |_: &mut Cx<'_>, name: Result<String, Gone>| assert_eq!(name.as_deref(), Ok("asked"));
    ///     let sent = to.ask(cx, |cx| cx.handle().name().to_owned(), answered);
    ///     assert!(sent.is_ok(), "there is room");
    /// };
    /// sim.lib().spawn(ThreadConfig::new("asks"), asks)?;
    /// sim.settle();
    /// # Ok::<(), core_reactor::SpawnError>(())
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send). The message that comes back is the question: it can be sent again
    /// ([`send_msg`](Self::send_msg)), and is answered with [`Gone`] when it is dropped.
    pub fn ask<R, A, D>(&self, cx: &Cx<'_>, ask: A, answered: D) -> Result<(), Refused<Msg, PushError>>
    where
        R: Send + 'static,
        A: FnOnce(&mut Cx<'_>) -> R + Send + 'static,
        D: FnOnce(&mut Cx<'_>, Result<R, Gone>) + Send + 'static,
    {
        self.send_msg(question(cx.handle(), move |cx| Some(ask(cx)), answered))
    }
}

/// Who asks, and so where an answer goes.
pub(crate) trait Asker: Send + 'static {
    /// Has the answer run there. Never refused.
    fn tell(&self, answer: Msg);
}

impl Asker for ThreadHandle {
    fn tell(&self, answer: Msg) {
        self.0.deliver(answer);
    }
}

/// A question as a message: it runs `ask` where it is sent to, and has `answered` run at `asker`.
/// With [`Gone`] where `ask` finds nothing, where it panics, or where the message is dropped unrun.
#[inline]
pub(crate) fn question<R, A, D>(asker: impl Asker, ask: A, answered: D) -> Msg
where
    R: Send + 'static,
    A: FnOnce(&mut Cx<'_>) -> Option<R> + Send + 'static,
    D: FnOnce(&mut Cx<'_>, Result<R, Gone>) + Send + 'static,
{
    let mut reply = Reply { asker, answered: Some(answered), _answer: PhantomData };
    Msg::new(move |cx: &mut Cx<'_>| {
        let answer = ask(cx).ok_or(Gone);
        reply.tell(answer);
    })
}

/// What is owed to who asks. Dropped, it says that there is no answer.
struct Reply<F: Asker, R: Send + 'static, D: FnOnce(&mut Cx<'_>, Result<R, Gone>) + Send + 'static> {
    asker: F,
    /// Taken when it is told.
    answered: Option<D>,
    _answer: PhantomData<fn(R)>,
}

impl<F: Asker, R: Send + 'static, D: FnOnce(&mut Cx<'_>, Result<R, Gone>) + Send + 'static> Reply<F, R, D> {
    #[inline]
    fn tell(&mut self, answer: Result<R, Gone>) {
        if let Some(answered) = self.answered.take() {
            self.asker.tell(Msg::new(move |cx: &mut Cx<'_>| answered(cx, answer)));
        }
    }
}

impl<F: Asker, R: Send + 'static, D: FnOnce(&mut Cx<'_>, Result<R, Gone>) + Send + 'static> Drop for Reply<F, R, D> {
    fn drop(&mut self) {
        self.tell(Err(Gone));
    }
}
