//! Files, read and written at places, by threads that are no reactors.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use core::fmt;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use core_reactor::Refused;
use pool::{Buf, BufGroup, SendBuf};
use rustix::fs::{OFlags, fcntl_getfl};

use crate::Runtime;
use crate::aside::Queue;

/// Calls of a runtime at a time, each on a thread; further ones wait for their turn.
pub(crate) const AT_A_TIME: usize = 8;

std::thread_local! {
    /// For a buffer that is used on another thread than its own: that thread must have a group.
    static HERE: BufGroup = BufGroup::new(1, 1);
}

/// A file. Its calls wait for a disk, so they are made by threads that are no reactors, eight at a
/// time in each runtime, and in no order among each other: await the one before the next where that
/// matters.
///
/// There is no place in the file at which it would go on: each call names its own. So one `File`
/// serves any number of tasks at a time.
///
/// **Dropped before it is ready**, a call that was not begun is not made; one that was is made to
/// its end while the process lives, and owns its bytes until then, so nobody else's are touched.
/// Nothing says which of the two it was: after a write that was dropped the file has all of it, a
/// part or nothing. The end of the process waits for no call: who needs one to be made awaits it
/// under [`hold_exit`](Runtime::hold_exit).
///
/// When the last clone is dropped and no call has the file any more, a thread closes it, a moment
/// later.
///
/// ```
/// # use lcore::pool::BufGroup;
/// # use lcore_async::{File, Runtime, TcpStream};
/// /// Sends a file, whose bytes are not copied on their way from the file to the network.
/// async fn send_file(stream: &mut TcpStream, file: &File, bufs: &BufGroup) -> Result<(), Box<dyn std::error::Error>> {
///     let mut at = 0;
///     loop {
///         let buf = file.read_buf_at(bufs.get().ok_or("all buffers are out")?, at).await?;
///         if buf.is_empty() {
///             return Ok(());
///         }
///         at += buf.len() as u64;
///         stream.send(buf).await?;
///     }
/// }
/// ```
#[derive(Clone)]
pub struct File {
    open: Arc<Open>,
    /// Keeps the threads. After the file, which one of them closes.
    _runtime: Runtime,
}

struct Open {
    /// There until this is dropped.
    file: Option<fs::File>,
    path: PathBuf,
    calls: Arc<Queue>,
}

impl Open {
    fn file(&self) -> io::Result<&fs::File> {
        self.file.as_ref().ok_or_else(|| io::Error::other("it is closed"))
    }
}

impl Drop for Open {
    /// A close may wait as well: for a server, or until the blocks of a file without a name are
    /// free.
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.calls.push(Box::new(move || drop(file)));
        }
    }
}

/// Why something could not be done with a file.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} {path:?}: {why}")]
#[non_exhaustive]
pub struct FileError {
    /// What was to be done, such as `read`.
    pub doing: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The reason. What is no error of the system's, such as that it has no thread to give, is one
    /// of the kind [`Other`](io::ErrorKind::Other).
    #[source]
    pub why: io::Error,
}

impl From<FileError> for io::Error {
    /// With its words and its kind.
    fn from(error: FileError) -> Self {
        Self::new(error.why.kind(), error)
    }
}

impl From<Refused<Buf, FileError>> for FileError {
    fn from(refused: Refused<Buf, Self>) -> Self {
        refused.why
    }
}

impl File {
    /// Opens a file to be read. What would have it wait is not waited for: a pipe without a writer
    /// is opened, and a lease that somebody else has on the file is an error.
    ///
    /// # Errors
    /// It is not there or must not be read; the system has no descriptor or no thread to give.
    pub async fn open(runtime: &Runtime, path: impl AsRef<Path>) -> Result<Self, FileError> {
        Self::open_with(runtime, path, at_once().read(true)).await
    }

    /// Opens a file to be read and written; one that is there is emptied, one that is not is made.
    /// It waits for nobody, as [`open`](Self::open).
    ///
    /// # Errors
    /// It must not be written or made there; the system has no descriptor or no thread to give.
    pub async fn create(runtime: &Runtime, path: impl AsRef<Path>) -> Result<Self, FileError> {
        Self::open_with(runtime, path, at_once().read(true).write(true).create(true).truncate(true)).await
    }

    /// Opens a file as these options say. What waits to be opened, such as a pipe to which nobody
    /// writes, has one of the threads until it is.
    ///
    /// # Errors
    /// The options exclude each other, do not fit the file or say `append`, which would have the
    /// system write elsewhere than it is told to; the system has no descriptor or no thread to
    /// give.
    pub async fn open_with(runtime: &Runtime, path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, FileError> {
        let (path, options) = (path.as_ref().to_owned(), options.clone());
        let error = |why| FileError { doing: "open", path: path.clone(), why };
        let calls = runtime.files().ready().map_err(|why| error(io::Error::other(why)))?;
        let mut open = Open { file: None, path: path.clone(), calls: calls.clone() };
        let call = move || {
            let file = open.file.insert(options.open(&open.path)?);
            if fcntl_getfl(file)?.contains(OFlags::APPEND) {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "with append it would be written at its end only"));
            }
            Ok(open)
        };
        let open = calls.call(call).await.map_err(error)?;
        Ok(Self { open: Arc::new(open), _runtime: runtime.clone() })
    }

    /// Reads into `into` what the file has from byte `at` on; tells how much, which is less than
    /// there is room for only at the end of the file. It goes through memory of the call's own, and
    /// a copy; [`read_buf_at`](Self::read_buf_at) does without.
    ///
    /// # Errors
    /// The file must not be read, is a directory, or its disk fails.
    pub async fn read_at(&self, into: &mut [u8], at: u64) -> Result<usize, FileError> {
        let mut bytes = vec![0; into.len()];
        let read = move |file: &fs::File| {
            let len = fill(&mut bytes, at, |into, at| file.read_at(into, at))?;
            bytes.truncate(len);
            Ok(bytes)
        };
        let bytes = self.call("read", read).await?;
        into[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }

    /// Reads what the file has from byte `at` on behind what is in `buf`, as much as it has room
    /// for; less than that only at the end of the file.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at); the buffer comes back.
    pub async fn read_buf_at(&self, buf: Buf, at: u64) -> Result<Buf, Refused<Buf, FileError>> {
        self.call_with("read", buf, move |file, buf| {
            let len = fill(buf.spare_mut(), at, |into, at| file.read_at(into, at))?;
            buf.grow(len);
            Ok(())
        })
        .await
    }

    /// Writes all of `bytes` from byte `at` on; behind the end of the file there are zeroes up to
    /// it. They are copied for it; [`write_buf_at`](Self::write_buf_at) does without.
    ///
    /// Written is not yet on the disk: see [`sync_all`](Self::sync_all).
    ///
    /// # Errors
    /// The file must not be written, there is no room for it, or its disk fails; a part may be
    /// written.
    pub async fn write_all_at(&self, bytes: &[u8], at: u64) -> Result<(), FileError> {
        let bytes = bytes.to_vec();
        self.call("write", move |file| file.write_all_at(&bytes, at)).await
    }

    /// Writes all that is in `buf` from byte `at` on. The buffer comes back as it was.
    ///
    /// # Errors
    /// As [`write_all_at`](Self::write_all_at); the buffer comes back.
    pub async fn write_buf_at(&self, buf: Buf, at: u64) -> Result<Buf, Refused<Buf, FileError>> {
        self.call_with("write", buf, move |file, buf| file.write_all_at(buf, at)).await
    }

    /// Ready when all that was written is on the disk, and what says how to find it (`fsync`).
    ///
    /// # Errors
    /// The disk fails. What was written since the last time may be lost.
    pub async fn sync_all(&self) -> Result<(), FileError> {
        self.call("sync", fs::File::sync_all).await
    }

    /// The same but for what is not needed to read it, such as its times (`fdatasync`).
    ///
    /// # Errors
    /// As [`sync_all`](Self::sync_all).
    pub async fn sync_data(&self) -> Result<(), FileError> {
        self.call("sync", fs::File::sync_data).await
    }

    /// Bytes of the file. 0 where it has no such length, as a pipe or a device.
    ///
    /// # Errors
    /// The file system fails.
    #[allow(clippy::len_without_is_empty, reason = "it is a call that waits, and what is empty now may not be then")]
    pub async fn len(&self) -> Result<u64, FileError> {
        self.call("look at", |file| Ok(file.metadata()?.len())).await
    }

    /// Makes it so long: cuts it off, or adds zeroes.
    ///
    /// # Errors
    /// The file must not be written, or its file system has no room for it.
    pub async fn set_len(&self, len: u64) -> Result<(), FileError> {
        self.call("set the length of", move |file| file.set_len(len)).await
    }

    /// Its path, as it was opened by.
    pub fn path(&self) -> &Path {
        &self.open.path
    }

    async fn call<T: Send + 'static>(
        &self,
        doing: &'static str,
        f: impl FnOnce(&fs::File) -> io::Result<T> + Send + 'static,
    ) -> Result<T, FileError> {
        let open = self.open.clone();
        self.open.calls.call(move || f(open.file()?)).await.map_err(|why| self.error(doing, why))
    }

    /// A call with a buffer of a pool, which the call owns until it ends.
    async fn call_with(
        &self,
        doing: &'static str,
        buf: Buf,
        f: impl FnOnce(&fs::File, &mut Buf) -> io::Result<()> + Send + 'static,
    ) -> Result<Buf, Refused<Buf, FileError>> {
        let (open, sent) = (self.open.clone(), buf.into_send());
        let call = move || {
            let mut buf = local(sent);
            let done = open.file().and_then(|file| f(file, &mut buf));
            (buf.into_send(), done)
        };
        let (sent, done) = self.open.calls.call(call).await;
        let buf = local(sent);
        match done {
            Ok(()) => Ok(buf),
            Err(why) => Err(Refused { item: buf, why: self.error(doing, why) }),
        }
    }

    fn error(&self, doing: &'static str, why: io::Error) -> FileError {
        FileError { doing, path: self.open.path.clone(), why }
    }
}

/// Options to open what can be at once. Later calls do not wait for a pipe either way: they name
/// their places, and it has none.
fn at_once() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    options
}

/// The same buffer, to be used on this thread.
fn local(buf: SendBuf) -> Buf {
    HERE.with(|here| buf.into_local(here))
}

/// Reads from byte `at` on until `into` is full or nothing follows. Tells how much it was.
fn fill(into: &mut [u8], at: u64, mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>) -> io::Result<usize> {
    let mut len = 0;
    while len < into.len() {
        match read(&mut into[len..], at + len as u64) {
            Ok(0) => break,
            Ok(more) => len += more,
            // By a signal.
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(len)
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.open.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::fill;

    #[test]
    fn s460_a_read_goes_on_until_all_is_there_or_the_file_ends() {
        let bytes: [u8; 100] = core::array::from_fn(|n| n as u8);
        let mut calls = 0;
        let mut read = |into: &mut [u8], at: u64| {
            calls += 1;
            let left = &bytes[bytes.len().min(at as usize)..];
            let len = into.len().min(left.len()).min(7);
            into[..len].copy_from_slice(&left[..len]);
            if calls % 3 == 2 { Err(io::ErrorKind::Interrupted.into()) } else { Ok(len) }
        };
        let mut into = [200; 64];
        assert_eq!(fill(&mut into, 20, &mut read).expect("no error"), 64);
        assert_eq!(into[..], bytes[20..84]);
        assert_eq!(fill(&mut into, 60, &mut read).expect("no error"), 40);
        assert_eq!(into[..40], bytes[60..]);
        assert_eq!(fill(&mut [], 0, &mut read).expect("no error"), 0);
        let fails = |into: &mut [u8], _| if into.len() > 60 { Ok(2) } else { Err(io::ErrorKind::StorageFull.into()) };
        assert_eq!(fill(&mut into, 0, fails).expect_err("the disk fails").kind(), io::ErrorKind::StorageFull);
    }
}
