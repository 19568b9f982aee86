//! Connections that TLS secures. Without the feature there are none, and nothing of this is left.

#[cfg(feature = "tls")]
pub(crate) use with::{Keys, Secure};
#[cfg(not(feature = "tls"))]
pub(crate) use without::{Keys, Secure};

/// Bytes that a record carries at most.
pub(crate) const RECORD: usize = 1 << 14;

#[cfg(feature = "tls")]
mod with {
    use std::net::SocketAddr;
    use std::path::Path;

    use lcore::net::Frame;
    use lcore::pool::BufGroup;
    use nvme::auth::{TlsIdentity, TlsKey, TlsPsk};
    use nvme_tls::{RECORD, Session, TlsError};

    use crate::error::Trouble;
    use crate::link::HEADERS;

    const _: () = assert!(RECORD == super::RECORD);

    /// The keys that this host offers.
    #[derive(Clone, Debug)]
    pub(crate) struct Keys(Vec<TlsPsk>);

    impl Keys {
        /// Those of the two names, out of the file.
        pub(crate) fn read(path: &Path, hostnqn: &str, subnqn: &str) -> Result<Self, Trouble> {
            let unfit = |why: String| Trouble::Unfit(format!("--tls-key {}: {why}", path.display()));
            let text = std::fs::read_to_string(path).map_err(|why| unfit(why.to_string()))?;
            let key = TlsKey::read(&text).map_err(|why| unfit(why.to_string()))?;
            // SPDK's target knows the first alone.
            let keys: Vec<_> =
                [TlsIdentity::Names, TlsIdentity::Digest].into_iter().filter_map(|form| key.psk(hostnqn, subnqn, form)).collect();
            if keys.is_empty() {
                Err(unfit("the names of host and subsystem are too long for a key of TLS".into()))
            } else {
                Ok(Self(keys))
            }
        }
    }

    /// A session, and what buffers its records take that do not fit where their bytes were.
    pub(crate) struct Secure {
        at: SocketAddr,
        session: Session,
        pub(crate) bufs: BufGroup,
    }

    impl Secure {
        pub(crate) fn new(at: SocketAddr, keys: &Keys, bufs: &BufGroup) -> Result<Box<Self>, Trouble> {
            let session = Session::client(&keys.0).map_err(|why| trouble(at, &why))?;
            Ok(Box::new(Self { at, session, bufs: bufs.clone() }))
        }

        /// Bytes of the target; whether the connection is open now and was not before.
        pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<bool, Trouble> {
            let was_open = self.session.is_open();
            self.session.take(bytes).map_err(|why| trouble(self.at, &why))?;
            Ok(self.session.is_open() && !was_open)
        }

        /// What they carry; 0 is that there is no more.
        pub(crate) fn read(&mut self, into: &mut [u8]) -> Result<usize, Trouble> {
            self.session.read(into).map_err(|why| trouble(self.at, &why))
        }

        /// Makes of a frame what goes out in its place, in its buffers. What does not fit there is
        /// in [`rest`](Self::rest).
        pub(crate) fn encrypt(&mut self, frame: &mut Frame) -> Result<(), Trouble> {
            for part in frame.parts() {
                self.session.write(part).map_err(|why| trouble(self.at, &why))?;
            }
            let out = self.session.output();
            let mut taken = 0;
            for part in frame.parts_mut() {
                part.clear();
                taken += part.append(&out[taken..]);
            }
            out.drain(..taken);
            Ok(())
        }

        /// A frame of what is to go out yet, if there is something.
        pub(crate) fn rest(&mut self) -> Result<Option<Frame>, Trouble> {
            let out = self.session.output();
            if out.is_empty() {
                return Ok(None);
            }
            let mut buf = self.bufs.get_class(HEADERS).ok_or(Trouble::NoBuffer)?;
            let taken = buf.append(out);
            out.drain(..taken);
            Ok(Some(buf.into()))
        }
    }

    fn trouble(at: SocketAddr, why: &TlsError) -> Trouble {
        Trouble::Tls { at, why: why.to_string() }
    }
}

#[cfg(not(feature = "tls"))]
mod without {
    use std::net::SocketAddr;
    use std::path::Path;

    use lcore::net::Frame;
    use lcore::pool::BufGroup;

    use crate::error::Trouble;

    /// There are none.
    #[derive(Clone, Debug)]
    pub(crate) enum Keys {}

    impl Keys {
        pub(crate) fn read(_: &Path, _: &str, _: &str) -> Result<Self, Trouble> {
            Err(Trouble::Unfit("--tls-key: this nvme-perf was built without TLS; build it with --features tls".into()))
        }
    }

    /// There is none.
    pub(crate) struct Secure {
        none: Keys,
        pub(crate) bufs: BufGroup,
    }

    impl Secure {
        pub(crate) fn new(_: SocketAddr, keys: &Keys, _: &BufGroup) -> Result<Box<Self>, Trouble> {
            match *keys {}
        }

        pub(crate) fn take(&mut self, _: &[u8]) -> Result<bool, Trouble> {
            match self.none {}
        }

        pub(crate) fn read(&mut self, _: &mut [u8]) -> Result<usize, Trouble> {
            match self.none {}
        }

        pub(crate) fn encrypt(&mut self, _: &mut Frame) -> Result<(), Trouble> {
            match self.none {}
        }

        pub(crate) fn rest(&mut self) -> Result<Option<Frame>, Trouble> {
            match self.none {}
        }
    }
}
