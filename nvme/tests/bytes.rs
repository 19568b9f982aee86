//! A conversation byte for byte, written by hand after the layouts of the specification and what
//! Linux's host sends: ICReq, Connect, Property Get and Set, Keep Alive, a write that is asked for,
//! a read.

mod common;

use common::{Target, World};
use fastrand::Rng;
use nvme::target::Role;

/// `text` as hexadecimal; `*N` repeats the byte before until there are N in all of this piece.
fn hex(pieces: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for piece in pieces {
        let begin = bytes.len();
        for word in piece.split_ascii_whitespace() {
            match word.strip_prefix('*') {
                Some(count) => bytes.resize(begin + count.parse::<usize>().unwrap(), 0),
                None => {
                    bytes.extend(word.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()))
                }
            }
        }
    }
    bytes
}

fn text(text: &str, length: usize) -> Vec<u8> {
    let mut field = text.as_bytes().to_vec();
    field.resize(length, 0);
    field
}

/// A target, and what its queue of the association is told and answers.
struct Wire {
    target: Target,
    world: World,
    rng: Rng,
}

impl Wire {
    fn new(world: World) -> Self {
        let mut target = Target::new();
        (target.asks_for_all, target.success_flag) = (true, true);
        Self { target, world, rng: Rng::with_seed(1) }
    }

    /// What is answered to `bytes`.
    fn say(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.target.feed(bytes).unwrap();
        while self.target.work(&mut self.world, &mut self.rng) {}
        std::mem::take(&mut self.target.out)
    }

    /// ICReq without digests, and Connect of `qid` with 32 entries.
    fn open(&mut self, qid: &str, cntlid: &str, kato: &str) -> Vec<u8> {
        let answer = self.say(&hex(&["00 00 80 00 80 00 00 00", "00 00", "00", "00", "00 00 00 00", "00 *112"]));
        assert_eq!(answer, hex(&["01 00 80 00 80 00 00 00", "00 00", "00", "00", "00 00 02 00", "00 *112"]));
        let mut connect = hex(&[
            // Header: 72 bytes, data at 72, 1096 in all.
            "04 00 48 48 48 04 00 00",
            // Fabrics, SGL, command 0011h; Connect.
            "7f 40 11 00 01 00 *24",
            // In the capsule at 0, 1024 bytes.
            "00 *8",
            "00 04 00 00",
            "00 00 00",
            "01",
            "00 00",
            qid,
            "1f 00",
            "00 00",
            kato,
            "00 *12",
            // HOSTID, CNTLID.
            "05 05 05 05 05 05 05 05 05 05 05 05 05 05 05 05",
            cntlid,
            "00 *238",
        ]);
        connect.extend([text(common::SUBNQN, 256), text(common::HOSTNQN, 256), vec![0; 256]].concat());
        self.say(&connect)
    }
}

#[test]
fn s251_a_conversation_byte_for_byte() {
    let mut admin = Wire::new(World::new(Role::Io));
    // Response: controller 3, SQHD 1, command 0011h, success.
    assert_eq!(
        admin.open("00 00", "ff ff", "88 13 00 00"),
        hex(&["05 00 18 00 18 00 00 00", "03 00 00 00 00 00 00 00", "01 00 00 00 11 00 00 00"])
    );
    let none = "00 *8";
    // Property Get of CAP, 8 bytes.
    let answer = admin.say(&hex(&[
        "04 00 48 00 48 00 00 00",
        "7f 40 12 00 04 00 *24",
        none,
        "00 00 00 00",
        "00 00 00",
        "5a",
        "01 00 00 00",
        "00 00 00 00",
        "00 *16",
    ]));
    // MQES 31, CQR, TO 7.5 s, the NVM command set; SQHD 2.
    assert_eq!(answer, hex(&["05 00 18 00 18 00 00 00", "1f 00 01 0f 20 00 00 00", "02 00 00 00 12 00 00 00"]));
    // Property Set of CC: enable, entries of 64 and 16 bytes.
    let answer = admin.say(&hex(&[
        "04 00 48 00 48 00 00 00",
        "7f 40 13 00 00 00 *24",
        none,
        "00 00 00 00",
        "00 00 00",
        "5a",
        "00 00 00 00",
        "14 00 00 00",
        "01 00 46 00 00 00 00 00",
        none,
    ]));
    assert_eq!(answer, hex(&["05 00 18 00 18 00 00 00", none, "03 00 00 00 13 00 00 00"]));
    // Keep Alive.
    let answer = admin.say(&hex(&["04 00 48 00 48 00 00 00", "18 40 14 00 00 *24", none, "00 00 00 00", "00 00 00", "5a", "00 *24"]));
    assert_eq!(answer, hex(&["05 00 18 00 18 00 00 00", none, "04 00 00 00 14 00 00 00"]));

    let mut io = Wire::new(admin.world);
    assert_eq!(
        io.open("01 00", "03 00", "00 00 00 00"),
        hex(&["05 00 18 00 18 00 00 00", "03 00 00 00 00 00 00 00", "01 00 00 00 11 00 00 00"])
    );
    // Write of blocks 2 to 17, 8192 bytes: it is asked for.
    let answer = io.say(&hex(&[
        "04 00 48 00 48 00 00 00",
        "01 40 21 00",
        "01 00 00 00",
        "00 *16",
        none,
        "00 20 00 00",
        "00 00 00",
        "5a",
        "02 00 00 00 00 00 00 00",
        "0f 00 00 00",
        "00 *12",
    ]));
    let tag = [answer[10], answer[11]];
    assert_eq!(answer[..10], hex(&["09 00 18 00 18 00 00 00", "21 00"]));
    assert_eq!(answer[12..], hex(&["00 00 00 00", "00 20 00 00", "00 00 00 00"]));
    // In two PDUs; LAST in the second.
    let tag = format!("{:02x} {:02x}", tag[0], tag[1]);
    let first = [hex(&["06 00 18 18 18 10 00 00", "21 00", &tag, "00 00 00 00", "00 10 00 00", "00 00 00 00"]), vec![0xA5; 4096]].concat();
    assert_eq!(io.say(&first), []);
    let second = [hex(&["06 04 18 18 18 10 00 00", "21 00", &tag, "00 10 00 00", "00 10 00 00", "00 00 00 00"]), vec![0x5A; 4096]].concat();
    assert_eq!(io.say(&second), hex(&["05 00 18 00 18 00 00 00", none, "02 00 00 00 21 00 00 00"]));
    // Read of block 2, with what was written; a response may be in the same PDU.
    let answer = io.say(&hex(&[
        "04 00 48 00 48 00 00 00",
        "02 40 22 00",
        "01 00 00 00",
        "00 *16",
        none,
        "00 02 00 00",
        "00 00 00",
        "5a",
        "02 00 00 00 00 00 00 00",
        "00 00 00 00",
        "00 *12",
    ]));
    assert_eq!((answer[0], &answer[8..10]), (7, &[0x22, 0][..]));
    let (mut at, mut data) = (0, Vec::new());
    while at < answer.len() && answer[at] == 7 {
        let length = u32::from_le_bytes(answer[at + 16..at + 20].try_into().unwrap()) as usize;
        assert_eq!(answer[at + 2..at + 4], [24, 24]);
        data.extend_from_slice(&answer[at + 24..at + 24 + length]);
        let last = data.len() == 512;
        assert_eq!(answer[at + 1] & 4 != 0, last, "LAST at the end only");
        at += 24 + length;
    }
    assert_eq!(data, [0xA5; 512]);
    let responses: &[&str] = &["05 00 18 00 18 00 00 00", none, "03 00 00 00 22 00 00 00"];
    assert!(answer[at..].is_empty() || answer[at..] == hex(responses));
}
