//! Where clients find the server: a socket in the file system, with a lock file beside it, or TCP.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use core_reactor::net::parse_address;
use socket2::{Domain, SockAddr, Socket, Type};

/// Clients that may wait to be accepted, as with SPDK.
const BACKLOG: i32 = 512;
/// Bytes that the path of a socket has at most.
const PATH: usize = 107;
/// The port that SPDK's clients try.
const PORT: u16 = 5260;

/// Where a server listens. What begins with `/` is the path of a socket, all else an IP address
/// with or without a port (5260), as for SPDK's clients.
///
/// ```
/// use rpc::Address;
///
/// assert_eq!("/run/mine.sock".parse(), Ok(Address::Unix("/run/mine.sock".into())));
/// assert_eq!("127.0.0.1".parse::<Address>()?.to_string(), "127.0.0.1:5260");
/// assert!("mine.sock".parse::<Address>().is_err(), "a path begins with /");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A socket of that path, for its owner alone.
    Unix(PathBuf),
    /// An address of this machine. Whoever reaches it may do all that a method can.
    Tcp(SocketAddr),
}

impl Address {
    /// Where SPDK's clients look without being told.
    pub const DEFAULT: &'static str = "/var/tmp/spdk.sock";
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return match text.len() {
                ..=PATH if !text.contains('\0') => Ok(Self::Unix(text.into())),
                ..=PATH => Err("a path has no zero byte in it".into()),
                long => Err(format!("{long} bytes, and the path of a socket has {PATH} at most")),
            };
        }
        let with_port = text.parse().ok().or_else(|| parse_address(text, PORT).ok());
        with_port.map(Self::Tcp).ok_or_else(|| "neither a path that begins with / nor an IP address, with or without :PORT".into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(at) => write!(f, "{at}"),
        }
    }
}

/// Why nothing listens at an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Another server has it.
    #[error("RPC at {0}: another process serves there; choose another place with -r, or serve none with --no-rpc")]
    InUse(PathBuf),
    /// Something else has that name, and is not taken away.
    #[error("RPC at {0}: there is a file of that name which is no socket; choose another place with -r")]
    NoSocket(PathBuf),
    /// The system refuses.
    #[error("RPC at {at}: {doing}: {why}")]
    Io {
        /// Where.
        at: String,
        /// What was attempted.
        doing: &'static str,
        /// What it says.
        why: io::Error,
    },
}

/// A socket that listens. Dropped, it takes its files away.
pub(crate) struct Listener {
    pub(crate) socket: Socket,
    at: Address,
    _files: Option<Files>,
}

impl Listener {
    pub(crate) fn open(at: &Address) -> Result<Self, AddressError> {
        let (socket, files, at) = match at {
            Address::Unix(path) => {
                let (socket, files) = open_unix(path)?;
                (socket, Some(files), at.clone())
            }
            Address::Tcp(tcp) => {
                let (socket, tcp) = open_tcp(*tcp).map_err(|why| io_error(at, "listen", why))?;
                (socket, None, Address::Tcp(tcp))
            }
        };
        socket.set_nonblocking(true).map_err(|why| io_error(&at, "do not wait for clients", why))?;
        Ok(Self { socket, at, _files: files })
    }

    /// Where it is, with the port that was found for port 0.
    pub(crate) fn at(&self) -> &Address {
        &self.at
    }
}

fn io_error(at: &Address, doing: &'static str, why: io::Error) -> AddressError {
    AddressError::Io { at: at.to_string(), doing, why }
}

fn open_tcp(at: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(BACKLOG)?;
    let at = socket.local_addr()?.as_socket().unwrap_or(at);
    Ok((socket, at))
}

fn open_unix(path: &Path) -> Result<(Socket, Files), AddressError> {
    let wrong = |doing| move |why| io_error(&Address::Unix(path.into()), doing, why);
    let lock = lock(path)?;
    // Whoever has the lock may take away what a process left that ended without doing so.
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(AddressError::NoSocket(path.into())),
        Ok(_) => fs::remove_file(path).map_err(wrong("take away the socket of a process that has ended"))?,
        Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(wrong("make a socket"))?;
    socket.bind(&SockAddr::unix(path).map_err(wrong("name a socket"))?).map_err(wrong("name a socket"))?;
    let files = Files { path: path.into(), _lock: lock };
    // Before it listens, so that nobody gets in through a wide umask.
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(wrong("keep others off the socket"))?;
    socket.listen(BACKLOG).map_err(wrong("listen"))?;
    Ok((socket, files))
}

/// The lock file of a path, locked.
fn lock(path: &Path) -> Result<File, AddressError> {
    let wrong = |doing| move |why| io_error(&Address::Unix(path.into()), doing, why);
    let name = lock_name(path);
    loop {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
        let file = options.open(&name).map_err(wrong("open its lock file"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(AddressError::InUse(path.into())),
            Err(TryLockError::Error(why)) => return Err(wrong("lock its lock file")(why)),
        }
        // Whoever had it before takes it away at its end: then this one locks nothing.
        if is_at(&file, &name) {
            return Ok(file);
        }
    }
}

/// Whether the file is the one of that name.
fn is_at(file: &File, name: &Path) -> bool {
    let same = |there: fs::Metadata| file.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (there.dev(), there.ino()));
    fs::symlink_metadata(name).is_ok_and(same)
}

fn lock_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// What is in the file system as long as a server listens.
struct Files {
    path: PathBuf,
    _lock: File,
}

impl Drop for Files {
    fn drop(&mut self) {
        // Whoever has taken them away already has done no harm.
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(lock_name(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_ip_addresses() {
        assert_eq!("/a/b".parse(), Ok(Address::Unix("/a/b".into())));
        for (text, at) in [("127.0.0.1", "127.0.0.1:5260"), ("127.0.0.1:0", "127.0.0.1:0"), ("::1", "[::1]:5260"), ("[::1]:7", "[::1]:7")] {
            assert_eq!(text.parse::<Address>().map(|at| at.to_string()), Ok(at.to_owned()), "{text}");
        }
        let long = format!("/{}", "x".repeat(PATH));
        for (text, part) in
            [("", "neither"), ("a.sock", "begins with /"), ("localhost", "neither"), ("/a\0b", "zero byte"), (&long, "108 bytes")]
        {
            let why = text.parse::<Address>().unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn a_path_is_one_servers_and_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let at = Address::Unix(path.clone());
        let first = Listener::open(&at).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(&lock_name(&path))), (0o600, 0o600));
        let why = Listener::open(&at).err().unwrap();
        assert!(matches!(why, AddressError::InUse(_)) && why.to_string().contains("-r"), "{why}");
        drop(first);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "both files are gone");
    }

    #[test]
    fn what_a_dead_server_left_is_taken_away_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let at = Address::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        fs::write(lock_name(&path), "").unwrap();
        drop(Listener::open(&at).expect("nobody has its lock"));
        fs::write(&path, "precious").unwrap();
        assert!(matches!(Listener::open(&at), Err(AddressError::NoSocket(_))));
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        let nowhere = Address::Unix(dir.path().join("no/s"));
        let why = Listener::open(&nowhere).err().unwrap().to_string();
        assert!(why.contains("lock file") && why.contains("No such file"), "{why}");
    }

    /// Between its opening and its locking whoever had a lock file may have taken it away.
    #[test]
    fn a_lock_file_that_was_taken_away_locks_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("s.lock");
        let file = File::create(&name).unwrap();
        assert!(is_at(&file, &name));
        fs::remove_file(&name).unwrap();
        assert!(!is_at(&file, &name));
        let other = File::create(&name).unwrap();
        assert!(!is_at(&file, &name) && is_at(&other, &name));
    }
}
