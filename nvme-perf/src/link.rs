//! The host's end of a queue on a socket of a group: what it sends is gathered in frames.

use std::net::SocketAddr;

use lcore::net::{Frame, NetError, SockGroup, SockId};
use lcore::pool::{Buf, BufGroup, Class};
use nvme::digest::Digest;
use nvme::host::{Queue, Settings};
use nvme::{Head, Shape};

use crate::error::Trouble;
use crate::secure::Secure;

/// A queue whose socket is in a group.
pub(crate) struct Link {
    pub(crate) queue: Queue,
    pub(crate) at: SocketAddr,
    id: SockId,
    /// What starts the conversation, until the socket is connected.
    hello: Option<Head>,
    /// What goes out with the next [`flush`](Self::flush), the last buffer of it apart as long as
    /// there is room in it: headers of many commands share one.
    frame: Frame,
    tail: Option<Buf>,
    secure: Option<Box<Secure>>,
}

/// Buffers to send from: small ones for headers, large ones for data and the header before it.
pub(crate) const HEADERS: Class = Class::Control;
pub(crate) const DATA: Class = Class::Large;

impl Link {
    pub(crate) fn new(at: SocketAddr, id: SockId, settings: Settings, secure: Option<Box<Secure>>) -> Self {
        let (queue, hello) = Queue::new(settings);
        Self { queue, at, id, hello: Some(hello), frame: Frame::new(), tail: None, secure }
    }

    /// The socket is connected.
    pub(crate) fn connected(&mut self, group: &mut dyn SockGroup, bufs: &BufGroup) -> Result<(), Trouble> {
        // Where it is to be secured that comes first.
        match self.hello.take_if(|_| self.secure.is_none()) {
            Some(hello) => self.head(group, bufs, &hello),
            None => self.send_rest(group),
        }
    }

    pub(crate) fn is_secured(&self) -> bool {
        self.secure.is_some()
    }

    /// Takes what the target has sent on a connection that is secured; [`read`](Self::read) has
    /// what it carries.
    pub(crate) fn take(&mut self, group: &mut dyn SockGroup, bytes: &[u8]) -> Result<(), Trouble> {
        let Some(secure) = &mut self.secure else { return Ok(()) };
        let taken = secure.take(bytes);
        let bufs = secure.bufs.clone();
        // An alert, too, where it has failed.
        self.send_rest(group)?;
        match self.hello.take_if(|_| matches!(taken, Ok(true))) {
            Some(hello) => self.head(group, &bufs, &hello).and_then(|()| self.flush(group)).map(drop),
            None => taken.map(drop),
        }
    }

    /// What was sent, decrypted; 0 is that there is no more.
    pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<usize, Trouble> {
        self.secure.as_mut().map_or(Ok(0), |secure| secure.read(into))
    }

    pub(crate) fn head(&mut self, group: &mut dyn SockGroup, bufs: &BufGroup, head: &Head) -> Result<(), Trouble> {
        head.parts().into_iter().try_for_each(|part| self.bytes(group, bufs, part))
    }

    fn bytes(&mut self, group: &mut dyn SockGroup, bufs: &BufGroup, mut bytes: &[u8]) -> Result<(), Trouble> {
        while !bytes.is_empty() {
            let mut tail = match self.tail.take() {
                Some(tail) => tail,
                None => bufs.get_class(HEADERS).ok_or(Trouble::NoBuffer)?,
            };
            bytes = &bytes[tail.append(bytes)..];
            if tail.spare_capacity() > 0 {
                self.tail = Some(tail);
            } else {
                self.push(group, tail)?;
            }
        }
        Ok(())
    }

    /// A header, data in buffers that `fill` fills, and its digest. The header is in the first of
    /// those buffers, so that a small write is one piece to be sent.
    pub(crate) fn data(
        &mut self,
        group: &mut dyn SockGroup,
        bufs: &BufGroup,
        head: &Head,
        length: u32,
        mut fill: impl FnMut(u32, &mut [u8]),
    ) -> Result<(), Trouble> {
        let Shape { data_digest, .. } = self.queue.shape();
        let (mut sum, mut done) = (Digest::new(), 0);
        while done < length {
            let mut buf = bufs.get_class(DATA).ok_or(Trouble::NoBuffer)?;
            if done == 0 {
                for part in head.parts() {
                    buf.append(part);
                }
            }
            let some = ((length - done) as usize).min(buf.spare_capacity());
            let out = &mut buf.spare_mut()[..some];
            fill(done, out);
            if data_digest {
                sum.add(out);
            }
            buf.grow(some);
            if let Some(tail) = self.tail.take() {
                self.push(group, tail)?;
            }
            self.push(group, buf)?;
            done += some as u32;
        }
        if data_digest { self.bytes(group, bufs, &sum.end()) } else { Ok(()) }
    }

    /// The same out of a slice, for what is seldom sent.
    pub(crate) fn slice(&mut self, group: &mut dyn SockGroup, bufs: &BufGroup, bytes: &[u8]) -> Result<(), Trouble> {
        self.bytes(group, bufs, bytes)?;
        if self.queue.shape().data_digest { self.bytes(group, bufs, &nvme::digest::digest(bytes)) } else { Ok(()) }
    }

    fn push(&mut self, group: &mut dyn SockGroup, buf: Buf) -> Result<(), Trouble> {
        if let Err(buf) = self.frame.push(buf) {
            self.send(group)?;
            // An empty frame has room.
            let _ = self.frame.push(buf);
        }
        Ok(())
    }

    fn send(&mut self, group: &mut dyn SockGroup) -> Result<(), Trouble> {
        let mut frame = std::mem::take(&mut self.frame);
        let Some(secure) = &mut self.secure else { return self.hand_over(group, frame) };
        secure.encrypt(&mut frame)?;
        self.hand_over(group, frame)?;
        self.send_rest(group)
    }

    /// What TLS has to say beside, and what did not fit.
    fn send_rest(&mut self, group: &mut dyn SockGroup) -> Result<(), Trouble> {
        while let Some(frame) = self.secure.as_mut().map_or(Ok(None), |secure| secure.rest())? {
            self.hand_over(group, frame)?;
        }
        Ok(())
    }

    fn hand_over(&mut self, group: &mut dyn SockGroup, frame: Frame) -> Result<(), Trouble> {
        match group.send(self.id, frame).map_err(|refused| refused.why) {
            // The connection has ended: `Closed` says why.
            Ok(()) | Err(NetError::Stale | NetError::NotConnected) => Ok(()),
            Err(why) => Err(Trouble::Net { at: self.at, why }),
        }
    }

    /// Hands what is gathered to the group; whether there was anything.
    pub(crate) fn flush(&mut self, group: &mut dyn SockGroup) -> Result<bool, Trouble> {
        if let Some(tail) = self.tail.take() {
            self.push(group, tail)?;
        }
        if self.frame.parts().is_empty() {
            return Ok(false);
        }
        self.send(group).map(|()| true)
    }

    /// Tells the target what it has done wrong, where that can be told.
    pub(crate) fn broken(&mut self, group: &mut dyn SockGroup, bufs: &BufGroup, why: nvme::Fault) -> Trouble {
        if let Some(last) = self.queue.term_req() {
            // There is nobody to tell where this fails, too.
            let _ = self.bytes(group, bufs, &last).and_then(|()| self.flush(group));
        }
        Trouble::Protocol { at: self.at, why }
    }
}
