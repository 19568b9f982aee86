//! Each field of each PDU wrong in turn: what the peer is told of it (FES and FEI).

mod common;

use std::time::Duration;

use common::pdu;
use nvme::command::{Sgl, io};
use nvme::fabrics::{self, ConnectData, property};
use nvme::host::{self, Payload};
use nvme::pdu::{self, C2hData, CapsuleCmd, CapsuleResp, CommonHeader, H2cData, IcReq, IcResp, Kind, R2t};
use nvme::target::{self, Misuse, Role, Settings};
use nvme::{Code, Cqe, Decoder, Expects, Fes, Header, Item, Shape, Side, Sqe, Status, Wrong, digest};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

const DIGESTS: Shape = Shape { header_digest: true, data_digest: true, alignment: 0 };
const PLAIN: Shape = Shape { header_digest: false, data_digest: false, alignment: 0 };
const LIMIT: u32 = 8192;

fn h2c(datao: u32, datal: u32) -> H2cData {
    H2cData {
        ch: CommonHeader::new(Kind::H2cData),
        cccid: 1.into(),
        ttag: 2.into(),
        datao: datao.into(),
        datal: datal.into(),
        reserved: 0.into(),
    }
}

fn c2h(datal: u32) -> C2hData {
    C2hData {
        ch: CommonHeader::new(Kind::C2hData),
        cccid: 1.into(),
        reserved1: 0.into(),
        datao: 0.into(),
        datal: datal.into(),
        reserved2: 0.into(),
    }
}

fn r2t() -> R2t {
    R2t { ch: CommonHeader::new(Kind::R2t), cccid: 1.into(), ttag: 2.into(), r2to: 0.into(), r2tl: 4096.into(), reserved: 0.into() }
}

/// One of each, as it is right: who sends it, and its bytes.
fn all(shape: Shape) -> Vec<(Side, Vec<u8>)> {
    let command = CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe: Sqe::new(2, 1) };
    let response = CapsuleResp { ch: CommonHeader::new(Kind::CapsuleResp), cqe: Cqe::new_zeroed() };
    let data: Vec<u8> = (0..512_u32).map(|at| at as u8).collect();
    vec![
        (Side::Host, pdu(IcReq::new(0, 3, 0).as_bytes(), &[], shape)),
        (Side::Controller, pdu(IcResp::new(0, 3, 4096).as_bytes(), &[], shape)),
        (Side::Host, pdu(command.as_bytes(), &[], shape)),
        (Side::Host, pdu(command.as_bytes(), &data, shape)),
        (Side::Controller, pdu(response.as_bytes(), &[], shape)),
        (Side::Host, pdu(h2c(0, 512).as_bytes(), &data, shape)),
        (Side::Controller, pdu(c2h(512).as_bytes(), &data, shape)),
        (Side::Controller, pdu(r2t().as_bytes(), &[], shape)),
    ]
}

/// Headers, data, and whether each data digest was right.
type Items = (Vec<Header>, Vec<u8>, Vec<bool>);

/// What was wrong, and what the peer is told.
#[derive(Debug, PartialEq)]
struct Broken {
    why: Wrong,
    told: Vec<u8>,
}

/// All items of `bytes`, cut at each of `cuts`.
fn decode(from: Side, shape: Shape, bytes: &[u8], cuts: &[usize]) -> Result<Items, Broken> {
    let mut decoder = Decoder::new(from);
    decoder.agree(shape, LIMIT);
    let (mut headers, mut data, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let mut begin = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        let mut piece = &bytes[begin..end];
        begin = end;
        loop {
            let item = match decoder.next(&mut piece) {
                Ok(Some(item)) => item,
                Ok(None) => break,
                Err(fault) => return Err(Broken { why: fault.why, told: decoder.term_req().expect("something to say").to_vec() }),
            };
            match item {
                Item::Header(header) => headers.push(header),
                Item::Data(some) => data.extend_from_slice(some),
                Item::End { intact } => ends.push(intact),
            }
        }
        assert!(piece.is_empty());
    }
    Ok((headers, data, ends))
}

#[test]
fn s240_every_cut_of_right_pdus_gives_the_same() {
    for shape in [PLAIN, DIGESTS, Shape { alignment: 7, ..DIGESTS }, Shape { alignment: 31, ..PLAIN }] {
        for (from, bytes) in all(shape) {
            let whole = decode(from, shape, &bytes, &[]).unwrap();
            assert_eq!(whole.0.len(), 1);
            assert!(whole.2.iter().all(|intact| *intact));
            let each: Vec<usize> = (0..bytes.len()).collect();
            assert_eq!(decode(from, shape, &bytes, &each).unwrap(), whole);
            for cut in 0..bytes.len() {
                assert_eq!(decode(from, shape, &bytes, &[cut]).unwrap(), whole);
            }
        }
    }
}

/// Who reads as much as is expected has every header and every piece of data by itself.
#[test]
fn s240_what_is_expected_never_goes_past_its_part() {
    for shape in [PLAIN, DIGESTS, Shape { alignment: 31, ..DIGESTS }] {
        for (from, bytes) in all(shape) {
            let mut decoder = Decoder::new(from);
            decoder.agree(shape, LIMIT);
            let (mut at, mut parts, mut done) = (0, Vec::new(), false);
            while at < bytes.len() {
                let (length, is_data) = match decoder.expects() {
                    Expects::Header(length) => (length, false),
                    Expects::Data(length) => (length, true),
                    Expects::Nothing => panic!("nothing is wrong"),
                };
                assert!(length > 0 && !done);
                parts.push((length, is_data));
                let mut piece = &bytes[at..at + length];
                at += length;
                while let Some(item) = decoder.next(&mut piece).unwrap() {
                    assert_eq!(matches!(item, Item::Data(_)), is_data && !matches!(item, Item::End { .. }));
                    done = matches!(item, Item::End { .. });
                }
                assert!(piece.is_empty());
            }
            let data: usize = parts.iter().filter(|(_, is_data)| *is_data).map(|(length, _)| length).sum();
            assert_eq!(data, if bytes.len() > 500 { 512 } else { 0 });
            assert_eq!(parts[0], (8, false));
            assert_eq!(decoder.expects(), Expects::Header(8), "the next header");
        }
    }
}

#[test]
fn s240_the_data_is_what_was_sent() {
    let data: Vec<u8> = (0..512_u32).map(|at| at as u8).collect();
    for shape in [PLAIN, DIGESTS] {
        let bytes = pdu(h2c(0, 512).as_bytes(), &data, shape);
        assert_eq!(decode(Side::Host, shape, &bytes, &[100]).unwrap().1, data);
    }
}

/// Where a byte is changed and to what, and what is then told.
struct Change(&'static str, usize, u8, Fes, u32);

/// The common header, field by field, in each PDU.
#[test]
fn s241_each_field_of_the_common_header_is_checked() {
    for shape in [PLAIN, DIGESTS] {
        for (from, right) in all(shape) {
            let kind = Kind::of(right[0]).unwrap();
            let header = kind.header_len();
            let digested = shape.header_digest && kind.has_digests();
            let other = if from == Side::Host { Kind::C2hData } else { Kind::H2cData };
            let mut changes = vec![
                Change("reserved type", 0, 0x08, Fes::InvalidHeaderField, 0),
                Change("reserved type", 0, 0xFF, Fes::InvalidHeaderField, 0),
                Change("the other side's type", 0, other as u8, Fes::InvalidHeaderField, 0),
                Change("HLEN", 2, right[2] + 4, Fes::InvalidHeaderField, 2),
                Change("HLEN", 2, 0, Fes::InvalidHeaderField, 2),
            ];
            if right.len() < 512 {
                changes.push(Change("PLEN too small", 4, 4, Fes::InvalidHeaderField, 4));
                changes.push(Change("PLEN too large", 7, 1, Fes::InvalidHeaderField, if kind == Kind::CapsuleCmd { 3 } else { 4 }));
            } else {
                changes.push(Change("PDO in the header", 3, 4, Fes::InvalidHeaderField, 3));
                changes.push(Change("PDO not aligned", 3, right[3] + 1, Fes::InvalidHeaderField, 3));
                changes.push(Change("data digest not as agreed", 1, right[1] ^ 2, Fes::InvalidHeaderField, 1));
                changes.push(Change("too much data", 6, 1, Fes::LimitExceeded, 0));
            }
            if kind.has_digests() {
                changes.push(Change("header digest not as agreed", 1, right[1] ^ 1, Fes::InvalidHeaderField, 1));
            }
            for Change(what, at, value, fes, fei) in changes {
                let mut wrong = right.clone();
                wrong[at] = value;
                if digested {
                    let sum = digest::digest(&wrong[..header]);
                    wrong[header..header + 4].copy_from_slice(&sum);
                }
                let fault = decode(from, shape, &wrong, &[]).expect_err(what);
                assert_eq!(fault.why.status(), (fes, fei), "{kind:?}: {what}: {fault:?}");
                let back = fault.told;
                assert_eq!(back[0], if from == Side::Host { 3 } else { 2 });
                assert_eq!(u32::from_le_bytes(back[4..8].try_into().unwrap()) as usize, back.len());
                assert_eq!(u16::from_le_bytes(back[8..10].try_into().unwrap()), fes as u16);
                assert_eq!(u32::from_le_bytes(back[10..14].try_into().unwrap()), fei);
                assert_eq!(back[24..], wrong[..back.len() - 24], "the header comes back");
            }
        }
    }
}

#[test]
fn s241_a_wrong_header_digest_is_told() {
    for (from, right) in all(DIGESTS) {
        let kind = Kind::of(right[0]).unwrap();
        if kind.has_digests() {
            let mut wrong = right.clone();
            wrong[kind.header_len() - 1] ^= 1;
            let sum = &right[kind.header_len()..kind.header_len() + 4];
            let fault = decode(from, DIGESTS, &wrong, &[]).unwrap_err();
            assert_eq!(fault.why.status(), (Fes::HeaderDigest, u32::from_le_bytes(sum.try_into().unwrap())));
        }
    }
}

#[test]
fn s241_a_wrong_data_digest_is_said_at_the_end_of_the_data() {
    for (from, right) in all(DIGESTS).into_iter().filter(|(_, bytes)| bytes.len() > 512) {
        for at in [right.len() - 1, right.len() - 100] {
            let mut wrong = right.clone();
            wrong[at] ^= 0x80;
            assert_eq!(decode(from, DIGESTS, &wrong, &[200]).unwrap().2, [false]);
        }
    }
}

#[test]
fn s241_data_is_as_long_as_its_header_says() {
    let data = [7; 512];
    for (from, bytes) in [
        (Side::Host, pdu(h2c(0, 508).as_bytes(), &data, PLAIN)),
        (Side::Host, pdu(h2c(0, 0).as_bytes(), &[], PLAIN)),
        (Side::Controller, pdu(c2h(516).as_bytes(), &data, PLAIN)),
    ] {
        assert_eq!(decode(from, PLAIN, &bytes, &[]).unwrap_err().why.status(), (Fes::InvalidHeaderField, 4));
    }
}

#[test]
fn s241_after_a_fault_nothing_comes_out() {
    let mut decoder = Decoder::new(Side::Host);
    let mut bytes: &[u8] = &[9; 8];
    assert_eq!(decoder.next(&mut bytes).unwrap_err().why, Wrong::Kind(9));
    let (_, right) = &all(PLAIN)[0];
    assert_eq!(decoder.next(&mut &right[..]), Ok(None));
}

/// A TermReq may carry a header, and no more.
#[test]
fn s241_a_term_req_is_read_and_bounded() {
    let fault = decode(Side::Host, PLAIN, &[9; 8], &[]).unwrap_err();
    let told = fault.told;
    let (headers, data, _) = decode(Side::Controller, DIGESTS, &told, &[3]).unwrap();
    assert_eq!(headers, [Header::TermReq { fes: 1, fei: 0 }]);
    assert_eq!(data, [9; 8]);
    let mut long = told;
    long[4..8].copy_from_slice(&200_u32.to_le_bytes());
    assert_eq!(decode(Side::Controller, DIGESTS, &long, &[]).unwrap_err().why.status(), (Fes::InvalidHeaderField, 4));
}

/// A target that has an I/O queue open, with write 0 of 4096 bytes asked for in one piece, and
/// nothing of it sent; and its tag.
fn asked() -> (common::Pair, common::World, u16, u16) {
    let mut world = common::World::new(Role::Io);
    let mut pair = common::Pair::io(1, PLAIN, &mut world, 1);
    pair.host.queue.set_in_capsule(0);
    pair.target.asks_for_all = true;
    let cid = pair.host.submit(Sqe::blocks(io::WRITE, 1, 0, 8, 0), Payload::Send(4096), &[1; 4096]);
    let bytes = std::mem::take(&mut pair.host.out);
    pair.target.feed(&bytes).unwrap();
    assert!(pair.target.work(&mut world, &mut pair.rng));
    let r2t = R2t::read_from_bytes(&pair.target.out).unwrap();
    assert_eq!(r2t.r2tl.get(), 4096);
    let tag = r2t.ttag.get();
    (pair, world, cid, tag)
}

/// What a controller checks of H2CData beyond its header.
#[test]
fn s246_data_that_was_not_asked_for_ends_the_queue() {
    let (_, _, cid, tag) = asked();
    let length = 4096;
    for (what, change, fes, fei) in [
        ("TTAG", (2, 0, 0, 0), Fes::InvalidHeaderField, 10),
        ("CCCID", (0, 1, 0, 0), Fes::InvalidHeaderField, 8),
        ("DATAO", (0, 0, 4, 0), Fes::OutOfRange, 0),
        ("DATAL", (0, 0, 0, 4), Fes::OutOfRange, 0),
        ("DATAL over MAXH2CDATA", (0, 0, 0, 128 * 1024), Fes::LimitExceeded, 0),
    ] {
        let (mut pair, ..) = asked();
        let (ttag, cccid, datao, more) = change;
        let mut header = h2c(datao, length + more);
        header.ch.flags = pdu::LAST;
        (header.cccid, header.ttag) = ((cid + cccid).into(), (tag + ttag).into());
        let bytes = pdu(header.as_bytes(), &vec![1; (length + more) as usize], PLAIN);
        assert_eq!(pair.target.feed(&bytes).expect_err(what).why.status(), (fes, fei), "{what}");
        assert_eq!(pair.target.queue.term_req().expect(what)[24..], bytes[..24], "{what}: the header comes back");
        assert!(pair.target.queue.is_ended() && pair.target.queue.in_flight().count() == 1, "{what}: the command is still the caller's");
        assert_eq!(pair.target.feed(&bytes), Ok(()), "nothing comes any more");
    }
    // LAST_PDU before the end, and none at the end.
    for (flags, part) in [(pdu::LAST, 4), (0, 0)] {
        let (mut pair, ..) = asked();
        let mut header = h2c(0, length - part);
        header.ch.flags = flags;
        (header.cccid, header.ttag) = (cid.into(), tag.into());
        let bytes = pdu(header.as_bytes(), &vec![1; (length - part) as usize], PLAIN);
        assert_eq!(pair.target.feed(&bytes).unwrap_err().why.status(), (Fes::InvalidHeaderField, 1));
    }
}

/// What a controller checks of the first PDU, and of its place.
#[test]
fn s246_a_connection_begins_with_icreq_and_has_one() {
    let command = pdu(CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe: Sqe::connect(0, 32, 0) }.as_bytes(), &[0; 1024], PLAIN);
    let later = Sqe { sgl: Sgl::transport(1024), ..Sqe::connect(0, 32, 0) };
    let bare = pdu(CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe: later }.as_bytes(), &[], PLAIN);
    let hello = IcReq::new(0, 0, 0);
    for (what, bytes, status) in [
        ("a command first", command, (Fes::SequenceError, 0)),
        ("a command without data first", bare, (Fes::SequenceError, 0)),
        ("PFV", IcReq { pfv: 1.into(), ..hello }.as_bytes().to_vec(), (Fes::UnsupportedParameter, 8)),
        ("HPDA", IcReq { hpda: 32, ..hello }.as_bytes().to_vec(), (Fes::InvalidHeaderField, 10)),
        ("twice", [hello.as_bytes(), hello.as_bytes()].concat(), (Fes::SequenceError, 0)),
        ("data first", pdu(h2c(0, 512).as_bytes(), &[0; 512], PLAIN), (Fes::SequenceError, 0)),
    ] {
        let mut target = common::Target::new();
        assert_eq!(target.feed(&bytes).expect_err(what).why.status(), status, "{what}");
        let told = target.queue.term_req().expect(what);
        assert_eq!(told[24..], bytes[..told.len() - 24], "{what}");
    }
}

/// Reserved bits are not looked at, and not sent back; whatever MAXR2T is, one R2T at a time is
/// right.
#[test]
fn s325_what_is_reserved_in_icreq_changes_nothing() {
    let right = IcReq::new(0, 3, 0);
    let mut odd = IcReq { dgst: 0xFF, maxr2t: u32::MAX.into(), ..right };
    odd.ch.flags = 0xFF;
    odd.as_mut_bytes()[16..].fill(0xFF);
    let answer = |hello: &IcReq| {
        let mut target = common::Target::new();
        target.feed(hello.as_bytes()).expect("nothing is wrong");
        target.out
    };
    assert_eq!(answer(&odd), answer(&right));
}

/// The host says that we broke the protocol: that is told, and nothing comes any more.
#[test]
fn s246_a_term_req_of_the_host_ends_the_queue() {
    let mut world = common::World::new(Role::Io);
    let mut pair = common::Pair::io(2, PLAIN, &mut world, 1);
    let told = hex_term_req();
    assert_eq!(pair.target.feed(&told), Ok(()));
    assert_eq!(pair.target.terminated, Some(4));
    assert!(pair.target.queue.is_ended() && pair.target.queue.expects() == Expects::Nothing && pair.target.queue.term_req().is_none());
    let mut host = common::Host::new(PLAIN, 4, 0);
    let told = [&[3], &told[1..]].concat();
    assert_eq!(host.feed(&told), Ok(()));
    assert_eq!((host.terminated, host.queue.expects()), (Some((4, 0)), Expects::Nothing));
}

/// H2CTermReq, data transfer out of range, with eight bytes of a header.
fn hex_term_req() -> Vec<u8> {
    [&[2, 0, 24, 0, 32, 0, 0, 0, 4, 0][..], &[0; 14], &[6, 0, 24, 24, 0, 2, 0, 0]].concat()
}

/// Commands that are refused, and the queue goes on.
#[test]
fn s246_a_command_that_cannot_be_is_answered_and_the_queue_goes_on() {
    let mut world = common::World::new(Role::Io);
    let mut pair = common::Pair::io(2, PLAIN, &mut world, 1);
    let read = Sqe { sgl: Sgl::transport(512), ..Sqe::blocks(io::READ, 1, 0, 1, 0) };
    let write = Sqe { sgl: Sgl::in_capsule(512), ..Sqe::blocks(io::WRITE, 1, 0, 1, 0) };
    let kind = |sqe: Sqe, kind| Sqe { sgl: Sgl { kind, ..sqe.sgl }, ..sqe };
    // Connect and these; SQHD goes on with each command, refused or not, and around at 32.
    (0..4).for_each(|_| assert!(pair.call(&mut world, Sqe::new(io::FLUSH, 1), Payload::None, &[]).status.is_success()));
    let mut sqhd = 5;
    let sgl_at = |sqe: Sqe, at: u64| Sqe { sgl: Sgl { address: at.into(), ..sqe.sgl }, ..sqe };
    for (what, sqe, data, code) in [
        ("PSDT 00", Sqe { flags: 0, ..read }, 0, Code::InvalidField),
        ("PSDT 10", Sqe { flags: 0x80, ..read }, 0, Code::InvalidField),
        ("PSDT 11", Sqe { flags: 0xC0, ..read }, 0, Code::InvalidField),
        ("SGL type 00", kind(read, 0x00), 0, Code::SglTypeInvalid),
        ("SGL type 40", kind(read, 0x40), 0, Code::SglTypeInvalid),
        ("SGL type 31", kind(read, 0x31), 0, Code::SglTypeInvalid),
        ("SGL type 50", kind(read, 0x50), 0, Code::SglTypeInvalid),
        ("a read in the capsule", kind(read, 0x01), 512, Code::SglTypeInvalid),
        ("an offset", sgl_at(write, 4), 512, Code::SglOffsetInvalid),
        ("less data than the SGL says", write, 508, Code::SglLengthInvalid),
        ("no data", write, 0, Code::SglLengthInvalid),
        ("data of a command that asks for R2T", Sqe { sgl: Sgl::transport(512), ..write }, 512, Code::InvalidField),
        ("data of a command that has none", Sqe::new(io::FLUSH, 1), 512, Code::InvalidField),
        ("more than MDTS", Sqe { sgl: Sgl::transport(128 * 1024 + 512), ..read }, 0, Code::InvalidField),
        ("Connect again", Sqe { sgl: Sgl::in_capsule(1024), ..Sqe::connect(1, 32, 0) }, 1024, Code::CommandSequenceError),
    ] {
        let bytes = pdu(CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe }.as_bytes(), &vec![1; data], PLAIN);
        pair.target.refused.clear();
        pair.target.feed(&bytes).expect(what);
        assert_eq!(pair.target.refused, [code], "{what}");
        let told = CapsuleResp::read_from_bytes(&std::mem::take(&mut pair.target.out)).unwrap();
        assert_eq!(told.cqe.status.code(), Some(code), "{what}");
        assert_eq!(told.cqe.sqhd.get(), (sqhd + 1) % 32, "{what}");
        sqhd += 2;
        let done = pair.call(&mut world, Sqe::new(io::FLUSH, 1), Payload::None, &[]);
        assert!(done.status.is_success(), "{what}: the queue goes on");
    }
    // The same identifier twice: the first one is not harmed.
    let cid = pair.host.submit(Sqe::blocks(io::READ, 1, 0, 1, 0), Payload::Receive(512), &[]);
    let bytes = std::mem::take(&mut pair.host.out);
    pair.target.feed(&bytes).unwrap();
    pair.target.refused.clear();
    pair.target.feed(&bytes).unwrap();
    assert_eq!(pair.target.refused, [Code::CommandIdConflict]);
    assert_eq!(pair.target.queue.find(cid).into_iter().count(), 1);
}

#[test]
fn s246_more_in_the_capsule_than_is_told_ends_the_queue() {
    let mut world = common::World::new(Role::Io);
    let mut pair = common::Pair::io(3, PLAIN, &mut world, 1);
    let sqe = Sqe { sgl: Sgl::in_capsule(4608), ..Sqe::blocks(io::WRITE, 1, 0, 9, 0) };
    let bytes = pdu(CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe }.as_bytes(), &[1; 4608], PLAIN);
    assert_eq!(pair.target.feed(&bytes).unwrap_err().why.status(), (Fes::LimitExceeded, 0));
}

/// The same command comes in one event, or in several, and all of its data in any case: nothing is
/// told twice, and an answer is there at once.
#[test]
fn s347_data_that_came_with_its_command_is_told_with_it() {
    const DATA: [u8; 512] = [0x5A; 512];
    for shape in [PLAIN, DIGESTS, Shape { header_digest: false, ..DIGESTS }] {
        let sqe = Sqe { sgl: Sgl::in_capsule(512), ..Sqe::blocks(io::WRITE, 1, 0, 1, 0) };
        let bytes = pdu(CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe }.as_bytes(), &DATA, shape);
        for cut in 0..bytes.len() {
            let mut pair = common::Pair::io(6, shape, &mut common::World::new(Role::Io), 1);
            let queue = &mut pair.target.queue;
            let (mut at_once, mut came, mut ready) = (None, Vec::new(), None);
            for mut piece in [&bytes[..cut], &bytes[cut..]] {
                while let Some(event) = queue.receive(&mut piece).unwrap() {
                    match event {
                        target::Event::Command { tag, sqe: it, whole, .. } => {
                            assert!(it == sqe && (whole.is_empty() || whole == DATA));
                            at_once = Some((tag, !whole.is_empty()));
                        }
                        target::Event::Data { bytes, .. } => came.extend_from_slice(bytes),
                        target::Event::Ready { tag, intact: true } => ready = Some(tag),
                        other => panic!("{other:?}"),
                    }
                }
            }
            let (tag, at_once) = at_once.expect("a command");
            let (data, end): (&[u8], _) = if at_once { (&[], None) } else { (&DATA, Some(tag)) };
            assert_eq!((&came[..], ready), (data, end), "{shape:?}, cut at {cut}");
            assert_eq!(at_once, shape == PLAIN && cut == 0, "{shape:?}, cut at {cut}");
            assert!(queue.complete(tag, Status::SUCCESS, 0).unwrap().is_some(), "nothing is waited for");
        }
    }
}

/// What was agreed cannot be left out.
#[test]
fn s241_pdus_without_the_digests_agreed_end_the_queue() {
    let header = Shape { data_digest: false, ..DIGESTS };
    let data = Shape { header_digest: false, ..DIGESTS };
    for shape in [DIGESTS, header, data] {
        let mut host = common::Host::new(shape, 4, 0);
        let dgst = u8::from(shape.header_digest) | u8::from(shape.data_digest) << 1;
        host.feed(IcResp::new(0, dgst, 4096).as_bytes()).unwrap();
        let cid = host.submit(Sqe::blocks(io::READ, 1, 0, 1, 0), Payload::Receive(512), &[]);
        let mut it = c2h(512);
        (it.ch.flags, it.cccid) = (pdu::LAST, cid.into());
        let fault = host.feed(&pdu(it.as_bytes(), &[1; 512], PLAIN)).unwrap_err();
        assert_eq!(fault.why.status(), (Fes::InvalidHeaderField, 1), "{shape:?}");
    }
    for (shape, data) in [(DIGESTS, 0), (header, 0), (DIGESTS, 512), (data, 512)] {
        let mut pair = common::Pair::io(4, shape, &mut common::World::new(Role::Io), 1);
        let sqe = Sqe { sgl: Sgl::in_capsule(data), ..Sqe::blocks(io::WRITE, 1, 0, 1, 0) };
        let command = CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe };
        let fault = pair.target.feed(&pdu(command.as_bytes(), &vec![1; data as usize], PLAIN)).unwrap_err();
        assert_eq!(fault.why.status(), (Fes::InvalidHeaderField, 1), "{shape:?}");
    }
}

/// A command whose middle looks like another command, in two pieces.
#[test]
fn s240_a_piece_of_a_command_is_no_command() {
    let mut world = common::World::new(Role::Io);
    let mut pair = common::Pair::io(4, PLAIN, &mut world, 1);
    // From the CID on, what the next eight bytes of a capsule would be, and then a read.
    let middle =
        Sqe { cid: 4.into(), nsid: 0x0048_0048.into(), cdw2: 0x4002_0000.into(), cdw10: 0x0200_0000.into(), ..Sqe::new(io::READ, 1) };
    let sqe = Sqe { cdw12: 0x5A00.into(), sgl: Sgl::transport(512), ..middle };
    let command = pdu(CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe }.as_bytes(), &[], PLAIN);
    let bytes = [&command[..], &command[..]].concat();
    assert_eq!(bytes[10..18], command[..8], "it does look like one");
    let queue = &mut pair.target.queue;
    assert_eq!(queue.receive(&mut &bytes[..10]), Ok(None));
    let event = queue.receive(&mut &bytes[10..]).unwrap();
    assert!(matches!(event, Some(target::Event::Command { sqe: it, .. }) if it == sqe), "{event:?}");
}

#[test]
fn s246_more_commands_than_entries_end_the_queue() {
    let mut world = common::World::new(Role::Io);
    let mut pair = common::Pair::io(4, PLAIN, &mut world, 1);
    let mut send = |cid: u16| {
        let sqe = Sqe { cid: cid.into(), ..Sqe::new(io::FLUSH, 1) };
        pair.target.feed(&pdu(CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe }.as_bytes(), &[], PLAIN))
    };
    (0..32).for_each(|cid| send(cid).unwrap());
    assert_eq!(send(32).unwrap_err().why.status(), (Fes::SequenceError, 0));
}

/// Each parameter of Connect, and where the answer says it is.
#[test]
fn s247_connect_is_refused_as_the_specification_names_it() {
    let right = ConnectData::new([5; 16], 0xFFFF, common::SUBNQN, common::HOSTNQN).unwrap();
    let io = ConnectData { cntlid: 3.into(), ..right };
    let name = |name: &str| ConnectData::new([5; 16], 0xFFFF, name, common::HOSTNQN).unwrap();
    let recfmt = {
        let mut sqe = Sqe::connect(0, 32, 0);
        sqe.cdw10 = 1.into();
        sqe
    };
    let (data, command) = (1 << 16, 0);
    let cases = [
        ("RECFMT", recfmt, right, Code::IncompatibleFormat, 0),
        ("SQSIZE 0", Sqe::connect(0, 1, 0), right, Code::ConnectInvalid, command | 0x2C),
        ("SQSIZE over MQES", Sqe::connect(1, 33, 0), io, Code::ConnectInvalid, command | 0x2C),
        ("admin, CNTLID", Sqe::connect(0, 32, 0), io, Code::ConnectInvalid, data | 16),
        ("I/O, CNTLID", Sqe::connect(1, 32, 0), right, Code::ConnectInvalid, data | 16),
        ("I/O, another CNTLID", Sqe::connect(1, 32, 0), ConnectData { cntlid: 4.into(), ..right }, Code::ConnectInvalid, data | 16),
        ("another host", Sqe::connect(1, 32, 0), ConnectData { hostnqn: right.subnqn, ..io }, Code::ConnectInvalid, data | 512),
        ("another host id", Sqe::connect(1, 32, 0), ConnectData { hostid: [6; 16], ..io }, Code::ConnectInvalid, 1 << 16),
        ("SUBNQN", Sqe::connect(0, 32, 0), name("nqn.2024-01.example:other"), Code::ConnectInvalid, data | 256),
        ("no SUBNQN", Sqe::connect(0, 32, 0), name(""), Code::ConnectInvalid, data | 256),
        ("SUBNQN without an end", Sqe::connect(0, 32, 0), ConnectData { subnqn: [b'n'; 256], ..right }, Code::ConnectInvalid, data | 256),
        ("HOSTNQN is no text", Sqe::connect(0, 32, 0), ConnectData { hostnqn: [0xFF; 256], ..right }, Code::ConnectInvalid, data | 512),
        ("QID too large", Sqe::connect(5, 32, 0), io, Code::ConnectInvalid, command | 0x2A),
        ("QID twice", Sqe::connect(1, 32, 0), io, Code::CommandSequenceError, 0),
        ("no Connect", Sqe::new(io::FLUSH, 1), right, Code::CommandSequenceError, 0),
    ];
    for (what, sqe, data, code, result) in cases {
        let mut world = common::World::new(Role::Io);
        let mut first = common::Pair::io(5, PLAIN, &mut world, 1);
        let mut pair = common::Pair::new(6, PLAIN, 31, 8192);
        pair.settle(&mut world);
        let payload = if what == "no Connect" { Payload::None } else { Payload::Send(1024) };
        let done = pair.call(&mut world, sqe, payload, data.as_bytes());
        assert_eq!((done.status.code(), done.result), (Some(code), result), "{what}");
        assert!(!pair.target.queue.is_open());
        let done = first.call(&mut world, Sqe::new(io::FLUSH, 1), Payload::None, &[]);
        assert!(done.status.is_success(), "{what}: the first queue goes on");
    }
}

#[test]
fn s247_an_io_queue_waits_for_the_controller() {
    let mut world = common::World::new(Role::Io);
    let (mut admin, _) = common::Pair::admin(7, PLAIN, &mut world);
    let _ = admin.call(&mut world, Sqe::property_set(property::CC, 0), Payload::None, &[]);
    let mut pair = common::Pair::new(8, PLAIN, 31, 8192);
    pair.settle(&mut world);
    let data = ConnectData::new([5; 16], 3, common::SUBNQN, common::HOSTNQN).unwrap();
    let done = pair.call(&mut world, Sqe::connect(1, 32, 0), Payload::Send(1024), data.as_bytes());
    assert_eq!(done.status.code(), Some(Code::CommandSequenceError));
    let done = admin.call(&mut world, Sqe::identify(1, 0), Payload::Receive(4096), &[]);
    assert_eq!(done.status.code(), Some(Code::CommandSequenceError), "not before it is ready");
}

/// Properties and fabrics commands that are not there.
#[test]
fn s247_properties_are_read_and_written_as_they_are() {
    let mut world = common::World::new(Role::Io);
    let (mut pair, _) = common::Pair::admin(9, PLAIN, &mut world);
    for (sqe, code) in [
        (Sqe::property_get(0x40, false), Code::InvalidField),
        (Sqe::property_get(property::CAP, false), Code::InvalidField),
        (Sqe::property_get(property::CC, true), Code::InvalidField),
        (Sqe::property_set(property::CSTS, 0), Code::InvalidField),
        (Sqe::fabrics(0x44), Code::InvalidOpcode),
        (Sqe::set_feature(0x77, 0), Code::InvalidField),
        (Sqe::set_feature(7, 0xFFFF), Code::InvalidField),
        (Sqe::set_feature(7, 0x8000_0000 >> 31), Code::Success),
        (Sqe { cdw10: (1 << 31 | 7).into(), ..Sqe::set_feature(7, 0) }, Code::FeatureNotSaveable),
        (Sqe::set_feature(6, 0), Code::FeatureNotChangeable),
        (Sqe::new(0x7E, 0), Code::InvalidOpcode),
        (Sqe::property_get(property::VS, false), Code::Success),
    ] {
        assert_eq!(pair.call(&mut world, sqe, Payload::None, &[]).status.code(), Some(code), "{sqe:?}");
    }
    // A page size, and entries of other sizes.
    let _ = pair.call(&mut world, Sqe::property_set(property::CC, 0), Payload::None, &[]);
    for value in [1, 1 | 1 << 7 | 0x46_0000, 1 | 1 << 4 | 0x46_0000, 1 | 0x47_0000] {
        let done = pair.call(&mut world, Sqe::property_set(property::CC, value), Payload::None, &[]);
        assert_eq!(done.status.code(), Some(Code::InvalidField), "{value:#x}");
    }
}

/// A response does not overtake data that was asked for.
#[test]
fn s248_an_early_answer_waits_for_the_data() {
    let (mut pair, mut world, cid, _) = asked();
    let tag = pair.target.queue.find(cid).unwrap();
    let before = pair.target.out.len();
    pair.target.complete(tag, Code::NamespaceNotReady.into(), 0);
    assert_eq!(pair.target.out.len(), before, "nothing to send yet");
    assert!(pair.target.queue.complete(tag, Code::NamespaceNotReady.into(), 0).is_err() && pair.target.queue.find(cid).is_none());
    pair.settle(&mut world);
    let done = pair.host.done.pop_front().unwrap();
    assert_eq!((done.cid, done.status.code()), (cid, Some(Code::NamespaceNotReady)));
    assert!(pair.call(&mut world, Sqe::new(io::FLUSH, 1), Payload::None, &[]).status.is_success());
}

/// Tags and lengths that are none of a command's.
#[test]
fn s248_calls_out_of_place_are_refused() {
    let (mut pair, mut world, cid, _) = asked();
    let queue = &mut pair.target.queue;
    let tag = queue.find(cid).unwrap();
    assert_eq!(queue.ask(tag, 4), Err(Misuse::Asked));
    assert_eq!(queue.data(tag, 4), Err(Misuse::Range));
    pair.settle(&mut world);
    assert_eq!(pair.target.queue.complete(tag, Status::SUCCESS, 0), Err(Misuse::Tag));
    let cid = pair.host.submit(Sqe::blocks(io::READ, 1, 0, 1, 0), Payload::Receive(512), &[]);
    let bytes = std::mem::take(&mut pair.host.out);
    pair.target.feed(&bytes).unwrap();
    let queue = &mut pair.target.queue;
    let tag = queue.find(cid).unwrap();
    assert_eq!(queue.data(tag, 513), Err(Misuse::Range));
    assert_eq!(queue.data(tag, 0), Err(Misuse::Range));
    assert_eq!(queue.data_and_success(tag, 508), Err(Misuse::Short));
    assert_eq!(queue.complete(tag, Status::SUCCESS, 0), Err(Misuse::Short));
    assert!(queue.data(tag, 508).is_ok() && queue.data_and_success(tag, 4).is_ok());
    assert_eq!(queue.data(tag, 4), Err(Misuse::Tag));
    pair.host.submit(Sqe::blocks(io::READ, 1, 0, 1, 0), Payload::Receive(512), &[]);
    let queue = &mut pair.target.queue;
    let Ok(Some(target::Event::Command { tag, .. })) = queue.receive(&mut &pair.host.out[..]) else { panic!("a read") };
    assert!(queue.data(tag, 512).is_ok());
    assert_eq!(queue.data_and_success(tag, 0), Err(Misuse::Range), "the last data carries the success");
}

/// Who does not connect in time, and who is not heard.
#[test]
fn s248_time_ends_who_is_silent() {
    let mut target = common::Target::new();
    let late = common::NOW + Settings::default().connect_timeout;
    assert!(target.queue.deadline() == late && target.queue.is_late(late) && !target.queue.is_late(common::NOW));
    target.feed(IcReq::new(0, 0, 0).as_bytes()).unwrap();
    assert!(target.queue.is_late(late), "half a connection does not count");
    let mut world = common::World::new(Role::Io);
    let (admin, _) = common::Pair::admin(1, PLAIN, &mut world);
    assert_eq!(admin.target.queue.deadline(), Duration::MAX);
    let controller = world.controller.as_mut().unwrap();
    let gone = common::NOW + Duration::from_secs(6);
    assert!(controller.deadline() == gone && controller.is_gone(gone));
    controller.hear(common::NOW + Duration::from_secs(3));
    assert!(!controller.is_gone(gone) && controller.is_gone(gone + Duration::from_secs(3)));
}

/// What a host checks of what a controller sends.
#[test]
fn s249_a_host_ends_with_a_controller_that_breaks_the_protocol() {
    let answer = |change: fn(&mut IcResp)| {
        let mut it = IcResp::new(0, 0, 4096);
        change(&mut it);
        it
    };
    for (bytes, status) in [
        (answer(|it| it.pfv = 1.into()), (Fes::UnsupportedParameter, 8)),
        (answer(|it| it.cpda = 32), (Fes::InvalidHeaderField, 10)),
        (answer(|it| it.dgst = 1), (Fes::InvalidHeaderField, 11)),
        (answer(|it| it.maxh2cdata = 4092.into()), (Fes::InvalidHeaderField, 12)),
        (answer(|it| it.maxh2cdata = 4098.into()), (Fes::InvalidHeaderField, 12)),
    ] {
        let mut host = common::Host::new(PLAIN, 4, 0);
        assert_eq!(host.feed(bytes.as_bytes()).unwrap_err().why.status(), status);
    }
    let ready = || {
        let mut host = common::Host::new(PLAIN, 4, 0);
        host.feed(IcResp::new(0, 0, 4096).as_bytes()).unwrap();
        let read = host.submit(Sqe::blocks(io::READ, 1, 0, 1, 0), Payload::Receive(512), &[]);
        let write = host.submit(Sqe::blocks(io::WRITE, 1, 0, 1, 0), Payload::Send(512), &[1; 512]);
        (host, read, write)
    };
    let (_, read, write) = ready();
    let data = |cid: u16, datao: u32, length: u32, flags: u8| {
        let mut header = c2h(length);
        header.ch.flags = flags;
        (header.cccid, header.datao) = (cid.into(), datao.into());
        pdu(header.as_bytes(), &vec![1; length as usize], PLAIN)
    };
    let wants = |cid: u16, r2to: u32, r2tl: u32| {
        pdu(R2t { cccid: cid.into(), r2to: r2to.into(), r2tl: r2tl.into(), ..r2t() }.as_bytes(), &[], PLAIN)
    };
    let response = |cid: u16| {
        pdu(
            CapsuleResp { ch: CommonHeader::new(Kind::CapsuleResp), cqe: Cqe { cid: cid.into(), ..Cqe::new_zeroed() } }.as_bytes(),
            &[],
            PLAIN,
        )
    };
    let odd = |at: usize, value: u8| {
        let mut bytes = data(read, 0, 512, pdu::LAST);
        bytes[at] = value;
        bytes
    };
    let mut bare = data(read, 0, 0, 0);
    bare[3] = 24;
    for (what, bytes, status) in [
        ("PDO in the header", odd(3, 20), (Fes::InvalidHeaderField, 3)),
        ("PDO after some of the data", odd(3, 28), (Fes::InvalidHeaderField, 4)),
        ("PLEN of more than the data", odd(4, 28), (Fes::InvalidHeaderField, 4)),
        ("no data", data(read, 0, 0, pdu::LAST), (Fes::InvalidHeaderField, 4)),
        ("no data where it would begin", bare, (Fes::InvalidHeaderField, 4)),
        ("ICResp again", IcResp::new(0, 0, 4096).as_bytes().to_vec(), (Fes::SequenceError, 0)),
        ("data of no command", data(3, 0, 512, pdu::LAST), (Fes::InvalidHeaderField, 8)),
        ("data of a write", data(write, 0, 512, pdu::LAST), (Fes::InvalidHeaderField, 8)),
        ("data not in order", data(read, 4, 508, pdu::LAST), (Fes::OutOfRange, 0)),
        ("too much data", data(read, 0, 516, pdu::LAST), (Fes::OutOfRange, 0)),
        ("LAST too early", data(read, 0, 508, pdu::LAST), (Fes::InvalidHeaderField, 1)),
        ("no LAST", data(read, 0, 512, 0), (Fes::InvalidHeaderField, 1)),
        ("SUCCESS without LAST", data(read, 0, 508, pdu::SUCCESS), (Fes::InvalidHeaderField, 1)),
        ("R2T of a read", wants(read, 0, 4), (Fes::InvalidHeaderField, 8)),
        ("R2T of nothing", wants(write, 0, 0), (Fes::OutOfRange, 0)),
        ("R2T of too much", wants(write, 0, 516), (Fes::OutOfRange, 0)),
        ("R2T not in order", wants(write, 4, 4), (Fes::OutOfRange, 0)),
        ("a response of no command", response(3), (Fes::InvalidHeaderField, 8)),
    ] {
        let (mut host, ..) = ready();
        let fault = host.feed(&bytes).expect_err(what);
        assert_eq!(fault.why.status(), status, "{what}");
        assert_eq!(host.queue.in_flight().count(), 2, "{what}");
        let told = host.queue.term_req().expect(what);
        assert_eq!(told[0], Kind::H2cTermReq as u8);
        let header = bytes[..usize::from(bytes[2])].to_vec();
        assert_eq!(told[24..], header, "{what}: the header comes back");
    }
    // Success without all of the data is none.
    let (mut host, ..) = ready();
    host.feed(&response(read)).unwrap();
    assert_eq!(host.done[0].status.code(), Some(Code::DataTransferError));
    // A second R2T before the first is answered.
    let (queue, _) = host::Queue::new(host::Settings { shape: PLAIN, commands: 4, in_capsule: 0 });
    let mut queue = queue;
    assert_eq!(queue.receive(&mut IcResp::new(0, 0, 4096).as_bytes()), Ok(Some(host::Event::Ready)));
    let command = queue.submit(Sqe::blocks(io::WRITE, 1, 0, 1, 0), Payload::Send(512)).unwrap();
    assert_eq!(queue.receive(&mut &wants(command.cid, 0, 8)[..]), Ok(Some(host::Event::Wanted { cid: command.cid })));
    assert_eq!(queue.receive(&mut &wants(command.cid, 8, 8)[..]).unwrap_err().why.status(), (Fes::LimitExceeded, 0));
}

/// They get into logs.
#[test]
fn s349_a_name_has_no_control_characters() {
    let field = |name: &str| {
        let mut field = [0; 256];
        field[..name.len()].copy_from_slice(name.as_bytes());
        field
    };
    assert_eq!(fabrics::nqn(&field("nqn.2016-06.io.spdk:disk ü")), Some("nqn.2016-06.io.spdk:disk ü"));
    for odd in ["\n", "\r", "\x1b[2J", "\u{7f}", "\u{85}"] {
        assert_eq!(fabrics::nqn(&field(&format!("nqn.2016-06.io.spdk:{odd}"))), None, "{odd:?}");
    }
}
