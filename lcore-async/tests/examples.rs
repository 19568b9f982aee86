//! The examples, as programs of their own.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(90);

/// Backends over the kernel's sockets.
#[cfg(feature = "hyper")]
const BACKENDS: [&str; 2] = ["posix", "uring"];

/// An example as a process, and where it listens; dropped, it is killed.
struct Example(Child, String);

/// An example, to be started.
fn command(name: &str) -> Command {
    // Cargo builds examples beside the tests of a package (`cargo test -p lcore-async`); a single
    // `--test` alone needs `--examples` too.
    let here = std::env::current_exe().expect("it has a path");
    let program = here.parent().and_then(|deps| deps.parent()).expect("it lies in target").join("examples").join(name);
    assert!(program.exists(), "{} is not built: cargo build -p lcore-async --examples", program.display());
    Command::new(program)
}

impl Example {
    /// Starts it on a free port, and reads where that is behind `says`.
    fn start(name: &str, args: &[&str], says: &str) -> Self {
        let child = command(name).arg("127.0.0.1:0").args(args).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut example = Self(child, String::new());
        let mut line = String::new();
        BufReader::new(example.0.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        example.1 = line.trim().strip_prefix(says).expect("it says where it is").to_owned();
        example
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.1).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream
    }

    #[cfg(feature = "hyper")]
    fn port(&self) -> &str {
        self.1.rsplit_once(':').expect("an address").1
    }

    /// All that is answered to a request with this first line and this body.
    #[cfg(feature = "hyper")]
    fn ask(&self, line: &str, body: &str) -> String {
        let mut stream = self.connect();
        let head = format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all((head + body).as_bytes()).expect("it is taken");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an end in order");
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// A signal ends it in good order, whoever is connected.
    fn ended_by(mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it runs");
        assert_eq!(self.0.wait().expect("it ends").code(), Some(0), "{signal:?}");
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_readme_shows_the_echo_server_as_it_is() {
    let source = include_str!("../examples/echo.rs").trim_end();
    assert!(include_str!("../README.md").contains(source), "README.md shows another echo server than examples/echo.rs");
}

/// Lines `| CRATE VERSION, … | `FEATURE` | WHAT | `EXAMPLE`, `sNNN_*`, … |` of docs/async.md.
#[test]
fn s442_crates_that_work_are_those_that_are_built_and_shown() {
    let (page, lock) = (include_str!("../../docs/async.md"), include_str!("../../Cargo.lock"));
    let (manifest, tests) = (include_str!("../Cargo.toml"), [include_str!("adapters.rs"), include_str!("examples.rs")].concat());
    let (_, table) = page.split_once("| crate | by feature | what of it | shown by |\n").expect("a table");
    let rows: Vec<Vec<&str>> =
        table.lines().skip(1).take_while(|line| line.starts_with('|')).map(|line| line.split(" | ").collect()).collect();
    assert!(rows.len() > 5, "{rows:?}");
    for row in rows {
        let [crates, feature, _, shown] = row[..] else { panic!("four cells: {row:?}") };
        for (name, version) in crates.trim_start_matches("| ").split(", ").map(|it| it.split_once(' ').expect("a version")) {
            assert!(lock.contains(&format!("name = \"{name}\"\nversion = \"{version}.")), "{name} is not built in version {version}");
        }
        assert!(manifest.contains(&format!("\n{} = [", feature.trim_matches('`'))), "{row:?}: there is no such feature");
        for it in shown.trim_end_matches(" |").split(", ").map(|it| it.trim_matches('`')) {
            let is_there = match it.strip_suffix('*') {
                Some(number) => tests.contains(&format!("fn {number}")),
                None => manifest.contains(&format!("\n[[example]]\nname = \"{it}\"\n")),
            };
            assert!(is_there, "{row:?}: there is no {it}");
        }
    }
}

#[test]
fn the_echo_server_echoes_and_ends_its_side_behind_its_peers() {
    let example = Example::start("async-echo", &[], "echoes at ");
    let mut streams = [example.connect(), example.connect()];
    for stream in &mut streams {
        stream.write_all(b"hello").expect("it is taken");
        stream.shutdown(Shutdown::Write).expect("it is connected");
        let mut back = String::new();
        stream.read_to_string(&mut back).expect("an end in order");
        assert_eq!(back, "hello");
    }
    let _stays = example.connect();
    example.ended_by(Signal::TERM);
}

#[test]
fn the_proxy_passes_on_bytes_ends_and_resets_and_drains_at_its_end() {
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let to = server.local_addr().expect("it is bound").to_string();
    let example = Example::start("async-proxy", &[&to], "listens at ");
    let connect = || {
        let client = example.connect();
        let (behind, _) = server.accept().expect("the proxy connects");
        behind.set_read_timeout(Some(PATIENCE)).expect("a limit");
        (client, behind)
    };

    // Closed with bytes unread, a socket is reset.
    let (client, mut behind) = connect();
    behind.write_all(b"nobody reads this").expect("it is taken");
    while client.peek(&mut [0; 64]).expect("it comes") == 0 {}
    drop(client);
    assert_eq!(behind.read(&mut [0]).map_err(|why| why.kind()), Err(ErrorKind::ConnectionReset));

    // Asked to end, it lets nobody in and waits for who is there.
    let (mut client, mut behind) = connect();
    drop(server); // who comes now is not held up there
    kill_process(Pid::from_child(&example.0), Signal::TERM).expect("it runs");
    let asked = Instant::now();
    while TcpStream::connect(&example.1).is_ok() {
        assert!(asked.elapsed() < PATIENCE, "it goes on to listen");
    }
    client.write_all(b"ping").expect("it is connected");
    client.shutdown(Shutdown::Write).expect("it is connected");
    let mut came = String::new();
    behind.read_to_string(&mut came).expect("an end in order");
    behind.write_all(b"pong").expect("it is connected");
    drop(behind);
    client.read_to_string(&mut came).expect("an end in order");
    assert_eq!(came, "pingpong");
    let mut example = example;
    assert_eq!(example.0.wait().expect("it ends").code(), Some(0));
}

/// HTTP, over each backend of the kernel's sockets.
#[cfg(feature = "hyper")]
mod http {
    use super::*;

    #[test]
    fn the_http_server_greets() {
        let example = Example::start("async-http", &[], "serves http://");
        let answer = example.ask("GET /you", "");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nHello, you!\n"), "{answer}");
        let _stays = example.connect();
        example.ended_by(Signal::INT);
    }

    #[test]
    fn s438_axum_routes_extracts_and_keeps_state_under_layers_of_towers() {
        for backend in BACKENDS {
            let example = Example::start("async-axum", &["-N", backend], "serves http://");
            let added = example.ask("POST /names", "ada");
            assert!(added.starts_with("HTTP/1.1 201 Created\r\n") && added.ends_with("\r\n\r\n0\n"), "{added}");
            assert!(added.contains("\r\nserver: lcore\r\n"), "{added}");
            assert!(example.ask("POST /names", "grace").ends_with("\r\n\r\n1\n"));
            assert!(example.ask("GET /names/1", "").ends_with("\r\n\r\ngrace"));
            assert!(example.ask("GET /names", "").ends_with("\r\n\r\nada\ngrace\n"));
            let refused =
                [("GET /names/2", "404 Not Found"), ("GET /names/x", "400 Bad Request"), ("PUT /names", "405 Method Not Allowed")];
            for (line, status) in refused {
                let answer = example.ask(line, "");
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{line}: {answer}");
            }
            let _stays = example.connect();
            example.ended_by(Signal::TERM);
        }
    }

    #[cfg(feature = "tokio")]
    #[test]
    fn s439_curl_speaks_to_rustls_when_it_trusts_the_certificate() {
        let folder = tempfile::tempdir().expect("a folder");
        let [pem, other] =
            ["here.pem", "other.pem"].map(|name| folder.path().join(name).into_os_string().into_string().expect("it is text"));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(&other, made.cert.pem()).expect("it is written");
        for backend in BACKENDS {
            let example = Example::start("async-https", &["-N", backend, "--certificate", &pem], "serves https://");
            let [you, me] = ["you", "me"].map(|name| format!("https://localhost:{}/{name}", example.port()));
            // One after the other on one connection.
            assert_eq!(curl(&pem, &[&you, &me]), (Some(0), "Hello, you!\nHello, me!\n".to_owned()));
            // By 60 it says that it does not know who signed.
            assert_eq!(curl(&other, &[&you]), (Some(60), String::new()));
            // Who speaks no TLS hears an alert, and disturbs nobody, as who says nothing.
            let stays = example.connect();
            let answer = example.ask("GET /you", "");
            assert!(answer.starts_with('\x15') && !answer.contains("Hello"), "{answer:?}");
            assert_eq!(curl(&pem, &[&you]).0, Some(0));
            example.ended_by(Signal::INT);
            drop(stays);
        }
    }

    #[cfg(feature = "tokio")]
    fn curl(trusted: &str, urls: &[&str]) -> (Option<i32>, String) {
        let options = ["--disable", "--silent", "--noproxy", "*", "--max-time", "60", "--cacert", trusted];
        let done = Command::new("curl").args(options).args(urls).output();
        let done = done.expect("curl is installed");
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
    }

    #[cfg(feature = "names")]
    #[test]
    fn s440_hypers_client_prints_what_the_host_of_a_name_answers() {
        for backend in BACKENDS {
            let server = Example::start("async-axum", &["-N", backend], "serves http://");
            server.ask("POST /names", "ada");
            let url = |path: &str| format!("http://localhost:{}{path}", server.port());
            let (code, out, err) = client(backend, &url("/names/0?x=y"));
            assert!(code == Some(0) && out == "ada\n", "{code:?} {out} {err}");
            fails(client(backend, &url("/names/7")), "/names/7 answers 404 Not Found");
            let gone = url("/names");
            server.ended_by(Signal::TERM);
            fails(client(backend, &gone), "refused");
        }
        fails(client("posix", "https://localhost/"), "https://localhost/ is no address such as http://localhost:8080/you");
    }

    #[cfg(feature = "names")]
    fn client(backend: &str, url: &str) -> (Option<i32>, String, String) {
        let done = command("async-http-client").args([url, "-N", backend]).output().expect("it starts");
        let [out, err] = [done.stdout, done.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (done.status.code(), out, err)
    }

    #[cfg(feature = "names")]
    fn fails((code, out, err): (Option<i32>, String, String), why: &str) {
        assert!(code == Some(1) && out.is_empty() && err.contains(why), "{code:?} {out} {err}");
    }
}
