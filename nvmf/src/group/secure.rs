//! Queues that are secured by TLS. Without the feature there are none, and nothing of this is left.

#[cfg(feature = "tls")]
pub(crate) use with::{Secure, Secured};
#[cfg(not(feature = "tls"))]
pub(crate) use without::Secure;

#[cfg(feature = "tls")]
mod with {
    use alloc::boxed::Box;
    use alloc::vec::Vec;

    use core_reactor::Cx;
    use nvme::auth::TlsPsk;
    use nvme_tls::{Acceptor, RECORD, Session, TlsError};
    use pool::Buf;

    use crate::atomic::bump;
    use crate::group::base::Base;
    use crate::group::queue::Queue;

    /// What secures a queue.
    pub(crate) struct Secure(Session);

    /// What all queues of a core need for it, once there is one.
    #[derive(Default)]
    pub(crate) struct Secured {
        acceptor: Option<Acceptor>,
        /// Of one record that is read.
        plain: Vec<u8>,
        /// Of what a queue writes: most have none of their own.
        out: Vec<u8>,
    }

    impl Secure {
        pub(crate) fn is_open(&self) -> bool {
            self.0.is_open()
        }

        /// Of whom its key is: the host and the subsystem.
        pub(crate) fn names(&self) -> (&str, &str) {
            TlsPsk::names(self.0.identity()).unwrap_or_default()
        }
    }

    impl Queue {
        /// Bytes came on a queue that is to be secured.
        pub(crate) fn decrypt(&mut self, base: &mut Base, cx: &mut Cx<'_>, bytes: &[u8]) {
            if self.ending.is_some() {
                return;
            }
            if let Err(why) = self.decrypt_some(base, cx, bytes) {
                logging::warn!("{} is refused: {}", self.name().as_str(), alloc::format!("{why}").as_str());
                bump(&base.figures.tls_refused, 1);
                self.end(base);
            }
            self.soil(base);
        }

        fn decrypt_some(&mut self, base: &mut Base, cx: &mut Cx<'_>, bytes: &[u8]) -> Result<(), TlsError> {
            if self.secure.is_none() {
                let acceptor = match &mut base.secured.acceptor {
                    Some(acceptor) => acceptor,
                    empty => {
                        let target = base.target.downgrade();
                        empty.insert(Acceptor::new(move |identity| target.psk(identity))?)
                    }
                };
                self.secure = Some(Box::new(Secure(Session::server(acceptor)?)));
            }
            let mut plain = core::mem::take(&mut base.secured.plain);
            plain.resize(RECORD, 0);
            let mut outcome = self.secure.as_mut().map_or(Ok(()), |secure| secure.0.take(bytes));
            while outcome.is_ok() {
                outcome = match self.secure.as_mut().map(|secure| secure.0.read(&mut plain)) {
                    None | Some(Ok(0)) => break,
                    Some(Ok(some)) => {
                        self.plain(base, cx, &plain[..some]);
                        Ok(())
                    }
                    Some(Err(why)) => Err(why),
                };
            }
            base.secured.plain = plain;
            if outcome.is_ok() && self.secure.as_ref().is_some_and(|secure| secure.0.has_ended()) {
                // Nothing that comes now is read any more.
                self.end(base);
            }
            outcome
        }

        /// Makes of a buffer that is to be sent what goes out in its place. Of the few bytes that
        /// this is more, which do not fit, the last wait for the end of the poll. `false`: the
        /// queue is of no use.
        pub(crate) fn encrypt(&mut self, base: &mut Base, buf: &mut Buf) -> bool {
            let Some(secure) = &mut self.secure else { return false };
            if secure.0.output().is_empty() {
                core::mem::swap(secure.0.output(), &mut base.secured.out);
            }
            // What was queued before goes first.
            let queued = secure.0.write(&self.out);
            self.out.clear();
            let written = queued.and_then(|()| secure.0.write(buf));
            let out = secure.0.output();
            buf.clear();
            let taken = buf.append(out);
            let rest = out[taken..].to_vec();
            out.clear();
            base.secured.out = core::mem::replace(out, rest);
            if !out.is_empty() {
                self.soil(base);
            }
            if let Err(why) = &written {
                logging::warn!("{}: {}", self.name().as_str(), alloc::format!("{why}").as_str());
            }
            written.is_ok()
        }

        /// What is to go out.
        pub(crate) fn outgoing(&mut self) -> &mut Vec<u8> {
            let Some(secure) = &mut self.secure else { return &mut self.out };
            // Where it cannot be written there is no session, which the next read tells.
            let _ = secure.0.write(&self.out);
            self.out.clear();
            secure.0.output()
        }

        /// The host is told that no more comes.
        pub(crate) fn say_goodbye(&mut self) {
            let _ = self.outgoing();
            if let Some(secure) = &mut self.secure {
                secure.0.close();
            }
        }
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    use alloc::vec::Vec;

    use core_reactor::Cx;
    use pool::Buf;

    use crate::group::base::Base;
    use crate::group::queue::Queue;

    /// There is none.
    pub(crate) enum Secure {}

    impl Secure {
        pub(crate) fn is_open(&self) -> bool {
            match *self {}
        }

        pub(crate) fn names(&self) -> (&str, &str) {
            match *self {}
        }
    }

    impl Queue {
        /// Nobody listens for TLS here.
        pub(crate) fn decrypt(&mut self, base: &mut Base, _: &mut Cx<'_>, _: &[u8]) {
            self.end(base);
        }

        pub(crate) fn encrypt(&mut self, _: &mut Base, _: &mut Buf) -> bool {
            false
        }

        #[inline]
        pub(crate) fn outgoing(&mut self) -> &mut Vec<u8> {
            &mut self.out
        }

        pub(crate) fn say_goodbye(&mut self) {}
    }
}
