//! Files and names, by the system's own, on a core that must not wait for them.
#![cfg(all(feature = "files", feature = "names"))]

use std::fs::{self, OpenOptions};
use std::future::{Future, poll_fn};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use lcore::net::SockOptions;
use lcore::pool::{BufGroup, Class};
use lcore::{App, AppOptions};
use lcore_async::{Config, File, FileError, LookupError, Runtime, TcpStream, lookup_host};
use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use tempfile::TempDir;

/// Nothing that is waited for takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs one task on a core, to its end.
fn run<F: Future<Output = ()> + 'static>(test: impl FnOnce(Runtime) -> F + Send + 'static) {
    let mut options = AppOptions::default();
    (options.no_cpumask_locks, options.net) = (true, Some("posix".to_owned()));
    let ran = App::new("test").options(options).network().try_run(move |cx, app| {
        let runtime = Runtime::new(cx, Config::new().network(app.net(), BufGroup::new(64, 4096)))?;
        let (task, app) = (test(runtime.clone()), app.clone());
        let to_the_end = async move {
            task.await;
            app.stop(0);
        };
        drop(runtime.spawn_local(to_the_end));
        Ok(())
    });
    assert_eq!(ran.expect("no panic"), 0);
}

/// A folder, and a file's path in it.
fn folder(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(name);
    (folder, path)
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n % 251) as u8).collect()
}

/// Whether a future is ready when it is asked, for once.
async fn is_pending(future: &mut Pin<Box<impl Future>>) -> bool {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// Ends, or fails the test.
async fn soon<T>(runtime: &Runtime, future: impl Future<Output = T>) -> T {
    runtime.timeout(PATIENCE, future).await.expect("it ends")
}

#[test]
fn s460_what_is_written_at_a_place_is_read_at_it() {
    let (_folder, path) = folder("data");
    let to_look = path.clone();
    run(move |runtime| async move {
        let file = File::create(&runtime, &path).await.expect("a file");
        assert_eq!(file.len().await.expect("a length"), 0);
        let bytes = pattern(1 << 20);
        file.write_all_at(&bytes, 7).await.expect("room");
        let mut back = vec![1; bytes.len() + 100];
        // All there is, zeroes before what was written, and no byte behind it.
        assert_eq!(file.read_at(&mut back, 0).await.expect("it can be read"), bytes.len() + 7);
        assert!(back[..7] == [0; 7] && back[7..][..bytes.len()] == bytes && back[7 + bytes.len()..] == [1; 93]);
        assert_eq!(file.read_at(&mut back, 2 << 20).await.expect("its end is no error"), 0);

        let bufs = BufGroup::new(4, 1000);
        let mut buf = bufs.get().expect("a buffer");
        buf.append(b"head ");
        let buf = file.read_buf_at(buf, 7).await.expect("it can be read");
        assert!(&buf[..5] == b"head " && buf[5..] == bytes[..995]);
        let buf = file.write_buf_at(buf, 2 << 20).await.expect("room");
        assert_eq!((buf.len(), file.len().await.expect("a length")), (1000, (2 << 20) + 1000));
        let mut rest = bufs.get().expect("a buffer");
        rest.append(&[9; 300]);
        let rest = file.read_buf_at(rest, (2 << 20) + 900).await.expect("it can be read");
        assert_eq!((rest.len(), &rest[300..]), (400, &buf[900..]));
        drop((buf, rest));
        assert_eq!(bufs.stats(Class::Small).in_use, 0, "all are home");

        file.set_len(500).await.expect("it can be cut");
        file.sync_data().await.expect("a disk");
        file.sync_all().await.expect("a disk");
    });
    assert!(fs::read(to_look).expect("it is there")[7..] == pattern(493));
}

/// What was to be done, and the system's reason.
async fn said<T: std::fmt::Debug>(call: impl Future<Output = Result<T, FileError>>) -> String {
    call.await.expect_err("it cannot be done").to_string()
}

#[test]
fn s461_what_cannot_be_done_with_a_file_is_one_sentence() {
    let (folder, path) = folder("data");
    fs::write(&path, "x").expect("a file");
    run(move |runtime| async move {
        let (folder, gone) = (folder.path(), folder.path().join("gone"));
        let not_there = format!("could not open {gone:?}: No such file or directory (os error 2)");
        assert_eq!(said(File::open(&runtime, &gone)).await, not_there);
        assert_eq!(said(File::create(&runtime, folder)).await, format!("could not open {folder:?}: Is a directory (os error 21)"));
        let directory = File::open(&runtime, folder).await.expect("it can be opened");
        let is_one = format!("could not read {folder:?}: Is a directory (os error 21)");
        assert_eq!(said(directory.read_at(&mut [0; 8], 0)).await, is_one);

        let full = File::open_with(&runtime, "/dev/full", OpenOptions::new().write(true)).await.expect("a device");
        let no_room = "could not write \"/dev/full\": No space left on device (os error 28)";
        assert_eq!(said(full.write_all_at(b"more", 0)).await, no_room);
        let bufs = BufGroup::new(1, 64);
        let mut buf = bufs.get().expect("a buffer");
        buf.append(b"more");
        let refused = full.write_buf_at(buf, 0).await.expect_err("it is full");
        assert_eq!((&refused.item[..], refused.why.to_string().as_str()), (&b"more"[..], no_room), "the buffer comes back");
        assert_eq!(io::Error::from(refused.why).kind(), io::ErrorKind::StorageFull);

        let file = File::open(&runtime, &path).await.expect("it is there");
        assert_eq!(said(file.write_all_at(b"more", 0)).await, format!("could not write {path:?}: Bad file descriptor (os error 9)"));
        assert_eq!(said(file.set_len(3)).await, format!("could not set the length of {path:?}: Invalid argument (os error 22)"));
        assert!(said(File::open(&runtime, "a\0b")).await.starts_with("could not open \"a\\0b\": "));
        let appends = format!("could not open {path:?}: with append it would be written at its end only");
        assert_eq!(said(File::open_with(&runtime, &path, OpenOptions::new().append(true))).await, appends);
    });
}

#[test]
fn s460_a_file_that_comes_in_parts_is_read_to_the_end() {
    let maps = "/proc/self/smaps";
    let mut part = [0; 8 << 10];
    let once = fs::File::open(maps).expect("a process has one").read_at(&mut part, 0).expect("it can be read");
    assert!(once < part.len(), "the kernel gives it in parts");
    run(move |runtime| async move {
        let file = File::open(&runtime, maps).await.expect("a process has one");
        assert_eq!(file.read_at(&mut part, 0).await.expect("it can be read"), part.len());
        let buf = BufGroup::new(1, part.len()).get().expect("a buffer");
        assert_eq!(file.read_buf_at(buf, 0).await.expect("it can be read").spare_capacity(), 0);
    });
}

fn pipe() -> (TempDir, PathBuf) {
    let (folder, path) = folder("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    (folder, path)
}

/// Has all threads wait, until somebody opens the pipe to write. Who drops what comes back before
/// that leaves them to it.
async fn keep_all_threads(runtime: &Runtime, pipe: &Path) -> Vec<Pin<Box<impl Future<Output = Result<File, FileError>>>>> {
    let open = || {
        let (runtime, pipe) = (runtime.clone(), pipe.to_owned());
        Box::pin(async move { File::open_with(&runtime, pipe, OpenOptions::new().read(true)).await })
    };
    let mut opens: Vec<_> = (0..8).map(|_| open()).collect();
    for open in &mut opens {
        assert!(is_pending(open).await);
    }
    opens
}

#[test]
fn s462_a_core_does_not_wait_for_a_file_and_eight_calls_at_most_wait_at_a_time() {
    let ((_pipe, pipe), (_folder, path)) = (pipe(), folder("data"));
    fs::write(&path, "x").expect("a file");
    run(move |runtime| async move {
        let file = File::open(&runtime, &path).await.expect("it is there");
        let opens = keep_all_threads(&runtime, &pipe).await;
        // The core goes on: timers go off, and what finds no thread waits for one.
        assert!(runtime.timeout(Duration::from_millis(5), file.len()).await.is_err());
        let _writes = OpenOptions::new().read(true).write(true).open(&pipe).expect("a pipe");
        for open in opens {
            soon(&runtime, open).await.expect("it is opened");
        }
        assert_eq!(file.len().await.expect("a length"), 1);
    });
}

#[test]
fn s462_calls_that_nobody_asks_about_hold_up_no_others() {
    let (_folder, path) = folder("data");
    fs::write(&path, "x").expect("a file");
    run(move |runtime| async move {
        let file = File::open(&runtime, &path).await.expect("it is there");
        let mut held: Vec<_> = (0..20).map(|_| Box::pin(file.len())).collect();
        for call in &mut held {
            is_pending(call).await;
        }
        assert_eq!(soon(&runtime, file.len()).await.expect("a length"), 1);
    });
}

#[test]
fn s462_a_pipe_is_opened_though_nobody_writes_and_takes_no_thread() {
    let (_folder, pipe) = pipe();
    run(move |runtime| async move {
        let file = soon(&runtime, File::open(&runtime, &pipe)).await.expect("it is there");
        assert_eq!(said(file.read_at(&mut [0; 8], 0)).await, format!("could not read {pipe:?}: Illegal seek (os error 29)"));
        soon(&runtime, File::create(&runtime, &pipe)).await.expect("it is there");
    });
}

/// Whether something was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// The end of a pipe that reads. It tells whether somebody has the other one, once somebody had it.
fn other_end(pipe: &Path) -> impl FnMut() -> bool + use<> {
    let mut reads = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(pipe).expect("a pipe");
    move || match reads.read(&mut [0]) {
        Ok(0) => false,
        Err(why) if why.kind() == io::ErrorKind::WouldBlock => true,
        other => panic!("{other:?}"),
    }
}

#[test]
fn s462_no_core_waits_for_a_file_to_be_closed() {
    let ((_waits, waits), (_one, one), (_two, two)) = (pipe(), pipe(), pipe());
    run(move |runtime| async move {
        let mut options = OpenOptions::new();
        options.write(true);
        let mut one_is_open = other_end(&one);
        let there = File::open_with(&runtime, &one, &options).await.expect("somebody reads");

        // One whose answer has come, but nobody asked for it.
        let woken = Arc::new(Woken::default());
        let mut answered = Box::pin(File::open_with(&runtime, &two, &options));
        assert!(answered.as_mut().poll(&mut Context::from_waker(&Waker::from(woken.clone()))).is_pending());
        let mut two_is_open = other_end(&two);
        let answer = async {
            while !woken.0.load(Ordering::Acquire) {
                lcore_async::yield_now().await;
            }
        };
        soon(&runtime, answer).await;

        let opens = keep_all_threads(&runtime, &waits).await;
        drop(there.clone());
        drop((there, answered));
        assert!(one_is_open() && two_is_open(), "all threads wait, so nobody has closed them");
        let _writes = OpenOptions::new().read(true).write(true).open(&waits).expect("a pipe");
        drop(opens);
        let closed = async {
            while one_is_open() || two_is_open() {
                lcore_async::yield_now().await;
            }
        };
        soon(&runtime, closed).await;
    });
}

#[test]
fn s463_calls_that_are_dropped_touch_no_bytes_but_their_own_and_give_their_threads_back() {
    const BUF: usize = 1 << 20;
    let ((_pipe, pipe), (_folder, path)) = (pipe(), folder("data"));
    fs::write(&path, pattern(BUF)).expect("a file");
    run(move |runtime| async move {
        let file = File::open(&runtime, &path).await.expect("it is there");
        let bufs = BufGroup::new(4, BUF);
        let rounds = async {
            let mut begun = 0;
            for round in 0.. {
                let mut read = Box::pin(file.read_buf_at(bufs.get().expect("all are home"), 0));
                is_pending(&mut read).await;
                // It came later, so it began later.
                assert_eq!(file.len().await.expect("a length"), BUF as u64);
                drop(read);
                // One that was not begun, or has ended, would have brought its buffer home.
                begun += bufs.stats(Class::Small).in_use;
                if begun >= 8 {
                    return;
                }
                let (mut mine, bytes) = (bufs.get().expect("a buffer"), vec![round as u8; BUF]);
                mine.append(&bytes);
                while bufs.stats(Class::Small).in_use > 1 {
                    lcore_async::yield_now().await;
                }
                assert!(mine[..] == bytes, "nobody else writes into it");
            }
        };
        soon(&runtime, rounds).await;
        drop(keep_all_threads(&runtime, &pipe).await);
        // Nobody waits for them; those that have a thread keep it until somebody opens the pipe.
        let _writes = OpenOptions::new().read(true).write(true).open(&pipe).expect("a pipe");
        assert_eq!(soon(&runtime, file.len()).await.expect("a length"), BUF as u64);
    });
}

#[test]
fn s464_a_name_is_looked_up_and_connected_to() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("it listens");
    run(move |runtime| async move {
        let host = format!("localhost:{}", at.port());
        let addresses = lookup_host(&runtime, &host).await.expect("every system knows it");
        assert!(addresses.contains(&at), "{addresses:?}");
        let stream = TcpStream::connect_with(&runtime, &addresses, &SockOptions::default()).await.expect("one of them listens");
        assert_eq!(stream.peer_addr().expect("it is connected"), at);
        // Of the addresses that a name has the first may be dead.
        let dead = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it listens");
        let second = TcpStream::connect_with(&runtime, &[dead, at], &SockOptions::default()).await.expect("the second listens");
        assert_eq!(second.peer_addr().expect("it is connected"), at);
    });
}

#[test]
fn s464_an_address_is_its_own_name_and_what_cannot_be_looked_up_is_one_sentence() {
    run(|runtime| async move {
        let mut itself = pin!(lookup_host(&runtime, "[::1]:80"));
        let ready = poll_fn(|cx| Poll::Ready(itself.as_mut().poll(cx))).await;
        assert_eq!(ready, Poll::Ready(Ok(vec!["[::1]:80".parse().expect("an address")])), "at once");
        for host in ["localhost", "localhost:http", "localhost:70000", ""] {
            let why = lookup_host(&runtime, host).await.expect_err("it has no port").to_string();
            assert_eq!(why, format!("could not look up {host:?}: it is no host with a port, such as example.com:80"));
        }
        // Longer than a part of a name may be: no server is asked.
        let host = format!("{}:80", "a".repeat(64));
        let LookupError { host: told, why, .. } = lookup_host(&runtime, &host).await.expect_err("no such name");
        assert!(told == host && !why.is_empty() && !why.contains("failed to lookup"), "{why}");
    });
}
