//! What peers are made of: a connection from anywhere on loopback, bytes that can be checked
//! anywhere, waits that have an end.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use fastrand::Rng;
use socket2::{Domain, Socket, Type};

use crate::field::Field;

/// How often a wait looks whether it is still worth it.
const LOOK: Duration = Duration::from_millis(50);

/// Connects from a random address of 127.0.0.0/8, so that the ports of one do not run out; with
/// buffers of so many bytes.
///
/// # Errors
/// The server does not take it in time: a listener that lives does, whatever its peers do.
pub(crate) fn connect(field: &Field, rng: &mut Rng, buffers: Option<usize>) -> Result<TcpStream> {
    let stream = open(field, rng, buffers).context("a peer could not connect")?;
    field.count_connection();
    Ok(stream)
}

fn open(field: &Field, rng: &mut Rng, buffers: Option<usize>) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    if let Some(bytes) = buffers {
        socket.set_recv_buffer_size(bytes)?;
        socket.set_send_buffer_size(bytes)?;
    }
    let from = Ipv4Addr::new(127, rng.u8(..), rng.u8(..), rng.u8(1..255));
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.connect_timeout(&field.at.into(), field.within)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_read_timeout(Some(LOOK))?;
    socket.set_write_timeout(Some(LOOK))?;
    Ok(socket.into())
}

/// Ends a connection by RST.
pub(crate) fn reset(stream: TcpStream) {
    // Were it refused, the peer would end by FIN, which is another way to go.
    let _ = Socket::from(stream).set_linger(Some(Duration::ZERO));
}

/// Sends what the kernel takes at once, in a fault's careless way: whether the server still listens
/// is not asked.
pub(crate) fn send_what_goes(mut stream: &TcpStream, of: u64, bytes: usize) {
    let mut buf = vec![0; bytes];
    fill(of, 0, &mut buf);
    let _ = stream.write_all(&buf);
}

/// Sends the first `bytes` bytes of stream `of`.
pub(crate) fn send_all(field: &Field, stream: &TcpStream, of: u64, bytes: u64) -> Result<()> {
    let mut buf = vec![0; bytes as usize];
    fill(of, 0, &mut buf);
    send(field, stream, &buf)
}

/// Sends all of `bytes`; an error if the server takes none of them for too long.
pub(crate) fn send(field: &Field, mut stream: &TcpStream, mut bytes: &[u8]) -> Result<()> {
    let mut moved = field.clock.now();
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(n) => (bytes, moved) = (&bytes[n..], field.clock.now()),
            Err(why) if is_wait(&why) => field.still_worth_it(moved, "to be rid of bytes")?,
            Err(why) => return Err(anyhow!(why).context("a peer that did nothing wrong could not send")),
        }
    }
    Ok(())
}

/// Reads some bytes; 0 at the end of the stream.
pub(crate) fn receive(field: &Field, mut stream: &TcpStream, into: &mut [u8], what: &str) -> Result<usize> {
    let began = field.clock.now();
    loop {
        match stream.read(into) {
            Ok(n) => return Ok(n),
            Err(why) if is_wait(&why) => field.still_worth_it(began, what)?,
            Err(why) => return Err(anyhow!(why).context(format!("a peer that did nothing wrong waited for {what}"))),
        }
    }
}

/// Reads the bytes `from..to` of stream `of` and checks each.
pub(crate) fn check(field: &Field, stream: &TcpStream, of: u64, mut from: u64, to: u64) -> Result<()> {
    let mut buf = [0; 16 << 10];
    while from < to {
        let most = (to - from).min(buf.len() as u64) as usize;
        let n = receive(field, stream, &mut buf[..most], "an echo")?;
        ensure!(n > 0, "the server ended a stream after {from} of {to} bytes");
        ensure!(matches(of, from, &buf[..n]), "bytes {from} to {} of a stream came back wrong", from + n as u64);
        from += n as u64;
    }
    Ok(())
}

/// Ends our side, and expects the bytes `from..to` of stream `of` and then the server's end.
pub(crate) fn finish(field: &Field, stream: &TcpStream, of: u64, from: u64, to: u64) -> Result<()> {
    stream.shutdown(Shutdown::Write).context("a peer that did nothing wrong could not end its side")?;
    check(field, stream, of, from, to)?;
    match receive(field, stream, &mut [0; 1], "the end of a stream")? {
        0 => Ok(()),
        _ => bail!("the server sent more than the {to} bytes that it got"),
    }
}

/// Sends a message of `bytes` bytes and checks its echo.
pub(crate) fn echo(field: &Field, stream: &TcpStream, of: u64, from: u64, bytes: u64) -> Result<()> {
    let mut buf = vec![0; bytes as usize];
    fill(of, from, &mut buf);
    send(field, stream, &buf)?;
    check(field, stream, of, from, from + bytes)
}

/// Sends `bytes` bytes and reads their echo at the same time: who sends much and reads later may
/// have to wait for ever.
pub(crate) fn both_ways(field: &Field, stream: &TcpStream, of: u64, bytes: u64) -> Result<()> {
    thread::scope(|scope| {
        let writer = scope.spawn(|| send_all(field, stream, of, bytes));
        let read = check(field, stream, of, 0, bytes);
        writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).and(read)
    })
}

/// A number of bytes of any magnitude up to `most`.
pub(crate) fn size(rng: &mut Rng, most: u64) -> u64 {
    let magnitude = rng.u32(0..=most.ilog2());
    rng.u64(1..=(2 << magnitude)).min(most)
}

pub(crate) fn is_wait(why: &io::Error) -> bool {
    matches!(why.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// Length of the table that every stream reads from a place of its own: a prime, so that it falls
/// in step with no buffer size.
const PERIOD: usize = 65_521;

fn table() -> &'static [u8] {
    static TABLE: OnceLock<Vec<u8>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut bytes = vec![0; PERIOD];
        Rng::with_seed(1).fill(&mut bytes);
        bytes
    })
}

/// Writes the bytes of stream `of` from `offset` on.
pub(crate) fn fill(of: u64, offset: u64, into: &mut [u8]) {
    let mut done = 0;
    for part in parts(of, offset, into.len()) {
        into[done..done + part.len()].copy_from_slice(part);
        done += part.len();
    }
}

/// Whether `bytes` are those of stream `of` from `offset` on.
fn matches(of: u64, offset: u64, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    parts(of, offset, bytes.len()).all(|part| {
        let (now, later) = rest.split_at(part.len());
        rest = later;
        now == part
    })
}

/// The pieces of the table that make up `bytes` bytes of stream `of` from `offset` on.
fn parts(of: u64, offset: u64, mut bytes: usize) -> impl Iterator<Item = &'static [u8]> {
    let mut at = ((of % PERIOD as u64 + offset) % PERIOD as u64) as usize;
    std::iter::from_fn(move || {
        let part = &table()[at..PERIOD.min(at + bytes)];
        (at, bytes) = (0, bytes - part.len());
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_matches_itself_in_any_pieces_and_nothing_else() {
        let mut bytes = vec![0; 3 * PERIOD];
        fill(5, 1000, &mut bytes);
        assert!(matches(5, 1000, &bytes));
        assert!(matches(5, 71_000, &bytes[70_000..]));
        assert!(!matches(6, 1000, &bytes[..64]));
        assert!(!matches(5, 1001, &bytes[..64]));
        bytes[100_000] ^= 1;
        assert!(!matches(5, 1000, &bytes));
    }

    #[test]
    fn sizes_are_of_every_magnitude() {
        let mut rng = Rng::with_seed(7);
        let sizes: Vec<_> = (0..1000).map(|_| size(&mut rng, 1 << 20)).collect();
        assert!(sizes.iter().all(|n| (1..=1 << 20).contains(n)));
        assert!(sizes.contains(&1) && sizes.iter().any(|&n| n > 500_000));
    }
}
