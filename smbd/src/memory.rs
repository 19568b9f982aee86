//! The messages of the memory service: commands that name memory of the client by SMB Direct
//! descriptors, as SMB2's READ and WRITE do, and their answers.
//!
//! ```text
//!  command: kind u32 (1 write, 2 read), tag u32, then one or more descriptors of 16 bytes (MS-SMBD 2.2.3.1)
//!  answer:  status u32 (an NTSTATUS), tag u32, bytes moved u32
//! ```
//! All little endian. To write, the server reads the client's memory and keeps it; to read, it
//! writes what it keeps (or its own pattern, if nothing was written) into the client's memory. As
//! in SMB Direct it is always the server that moves.

use lcore::transport::RemoteMemory;
use smb_direct::Descriptor;
use zerocopy::IntoBytes;

/// The NTSTATUS values of answers.
pub mod status {
    /// All bytes were moved.
    pub const SUCCESS: u32 = 0;
    /// The client's device does not let its memory be moved like that: it answers no reads, for
    /// instance.
    pub const NOT_SUPPORTED: u32 = 0xC000_00BB;
    /// The command makes no sense, or is too large.
    pub const INVALID_PARAMETER: u32 = 0xC000_000D;
    /// The server has no memory for it now.
    pub const INSUFFICIENT_RESOURCES: u32 = 0xC000_009A;
}

/// Bytes of the longest command: 255 descriptors.
pub(crate) const LONGEST: usize = 8 + 255 * size_of::<Descriptor>();

/// Bytes of an answer.
const ANSWER: usize = 12;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client's memory to the server.
    Write,
    /// The server's memory to the client.
    Read,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What is to be done.
    pub kind: Kind,
    /// Comes back with the answer.
    pub tag: u32,
    /// The client's memory.
    pub memory: Vec<RemoteMemory>,
}

impl Command {
    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let kind: u32 = match self.kind {
            Kind::Write => 1,
            Kind::Read => 2,
        };
        let mut bytes = [kind.to_le_bytes(), self.tag.to_le_bytes()].concat();
        for memory in &self.memory {
            bytes.extend_from_slice(Descriptor::new(memory.addr, memory.key, memory.len).as_bytes());
        }
        bytes
    }

    /// Reads a command of at most `most` bytes of memory.
    ///
    /// ```
    /// use lcore::transport::RemoteMemory;
    /// use smbd::{Command, Kind};
    ///
    /// let memory = vec![RemoteMemory { addr: 0x1000, key: 7, len: 4096 }];
    /// let command = Command { kind: Kind::Read, tag: 9, memory };
    /// let came = Command::decode(&command.encode(), 1 << 20).expect("it is one");
    /// assert_eq!((came.tag, came.bytes()), (9, 4096));
    /// assert_eq!(Command::decode(&command.encode(), 1024).err(), Some(9), "it is too large");
    /// ```
    ///
    /// # Errors
    /// It is none, or is too large: the tag to answer with.
    pub fn decode(bytes: &[u8], most: u32) -> Result<Self, u32> {
        let (kind, rest) = number(bytes).ok_or(0_u32)?;
        let (tag, rest) = number(rest).ok_or(0_u32)?;
        let kind = match kind {
            1 => Kind::Write,
            2 => Kind::Read,
            _ => return Err(tag),
        };
        let descriptors = Descriptor::array(rest).filter(|all| !all.is_empty()).ok_or(tag)?;
        let memory: Vec<_> = descriptors.iter().map(remote).collect();
        let bytes: u64 = memory.iter().map(|memory| u64::from(memory.len)).sum();
        if bytes > most.into() || memory.iter().any(|memory| memory.len == 0 || memory.addr.checked_add(memory.len.into()).is_none()) {
            return Err(tag);
        }
        Ok(Self { kind, tag, memory })
    }

    /// Bytes of memory that it names.
    pub fn bytes(&self) -> u32 {
        self.memory.iter().map(|memory| memory.len).sum()
    }
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// One of [`status`].
    pub status: u32,
    /// That of the command.
    pub tag: u32,
    /// Bytes that were moved.
    pub bytes: u32,
}

impl Answer {
    /// Its bytes.
    pub fn encode(self) -> [u8; ANSWER] {
        let mut bytes = [0; ANSWER];
        for (out, field) in bytes.chunks_exact_mut(4).zip([self.status, self.tag, self.bytes]) {
            out.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// Reads an answer; `None` if it is none.
    ///
    /// ```
    /// use smbd::Answer;
    ///
    /// let bytes = Answer { status: 0, tag: 9, bytes: 512 }.encode();
    /// assert_eq!(Answer::decode(&bytes).map(|answer| answer.bytes), Some(512));
    /// assert!(Answer::decode(&bytes[1..]).is_none());
    /// ```
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (status, rest) = number(bytes)?;
        let (tag, rest) = number(rest)?;
        let (moved, rest) = number(rest)?;
        rest.is_empty().then_some(Self { status, tag, bytes: moved })
    }
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(field, rest)| (u32::from_le_bytes(*field), rest))
}

fn remote(descriptor: &Descriptor) -> RemoteMemory {
    RemoteMemory { addr: descriptor.offset.get(), key: descriptor.token.get(), len: descriptor.length.get() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let memory = vec![RemoteMemory { addr: 4096, key: 7, len: 100 }, RemoteMemory { addr: u64::MAX - 5, key: 8, len: 5 }];
        Command { kind: Kind::Write, tag: 9, memory }
    }

    #[test]
    fn commands_and_answers_come_back_as_they_were() {
        assert_eq!(Command::decode(&command().encode(), 105), Ok(command()));
        let answer = Answer { status: status::INSUFFICIENT_RESOURCES, tag: 3, bytes: 4 };
        assert_eq!(Answer::decode(&answer.encode()), Some(answer));
    }

    #[test]
    fn what_is_no_command_is_refused_with_its_tag() {
        let right = command().encode();
        for length in 0..right.len() {
            let tag = if length < 8 { 0 } else { 9 };
            // One descriptor is a command as well.
            if length != 24 {
                assert_eq!(Command::decode(&right[..length], 105), Err(tag), "{length}");
            }
        }
        assert_eq!(Command::decode(&right, 104), Err(9), "too large");
        for (at, value) in [(0, 3), (0, 0), (20, 0), (20, u32::MAX)] {
            let mut wrong = right.clone();
            wrong[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
            assert_eq!(Command::decode(&wrong, 105), Err(9), "{at} {value}");
        }
        let mut wraps = command();
        wraps.memory[1].len = 6;
        assert_eq!(Command::decode(&wraps.encode(), 1000), Err(9));
        assert_eq!(Answer::decode(&[0; 13]), None);
    }
}
