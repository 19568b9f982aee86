//! The other end of an image's connections: echoes, streams, and how long they take.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

/// A peer that hears nothing for this long gives up.
const PATIENCE: Duration = Duration::from_secs(20);

fn connect(at: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(at).with_context(|| format!("could not connect to {at}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What `echo TEXT | nc -N` does: sends, ends its side, reads to the end.
pub(super) fn half_closed(at: SocketAddr, text: &[u8]) -> Result<()> {
    let mut stream = connect(at)?;
    stream.write_all(text)?;
    stream.shutdown(Shutdown::Write)?;
    let mut back = Vec::new();
    stream.read_to_end(&mut back).context("could not read an echo to its end")?;
    ensure!(back == text, "{} bytes came back of {} that were sent before the end", back.len(), text.len());
    Ok(())
}

/// One echo, without waiting for an end.
pub(super) fn echo(at: SocketAddr) -> Result<()> {
    let mut stream = connect(at)?;
    stream.write_all(b"first")?;
    let mut back = [0; 5];
    stream.read_exact(&mut back).context("no echo came")?;
    ensure!(&back == b"first", "{back:?} came back for \"first\"");
    Ok(())
}

/// Says nothing until the other end closes. Tells how long that took.
pub(super) fn silent(at: SocketAddr) -> Result<Duration> {
    let mut stream = connect(at)?;
    let start = Instant::now();
    let came = stream.read(&mut [0]).context("a silent peer was not closed in order")?;
    ensure!(came == 0, "a silent peer was sent something");
    Ok(start.elapsed())
}

/// Sends `bytes` bytes that no pattern repeats, ends its side, and compares what comes back. Tells
/// the SHA-256 of both.
pub(super) fn stream(at: SocketAddr, bytes: usize) -> Result<String> {
    let stream = connect(at)?;
    let (mut out, mut back) = (stream.try_clone()?, stream);
    let sender = thread::spawn(move || -> Result<String> {
        let (mut hash, mut state) = (Sha256::new(), 0x9e37_79b9_7f4a_7c15_u64);
        let mut block = vec![0; 64 << 10];
        for _ in 0..bytes / block.len() {
            for word in block.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                word.copy_from_slice(&state.to_le_bytes());
            }
            hash.update(&block);
            out.write_all(&block).context("could not send")?;
        }
        out.shutdown(Shutdown::Write)?;
        Ok(format!("{:x}", hash.finalize()))
    });
    let (mut hash, mut got, mut block) = (Sha256::new(), 0, vec![0; 64 << 10]);
    loop {
        match back.read(&mut block).context("could not read a stream to its end")? {
            0 => break,
            n => {
                hash.update(&block[..n]);
                got += n;
            }
        }
    }
    let sent = sender.join().map_err(|_| anyhow::anyhow!("the sender panicked"))??;
    let received = format!("{:x}", hash.finalize());
    ensure!(got == bytes && sent == received, "{got} of {bytes} bytes came back; SHA-256 sent {sent}, received {received}");
    Ok(sent)
}
