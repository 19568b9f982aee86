//! Unix stream sockets: where they are, the file that one leaves, and what an error at one means.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use core_reactor::net::{NetError, SockOptions, Text, UnixAddress};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::error::{self, Errno};
use crate::options::{self, Kept};
use crate::{Backend, Tcp};

/// The address, as the system takes it.
pub(crate) fn sock_addr(at: &UnixAddress) -> Result<SockAddr, NetError> {
    let made = match at.abstract_name() {
        Some(name) => SockAddr::unix(format!("\0{name}")),
        None => SockAddr::unix(at.path().unwrap_or_default()),
    };
    made.map_err(|e| at_unix("name a socket", Errno::of(&e), at))
}

/// What an error at `at` means to a caller who was `doing` this.
pub(crate) fn at_unix(doing: &'static str, errno: Errno, at: &UnixAddress) -> NetError {
    let text = || -> Text { at.to_string().into() };
    match errno.0 {
        libc::EADDRINUSE => NetError::UnixInUse(text()),
        libc::ECONNREFUSED if at.abstract_name().is_some() => NetError::UnixMissing(text()),
        libc::ECONNREFUSED => NetError::UnixRefused(text()),
        libc::ENOENT => NetError::UnixMissing(text()),
        libc::EACCES | libc::EPERM => NetError::UnixDenied(text()),
        libc::ENOTSOCK => NetError::UnixNoSocket(text()),
        _ => match error::plain(doing, errno) {
            NetError::Os { doing, code, text } => NetError::Os { doing, code, text: format!("{at}: {text}").into() },
            other => other,
        },
    }
}

/// A socket that is neither named nor connected yet.
pub(crate) fn open(options: &SockOptions) -> Result<Socket, NetError> {
    let socket =
        Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None).map_err(|e| error::plain("socket", Errno::of(&e)))?;
    options::apply_to_unix(&socket, options)?;
    Ok(socket)
}

/// A socket that listens at `at`, and its file.
pub(crate) fn listen(at: &UnixAddress, options: &SockOptions) -> Result<(Socket, Option<SocketFile>), NetError> {
    let socket = open(options)?;
    let name = sock_addr(at)?;
    socket.bind(&name).map_err(|e| match Errno::of(&e) {
        Errno(libc::EADDRINUSE) => who_is_there(at, &name),
        errno => at_unix("bind", errno, at),
    })?;
    let file = at.path().and_then(SocketFile::of);
    options::listen_unix(&socket, options.backlog)?;
    Ok((socket, file))
}

/// Why a path or name that is taken is: nobody takes a file away that might be somebody's (decision
/// 0147).
fn who_is_there(at: &UnixAddress, name: &SockAddr) -> NetError {
    let text = || -> Text { at.to_string().into() };
    let Some(path) = at.path() else { return NetError::UnixInUse(text()) };
    if fs::symlink_metadata(path).is_ok_and(|there| !there.file_type().is_socket()) {
        return NetError::UnixNoSocket(text());
    }
    let asked = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None).and_then(|probe| probe.connect(name));
    match asked {
        // Any other answer, such as that its queue is full, is that of somebody who listens.
        Err(why) if Errno::of(&why) == Errno(libc::ECONNREFUSED) => NetError::UnixLeftOver(text()),
        _ => NetError::UnixInUse(text()),
    }
}

/// The file of a listener. Dropped, it is taken away, if it is still that listener's.
///
/// It has to be dropped *before* the socket is closed. While the socket is open, whoever comes
/// finds that somebody listens, and puts no file of their own in this one's place; and the system
/// gives this file's number to no other.
#[derive(Debug)]
pub struct SocketFile {
    path: Box<Path>,
    device_and_number: (u64, u64),
}

impl SocketFile {
    fn of(path: &str) -> Option<Self> {
        // The path is to be found also when the working directory has changed.
        let path = std::path::absolute(path).ok()?.into_boxed_path();
        let device_and_number = number(&path)?;
        Some(Self { path, device_and_number })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if number(&self.path) == Some(self.device_and_number) {
            // Whoever has taken it away already has done no harm.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn number(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|there| (there.dev(), there.ino()))
}

impl<B: Backend> Tcp<B> {
    /// Listens at the Unix address `at`.
    ///
    /// # Errors
    /// As [`core_reactor::net::NetImpl::listen_unix`].
    pub fn listen_unix(at: &UnixAddress, options: &SockOptions) -> Result<Self, NetError> {
        let (socket, file) = listen(at, options)?;
        let mut listener = Self::new(socket, crate::Kind::Listener, Kept::of_unix(options), None);
        listener.file = file;
        Ok(listener)
    }

    /// A socket for the Unix address `to`. Nothing is asked of anybody yet.
    ///
    /// # Errors
    /// As [`core_reactor::net::NetImpl::connect_unix`].
    pub fn connect_unix(to: &UnixAddress, options: &SockOptions) -> Result<Self, NetError> {
        let connect = crate::Connect::to_unix(to.clone(), options);
        Ok(Self::new(open(options)?, crate::Kind::Connect(Box::new(connect)), Kept::of_unix(options), None))
    }
}
