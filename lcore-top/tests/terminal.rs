//! The screen on a terminal of its own: what it shows, what it survives, and that the terminal is
//! given back as it was.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{Application, Does, spdk, until};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

/// lcore-top on a terminal.
struct Top {
    child: Child,
    /// The terminal's other end, where its user sits.
    user: File,
    /// Kept open, so that what was written before the end can be read.
    terminal: OwnedFd,
    before: Termios,
    /// What a terminal of a hundred columns makes of all that was written.
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Top {
    fn start(path: &Path) -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap();
        let terminal = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        resize(&user, 100, 20);
        let before = tcgetattr(&terminal).unwrap();
        let end = || Stdio::from(terminal.try_clone().unwrap());
        // A session with this terminal, and not with the one that the tests run on.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(env!("CARGO_BIN_EXE_lcore-top")).args(["-i", "0.1", "-r"]).arg(path);
        let child = command.env("TERM", "xterm").stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        let [rows, columns] = [20, 100].map(size);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let (user, all) = (File::from(user), screen.clone());
        let mut from = user.try_clone().unwrap();
        thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut piece) {
                all.lock().unwrap().process(&piece[..count]);
            }
        });
        Self { child, user, terminal, before, screen }
    }

    fn shows(&self, part: &str) {
        until(part, || self.screen.lock().unwrap().screen().contents().contains(part).then_some(()));
    }

    fn resize(&self, width: u16, height: u16) {
        let [rows, columns] = [height, width].map(size);
        self.screen.lock().unwrap().screen_mut().set_size(rows, columns);
        resize(&self.user, width, height);
    }

    fn press(&mut self, keys: &[u8]) {
        self.user.write_all(keys).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end: in order, with the screen and the cursor as they were.
    fn ends(&mut self) {
        let status = until("its end", || self.child.try_wait().unwrap());
        assert_eq!(status.code(), Some(0), "{}", self.screen.lock().unwrap().screen().contents());
        self.is_given_back();
    }

    fn is_stopped(&self) {
        let stat = format!("/proc/{}/stat", self.child.id());
        until("its stop", || std::fs::read_to_string(&stat).unwrap().rsplit(')').next().unwrap().starts_with(" T").then_some(()));
    }

    /// The screen and the cursor are as they were, and so is how it takes keys.
    fn is_given_back(&self) {
        until("the screen that was", || (!self.screen.lock().unwrap().screen().alternate_screen()).then_some(()));
        until("the cursor", || (!self.screen.lock().unwrap().screen().hide_cursor()).then_some(()));
        let after = tcgetattr(&self.terminal).unwrap();
        let modes = |it: &Termios| (it.input_modes, it.output_modes, it.control_modes, it.local_modes);
        assert_eq!(modes(&after), modes(&self.before));
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        // Fails if it has ended and been waited for, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(cells: u16) -> NonZero<u16> {
    NonZero::new(cells).unwrap()
}

fn resize(user: &impl std::os::fd::AsFd, width: u16, height: u16) {
    tcsetwinsize(user, Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

fn place() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    (dir, path)
}

fn application(path: &Path, thread: &'static str) -> Application {
    Application::at(path, move |method, count| spdk(thread, method, count))
}

#[test]
fn s195_however_it_ends_the_terminal_is_as_it_was() {
    let (_dir, path) = place();
    let _application = application(&path, "thread_one");
    let ends: [fn(&mut Top); 6] = [
        |top| top.press(b"q"),
        |top| top.press(b"\x03"),
        |top| top.press(b"/\x03"),
        |top| top.signal(Signal::TERM),
        |top| top.signal(Signal::INT),
        |top| top.signal(Signal::HUP),
    ];
    for end in ends {
        let mut top = Top::start(&path);
        top.shows("thread_one");
        assert!(top.screen.lock().unwrap().screen().alternate_screen());
        end(&mut top);
        top.ends();
    }
}

#[test]
fn s195_stopped_it_gives_the_terminal_back_and_comes_again_whole() {
    let (_dir, path) = place();
    let _application = application(&path, "thread_one");
    let stops: [fn(&mut Top); 2] = [|top| top.press(b"\x1a"), |top| top.signal(Signal::TSTP)];
    for stop in stops {
        let mut top = Top::start(&path);
        top.shows("thread_one");
        stop(&mut top);
        top.is_stopped();
        top.is_given_back();
        top.signal(Signal::CONT);
        top.shows("thread_one");
        assert!(top.screen.lock().unwrap().screen().alternate_screen());
        top.press(b"2");
        top.shows("nvmf_poll");
        top.press(b"q");
        top.ends();
    }
}

/// What nobody hears of before: the shell has changed the terminal meanwhile.
#[test]
fn s195_a_stop_without_a_word_is_made_good() {
    let (_dir, path) = place();
    let _application = application(&path, "thread_one");
    let mut top = Top::start(&path);
    top.shows("thread_one");
    top.signal(Signal::STOP);
    top.is_stopped();
    tcsetattr(&top.terminal, OptionalActions::Now, &top.before).unwrap();
    top.screen.lock().unwrap().process(b"\x1b[?1049l\x1b[2J\x1b[Hof the shell");
    top.signal(Signal::CONT);
    top.shows("thread_one");
    // One key is a command only where lines are not waited for.
    top.press(b"2");
    top.shows("nvmf_poll");
    top.press(b"q");
    top.ends();
}

#[test]
fn s195_an_application_may_go_and_come_again() {
    let (_dir, path) = place();
    let mut top = Top::start(&path);
    top.shows("GONE, looking for it");
    top.shows("there is no such socket");
    let first = application(&path, "thread_one");
    top.shows("thread_one");
    drop(first);
    top.shows("GONE, looking for it");
    let _second = application(&path, "thread_two");
    top.shows("thread_two");
    top.press(b"q");
    top.ends();
}

#[test]
fn s195_the_screen_lives_while_no_answer_comes() {
    let (_dir, path) = place();
    let stops = |method: &str, count| if count > 2 { Does::Stay } else { spdk("thread_one", method, count) };
    let _application = Application::at(&path, stops);
    let mut top = Top::start(&path);
    top.shows("thread_one");
    // Keys work before the deadline of the call has passed, and after it.
    top.press(b"h");
    top.shows("sort by another column");
    top.press(b"h2");
    top.shows("no answer to");
    top.press(b"q");
    top.ends();
}

#[test]
fn a_terminal_may_become_too_small_and_large_again() {
    let (_dir, path) = place();
    let _application = application(&path, "thread_one");
    let mut top = Top::start(&path);
    top.shows("thread_one");
    top.resize(20, 3);
    top.shows("too small");
    top.resize(120, 30);
    top.shows("thread_one");
    top.press(b"2");
    top.shows("nvmf_poll");
    top.press(b"q");
    top.ends();
}
