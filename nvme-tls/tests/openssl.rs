//! OpenSSL at the other end, where there is its program: a handshake, bytes both ways, and keys
//! that are changed on the way.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use nvme::auth::{TlsIdentity, TlsKey, TlsPsk};
use nvme_tls::{Acceptor, RECORD, Session};

const KEY: &str = "NVMeTLSkey-1:01:AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09pl1OOC:";

fn psk() -> TlsPsk {
    TlsKey::read(KEY).unwrap().psk("nqn.2024-01.example:host", "nqn.2024-01.example:disk", TlsIdentity::Names).unwrap()
}

/// `openssl`, with the key; `None` where it is not installed.
fn openssl(what: &[&str], psk: &TlsPsk) -> Option<Child> {
    let key: String = psk.secret.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut command = Command::new("openssl");
    command.args(what).args(["-tls1_3", "-psk", &key, "-psk_identity", &psk.identity]);
    match command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => Some(child),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: openssl is not installed");
            None
        }
        Err(why) => panic!("openssl: {why}"),
    }
}

/// A session on a socket.
struct Wire(TcpStream, Session);

impl Wire {
    fn flush(&mut self) {
        let out = std::mem::take(self.1.output());
        self.0.write_all(&out).unwrap();
    }

    /// Reads until the handshake is over, and this is among what came.
    fn until(&mut self, wanted: &str) {
        let mut read = String::new();
        while !self.1.is_open() || !read.contains(wanted) {
            read += &self.once();
        }
    }

    /// What comes with the next bytes.
    fn once(&mut self) -> String {
        let (mut read, mut record, mut some) = (Vec::new(), vec![0; RECORD], [0; 4096]);
        let n = self.0.read(&mut some).unwrap();
        assert!(n > 0, "the other end has closed the connection");
        self.1.take(&some[..n]).unwrap();
        loop {
            match self.1.read(&mut record).unwrap() {
                0 => break,
                n => read.extend_from_slice(&record[..n]),
            }
        }
        self.flush();
        String::from_utf8_lossy(&read).into_owned()
    }

    fn say(&mut self, text: &str) {
        self.1.write(text.as_bytes()).unwrap();
        self.flush();
    }
}

#[test]
fn s369_openssl_is_a_host_that_changes_its_keys() {
    let psk = psk();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let Some(mut child) = openssl(&["s_client", "-connect", &at], &psk) else { return };
    let mut input = child.stdin.take().unwrap();
    let known = psk.clone();
    let acceptor = Acceptor::new(move |identity| (identity == known.identity).then(|| known.clone())).unwrap();
    let mut wire = Wire(listener.accept().unwrap().0, Session::server(&acceptor).unwrap());
    // K has it change its keys, and ask for ours to be changed.
    input.write_all(b"first\n").unwrap();
    wire.until("first");
    wire.say("answer\n");
    input.write_all(b"K\n").unwrap();
    assert_eq!(wire.once(), "", "that was no data");
    input.write_all(b"second\n").unwrap();
    wire.until("second");
    wire.say("answer\n");
    drop((input, wire));
    let (mut shown, mut noted) = (String::new(), String::new());
    child.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut noted).unwrap();
    child.wait().unwrap();
    assert!(shown.matches("answer").count() == 2 && noted.contains("KEYUPDATE"), "{shown}{noted}");
}

#[test]
fn s369_openssl_is_a_target() {
    let psk = psk();
    let Some(mut child) = openssl(&["s_server", "-accept", "127.0.0.1:0", "-nocert", "-rev"], &psk) else { return };
    // It says where it listens. Tries at a port that was free a moment ago met somebody else's.
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let at = said.find_map(|line| line.unwrap().strip_prefix("ACCEPT ").map(str::to_string)).expect("an address");
    let socket = TcpStream::connect(at).unwrap();
    let mut wire = Wire(socket, Session::client(&[psk]).unwrap());
    wire.flush();
    wire.until("");
    wire.say("kcab ti sdaer ti\n");
    wire.until("it reads it back");
    child.kill().unwrap();
    child.wait().unwrap();
}
