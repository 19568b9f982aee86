//! What has arrived: answers to a connect, answers to what was posted, and what the peer asks for.

use core_reactor::Instant;
use core_reactor::transport::{Frame, QueueEvent, TransportError};

use crate::group::Shared;
use crate::pair::{Pair, State};
use crate::wire::{Answer, Gone, Reply, Request};

impl Pair {
    /// Takes in one thing that has arrived; false if there is nothing that can be taken in now.
    pub(crate) fn advance(&mut self, shared: &mut Shared) -> bool {
        match self.state {
            State::Connecting(until) => self.connecting(until, shared),
            State::Accepting(until) => self.accepting(until, shared),
            // Answers first: one says why the connection fails, then the peer is gone.
            State::Open => self.next_reply(shared) || self.next_request(shared) || self.peer_gone(shared),
            State::Ending => false,
        }
    }

    fn connecting(&mut self, until: Instant, shared: &mut Shared) -> bool {
        let (answer, gone) = {
            let mut end = self.wire.end(self.side);
            (end.answer.take(), end.gone)
        };
        match answer {
            Some(Answer::Accepted { private_data, reads }) => {
                self.options.reads = self.options.reads.min(reads);
                self.wire.tell(self.side, |end| end.ready = true);
                self.established(private_data);
            }
            Some(Answer::Rejected(data)) => self.end(Some(TransportError::Rejected(data)), None, Gone::Orderly, shared),
            None if gone.is_some() => self.end(Some(TransportError::PeerGone), None, Gone::Lost, shared),
            None => return self.out_of_time(until, shared),
        }
        true
    }

    fn accepting(&mut self, until: Instant, shared: &mut Shared) -> bool {
        let (ready, gone) = {
            let end = self.wire.end(self.side);
            (end.ready, end.gone)
        };
        if ready {
            self.established(Box::default());
        } else if gone.is_some() {
            self.end(Some(TransportError::PeerGone), None, Gone::Lost, shared);
        } else {
            return self.out_of_time(until, shared);
        }
        true
    }

    fn established(&mut self, private_data: Box<[u8]>) {
        self.state = State::Open;
        self.reports.push_back(QueueEvent::Established { id: self.id, token: self.token, private_data });
    }

    fn out_of_time(&mut self, until: Instant, shared: &mut Shared) -> bool {
        let over = shared.platform.now() >= until;
        if over {
            self.end(Some(TransportError::TimedOut), None, Gone::Lost, shared);
        } else {
            shared.look_again = true;
        }
        over
    }

    fn next_reply(&mut self, shared: &mut Shared) -> bool {
        let reply = {
            let mut end = self.wire.end(self.side);
            let all_is_here = end.gone.is_some();
            match end.replies.front_mut() {
                None => return false,
                Some((looks, _)) if *looks > 0 && !all_is_here => {
                    *looks -= 1;
                    shared.look_again = true;
                    return false;
                }
                Some(_) => end.replies.pop_front(),
            }
        };
        match reply {
            Some((_, Reply::Done)) => self.done(None, |frame| frame),
            Some((_, Reply::Data(bytes))) => self.done(None, |frame| filled(frame, &bytes)),
            Some((_, Reply::Failed(why))) => self.end(Some(why.clone()), Some(why), Gone::Lost, shared),
            None => {}
        }
        true
    }

    fn next_request(&mut self, shared: &mut Shared) -> bool {
        let request = {
            let mut end = self.wire.end(self.side);
            let all_is_here = end.gone.is_some();
            match end.requests.front_mut() {
                None => return false,
                Some((looks, _)) if *looks > 0 && !all_is_here => {
                    *looks -= 1;
                    shared.look_again = true;
                    return false;
                }
                Some((_, request)) if request.takes_a_receive() && !shared.receives.any() => {
                    shared.look_again = true;
                    let tries = self.tries;
                    self.tries = tries.saturating_add(1);
                    if self.options.rnr_retry.is_none_or(|most| tries < most) {
                        return false;
                    }
                    drop(end);
                    self.refuse(TransportError::ReceiverNotReady, TransportError::PeerGone, shared);
                    return true;
                }
                Some(_) => end.requests.pop_front(),
            }
        };
        self.tries = 0;
        if let Some((_, request)) = request {
            self.serve(request, shared);
        }
        true
    }

    fn serve(&mut self, request: Request, shared: &mut Shared) {
        let (id, token) = (self.id, self.token);
        let reply = match request {
            Request::Send { bytes, imm } => {
                let Some(mut buf) = shared.receives.take() else { unreachable!("there was one a moment ago") };
                if bytes.len() > buf.spare_capacity() {
                    let buf_size = buf.spare_capacity();
                    shared.receives.put(buf);
                    return self.refuse(TransportError::RemoteInvalid, TransportError::Overrun { buf_size }, shared);
                }
                buf.append(&bytes);
                self.reports.push_back(QueueEvent::Received { id, token, buf, imm });
                Reply::Done
            }
            Request::Write { bytes, to, imm } => {
                if shared.exposures.write(id, to, &bytes).is_none() {
                    return self.refuse(TransportError::RemoteAccess, TransportError::AccessViolation, shared);
                }
                let bytes = bytes.len() as u32;
                self.reports.extend(imm.map(|imm| QueueEvent::Written { id, token, imm, bytes }));
                Reply::Done
            }
            Request::Read { from } => match shared.exposures.read(id, from) {
                Some(bytes) => Reply::Data(bytes),
                None => return self.refuse(TransportError::RemoteAccess, TransportError::AccessViolation, shared),
            },
        };
        self.wire.reply(self.side, reply);
    }

    /// Ends the connection for what the peer asked: it hears `theirs`, this side `ours`.
    fn refuse(&mut self, theirs: TransportError, ours: TransportError, shared: &mut Shared) {
        self.wire.reply(self.side, Reply::Failed(theirs));
        self.end(Some(ours), None, Gone::Lost, shared);
    }

    fn peer_gone(&mut self, shared: &mut Shared) -> bool {
        let gone = self.wire.end(self.side).gone;
        match gone {
            Some(Gone::Orderly) => self.end(None, None, Gone::Orderly, shared),
            Some(Gone::Lost) => self.end(Some(TransportError::PeerGone), None, Gone::Lost, shared),
            None => return false,
        }
        true
    }
}

impl Request {
    fn takes_a_receive(&self) -> bool {
        matches!(self, Self::Send { .. } | Self::Write { imm: Some(_), .. })
    }
}

/// The frame with these bytes behind what its buffers hold.
fn filled(mut frame: Frame, mut bytes: &[u8]) -> Frame {
    for buf in &mut frame {
        let taken = buf.append(bytes);
        bytes = &bytes[taken..];
    }
    frame
}
