//! A reactor that serves, and clients of it.

pub(crate) mod methods;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use core_reactor::{Platform, ReactorOptions, Reactors, ThreadConfig, ThreadLib};
use platform_linux::LinuxPlatform;
use rpc::{Address, Control};
use serde_json::Value;

/// Nothing that is waited for takes this long, on any machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A server on a reactor of its own.
pub(crate) struct Served {
    pub(crate) path: PathBuf,
    pub(crate) at: String,
    pub(crate) state: Arc<methods::State>,
    lib: ThreadLib,
    reactor: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Served {
    /// At a socket of its own; `running`, or in its start-up phase.
    pub(crate) fn start(running: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rpc.sock");
        let at = path.to_str().unwrap().to_owned();
        Self::with(dir, path, &at, running)
    }

    pub(crate) fn start_at(at: &str, running: bool) -> Self {
        Self::with(tempfile::tempdir().unwrap(), PathBuf::new(), at, running)
    }

    fn with(dir: tempfile::TempDir, path: PathBuf, at: &str, running: bool) -> Self {
        let platform = LinuxPlatform::new().unwrap();
        let cores = platform.cores().iter().take(1).collect();
        let reactors = Reactors::new(Arc::new(platform.unpinned()), &ReactorOptions::new(cores)).unwrap();
        let (lib, state) = (reactors.lib().clone(), Arc::new(methods::State::default()));
        let (tell, told) = mpsc::channel();
        let (at, given) = (at.parse::<Address>().unwrap(), state.clone());
        lib.spawn(ThreadConfig::new("rpc"), move |cx| {
            let control = Control::new(running).unwrap();
            control.provide(given);
            let _ = tell.send(rpc::serve(cx, &at, control).unwrap().to_string());
        })
        .unwrap();
        let reactor = thread::spawn(move || drop(reactors.run().unwrap()));
        let at = told.recv_timeout(PATIENCE).expect("it listens");
        Self { path, at, state, lib, reactor: Some(reactor), _dir: dir }
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(UnixStream::connect(&self.path).expect("it listens"))
    }

    /// Calls a method without parameters.
    pub(crate) fn call(&self, method: &str) -> Value {
        let mut client = self.client();
        client.send(format!("{{\"id\":1,\"method\":\"{method}\"}}").as_bytes());
        client.value()["result"].clone()
    }

    /// Waits for its reactor's end.
    pub(crate) fn join(&mut self) {
        if let Some(reactor) = self.reactor.take() {
            reactor.join().expect("no reactor panics");
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.lib.stop();
        if !thread::panicking() {
            self.join();
        }
    }
}

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    reader: BufReader<UnixStream>,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Self { stream, reader }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server takes it");
    }

    /// Sends to a server that may close the connection on the way.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends no more.
    pub(crate) fn close(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("it answers");
        line
    }

    /// The next answer. All are lines.
    pub(crate) fn value(&mut self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line:?}"))
    }

    /// What comes until the connection is closed.
    pub(crate) fn rest_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A server that closes with bytes unread resets.
        match self.reader.read_to_end(&mut bytes) {
            Ok(_) => {}
            Err(why) => assert_eq!(why.kind(), std::io::ErrorKind::ConnectionReset, "{why}"),
        }
        bytes
    }

    pub(crate) fn rest(&mut self) -> String {
        String::from_utf8(self.rest_bytes()).unwrap()
    }
}

/// Waits until `is_so`.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
