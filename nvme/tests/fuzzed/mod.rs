//! What the fuzz targets do with their bytes, and the tests on stable as well: they are what a peer
//! sends.

#[path = "../common/mod.rs"]
mod common;
#[cfg(test)]
pub(crate) mod seeds;

use common::{Host, Pair, Target, World, pdu};
use nvme::command::{Sqe, io};
use nvme::host::Payload;
use nvme::pdu::{C2hData, CapsuleCmd, CapsuleResp, CommonHeader, H2cData, IcResp, Kind, R2t};
use nvme::target::Role;
use nvme::{Cqe, Decoder, Expects, Fault, Header, Item, LastPdu, Shape, Side, Status};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// The bytes of an input, and zeroes behind its end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    fn some(&mut self, most: usize) -> &'a [u8] {
        let (some, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        some
    }

    fn value<T: FromZeros + IntoBytes + FromBytes>(&mut self) -> T {
        let mut value = T::new_zeroed();
        let some = self.some(size_of::<T>());
        value.as_mut_bytes()[..some.len()].copy_from_slice(some);
        value
    }

    fn shape(&mut self) -> Shape {
        let bits = self.byte();
        Shape { header_digest: bits & 1 != 0, data_digest: bits & 2 != 0, alignment: if bits & 4 != 0 { bits >> 3 } else { 0 } }
    }
}

/// Headers, bytes of data, and whether each digest of data was right; then what was wrong.
type Decoded = (Vec<Header>, Vec<u8>, Vec<bool>, Option<(Fault, LastPdu)>);

/// As PDUs of either side: the cut changes nothing.
pub(crate) fn pdus(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (from, shape, piece) = (input.byte(), input.shape(), usize::from(input.byte()).max(1));
    let from = if from & 1 == 0 { Side::Host } else { Side::Controller };
    let whole = decode(from, shape, input.0, input.0.len().max(1));
    assert_eq!(decode(from, shape, input.0, piece), whole);
    if let Some((fault, told)) = whole.3 {
        let (fes, _) = fault.why.status();
        let (headers, ..) = decode(if from == Side::Host { Side::Controller } else { Side::Host }, shape, &told, told.len());
        assert!(matches!(headers[..], [Header::TermReq { fes: it, .. }] if it == fes as u16), "a TermReq that can be read");
    }
}

fn decode(from: Side, shape: Shape, bytes: &[u8], piece: usize) -> Decoded {
    const LIMIT: u32 = 1000;
    let mut decoder = Decoder::new(from);
    decoder.agree(shape, LIMIT);
    let (mut headers, mut data, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    for mut piece in bytes.chunks(piece) {
        loop {
            if let Expects::Header(least) = decoder.expects() {
                assert!((1..=132).contains(&least) || least <= 255);
            }
            match decoder.next(&mut piece) {
                Ok(Some(Item::Header(header))) => headers.push(header),
                Ok(Some(Item::Data(some))) => data.extend_from_slice(some),
                Ok(Some(Item::End { intact })) => ends.push(intact),
                Ok(None) => break,
                Err(fault) => return (headers, data, ends, Some((fault, decoder.term_req().expect("something to say")))),
            }
        }
        assert!(piece.is_empty());
    }
    (headers, data, ends, None)
}

/// As a conversation with a target: fresh, or with an admin or an I/O queue open.
pub(crate) fn target(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mode = input.byte();
    let mut world = World::new(if mode & 8 == 0 { Role::Io } else { Role::Discovery });
    let shape = Shape { header_digest: mode & 16 != 0, data_digest: mode & 32 != 0, alignment: 0 };
    let mut target = match mode & 3 {
        0 => Target::new(),
        1 if world.role == Role::Io => Pair::io(1, shape, &mut world, 1).target,
        _ => Pair::admin(1, shape, &mut world).0.target,
    };
    let mut rng = fastrand::Rng::with_seed(mode.into());
    let mut sent = 0;
    while !input.0.is_empty() && !target.queue.is_ended() {
        let what = input.byte();
        let bytes = match what & 7 {
            0 => input.some(usize::from(what)).to_vec(),
            1..=3 => {
                let (data, header) = (u32::from(input.byte()) * 16, CommonHeader::new(Kind::CapsuleCmd));
                let mut sqe: Sqe = input.value();
                if what & 8 == 0 {
                    sqe.sgl = if data > 0 { nvme::command::Sgl::in_capsule(data) } else { sqe.sgl };
                    sqe.flags = nvme::command::PSDT_SGL;
                }
                pdu(CapsuleCmd { ch: header, sqe }.as_bytes(), &vec![what; data as usize], shape)
            }
            4 | 5 => {
                let mut header: H2cData = input.value();
                let length = u32::from(input.byte()) * 16 + 4;
                (header.ch, header.datal) = (CommonHeader::new(Kind::H2cData), length.into());
                header.ch.flags = what & nvme::pdu::LAST;
                if let Some(tag) = target.queue.in_flight().nth(usize::from(what >> 4)) {
                    header.ttag = (tag.index() as u16).into();
                }
                pdu(header.as_bytes(), &vec![what; length as usize], shape)
            }
            _ => {
                target.work(&mut world, &mut rng);
                Vec::new()
            }
        };
        sent += bytes.len();
        let (one, two) = bytes.split_at(bytes.len().min(usize::from(what)));
        for some in [one, two] {
            if let Err(fault) = target.feed(some) {
                assert!(!fault.to_string().is_empty() && target.queue.is_ended());
            }
        }
        assert!(target.queue.in_flight().count() <= 32);
        assert!(target.out.len() <= 4096 + sent * 40_000, "answers are bounded by what was asked");
        target.out.clear();
    }
    let left: Vec<_> = target.queue.in_flight().collect();
    for tag in left {
        assert!(target.queue.complete(tag, Status::from(nvme::Code::SqDeletion), 0).is_ok(), "each command can be ended");
    }
    assert_eq!(target.queue.in_flight().count(), 0);
}

/// As a conversation with a host: fresh, or with commands in flight.
pub(crate) fn host(bytes: &[u8]) {
    let mut input = Input(bytes);
    let shape = input.shape();
    let mut host = Host::new(shape, 6, 2048);
    let opens = input.byte() & 1 == 0;
    if opens {
        let dgst = u8::from(shape.header_digest) | u8::from(shape.data_digest) << 1;
        assert!(host.feed(IcResp::new(0, dgst, 4096).as_bytes()).is_ok());
    }
    while !input.0.is_empty() {
        if host.queue.is_ready() && host.queue.in_flight().count() < 5 {
            host.submit(Sqe::blocks(io::READ, 1, 0, 16, 0), Payload::Receive(8192), &[]);
            host.submit(Sqe::blocks(io::WRITE, 1, 0, 16, 0), Payload::Send(8192), &[2; 8192]);
        }
        let what = input.byte();
        let cid = u16::from(what >> 4 & 7);
        let bytes = match what & 3 {
            0 => input.some(usize::from(what)).to_vec(),
            1 => {
                let cqe = Cqe { cid: cid.into(), ..input.value() };
                pdu(CapsuleResp { ch: CommonHeader::new(Kind::CapsuleResp), cqe }.as_bytes(), &[], shape)
            }
            2 => {
                let length = (u32::from(input.byte()) + 1) * 64;
                let mut header: C2hData = input.value();
                header.datao = (header.datao.get() & 0x1FFF).into();
                (header.ch, header.cccid, header.datal) = (CommonHeader::new(Kind::C2hData), cid.into(), length.into());
                header.ch.flags = what & (nvme::pdu::LAST | nvme::pdu::SUCCESS);
                pdu(header.as_bytes(), &vec![what; length as usize], shape)
            }
            _ => {
                let mut header: R2t = input.value();
                (header.ch, header.cccid) = (CommonHeader::new(Kind::R2t), cid.into());
                (header.r2to, header.r2tl) = ((header.r2to.get() & 0x1FFC).into(), (header.r2tl.get() & 0x3FFC).into());
                pdu(header.as_bytes(), &[], shape)
            }
        };
        let (one, two) = bytes.split_at(bytes.len().min(usize::from(what)));
        if host.feed(one).and_then(|()| host.feed(two)).is_err() {
            return;
        }
        assert!(host.queue.in_flight().count() <= 6 && host.out.len() <= 6 * 9000 + 128);
        host.out.clear();
    }
}
