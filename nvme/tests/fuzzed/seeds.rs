//! What the fuzzer begins with: conversations that go right, in the form that the fuzz targets
//! read.

use nvme::command::{Sgl, Sqe, admin, io};
use nvme::fabrics::{ConnectData, property};
use nvme::host::Bringup;
use nvme::pdu::{C2hData, CapsuleCmd, CapsuleResp, CommonHeader, H2cData, IcReq, IcResp, Kind, LAST, R2t, SUCCESS};
use nvme::{Cqe, Shape, Status};
use zerocopy::{FromZeros, IntoBytes};

use super::common::pdu;

/// The fuzz target, the seed's name, and its bytes.
pub(crate) fn all() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let digests = Shape { header_digest: true, data_digest: true, alignment: 0 };
    vec![
        ("nvme_pdus", "host", pdus(0, 0, Shape::default(), of_a_host)),
        ("nvme_pdus", "host_with_digests", pdus(0, 3, digests, of_a_host)),
        ("nvme_pdus", "controller", pdus(1, 0, Shape::default(), of_a_controller)),
        ("nvme_pdus", "controller_with_digests", pdus(1, 3, digests, of_a_controller)),
        ("nvme_target", "connect", connect()),
        (
            "nvme_target",
            "io",
            commands(
                1,
                &[
                    (Sqe::blocks(io::WRITE, 1, 0, 1, 0), 512, false),
                    (to_host(Sqe::blocks(io::READ, 1, 0, 1, 0), 512), 0, true),
                    (to_host(Sqe::blocks(io::WRITE, 1, 0, 16, 0), 8192), 0, true),
                    (Sqe::blocks(io::WRITE_ZEROES, 1, 4, 4, 0), 0, false),
                    (Sqe::new(io::FLUSH, 1), 0, false),
                    (fused(io::COMPARE, 1), 512, true),
                    (fused(io::WRITE, 2), 512, true),
                ],
            ),
        ),
        (
            "nvme_target",
            "admin",
            commands(
                2,
                &[
                    (Sqe::property_get(property::CAP, true), 0, false),
                    (to_host(Sqe::identify(1, 0), 4096), 0, true),
                    (Sqe::set_feature(7, 3 << 16 | 3), 0, false),
                    (Sqe::new(admin::ASYNC_EVENT, 0), 0, false),
                    (Sqe::new(admin::ABORT, 0), 0, false),
                    (Bringup::keep_alive(), 0, false),
                ],
            ),
        ),
        ("nvme_host", "answers", answers(0)),
        ("nvme_host", "answers_with_digests", answers(3)),
    ]
}

fn to_host(sqe: Sqe, length: u32) -> Sqe {
    Sqe { sgl: Sgl::transport(length), flags: nvme::command::PSDT_SGL, ..sqe }
}

fn fused(opcode: u8, bits: u8) -> Sqe {
    Sqe { sgl: Sgl::in_capsule(512), flags: nvme::command::PSDT_SGL | bits, ..Sqe::blocks(opcode, 1, 0, 1, 0) }
}

/// Which side, the shape's bits, the length of a piece; then PDUs.
fn pdus(side: u8, bits: u8, shape: Shape, of: fn(Shape) -> Vec<u8>) -> Vec<u8> {
    [vec![side, bits, 57], of(shape)].concat()
}

fn of_a_host(shape: Shape) -> Vec<u8> {
    let sqe = Sqe { sgl: Sgl::in_capsule(512), ..Sqe::blocks(io::WRITE, 1, 0, 1, 0) };
    let write = CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe };
    let ch = CommonHeader { flags: LAST, ..CommonHeader::new(Kind::H2cData) };
    let data = H2cData { ch, cccid: 1.into(), datal: 256.into(), ..H2cData::new_zeroed() };
    let read = CapsuleCmd { sqe: to_host(Sqe::blocks(io::READ, 1, 0, 1, 0), 512), ..write };
    let parts = [pdu(write.as_bytes(), &[5; 512], shape), pdu(data.as_bytes(), &[6; 256], shape), pdu(read.as_bytes(), &[], shape)];
    parts.concat()
}

fn of_a_controller(shape: Shape) -> Vec<u8> {
    let ask = R2t { ch: CommonHeader::new(Kind::R2t), cccid: 1.into(), r2tl: 8192.into(), ..R2t::new_zeroed() };
    let ch = CommonHeader { flags: LAST | SUCCESS, ..CommonHeader::new(Kind::C2hData) };
    let data = C2hData { ch, cccid: 2.into(), datal: 512.into(), ..C2hData::new_zeroed() };
    let cqe = Cqe { result: 0.into(), sqhd: 3.into(), sqid: 0.into(), cid: 1.into(), status: Status::SUCCESS };
    let done = CapsuleResp { ch: CommonHeader::new(Kind::CapsuleResp), cqe };
    [pdu(ask.as_bytes(), &[], shape), pdu(data.as_bytes(), &[7; 512], shape), pdu(done.as_bytes(), &[], shape)].concat()
}

/// A target that nothing was said to yet: ICReq and Connect, in pieces that say how long they are.
fn connect() -> Vec<u8> {
    let names = ("nqn.2016-06.io.spdk:cnode1", "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000001");
    let data = ConnectData::new([1; 16], 0xFFFF, names.0, names.1).expect("names that fit");
    let sqe = Sqe { sgl: Sgl::in_capsule(1024), flags: nvme::command::PSDT_SGL, ..Sqe::connect(0, 32, 15_000) };
    let command = CapsuleCmd { ch: CommonHeader::new(Kind::CapsuleCmd), sqe };
    let said = [IcReq::new(0, 0, 0).as_bytes().to_vec(), pdu(command.as_bytes(), data.as_bytes(), Shape::default())].concat();
    let pieces = said.chunks(248).flat_map(|piece| [&[piece.len() as u8], piece].concat());
    [0].into_iter().chain(pieces).chain([6]).collect()
}

/// A target that is open, and commands: each with so much data, and as it is or with the SGL of
/// that. Each is worked off.
fn commands(mode: u8, all: &[(Sqe, u32, bool)]) -> Vec<u8> {
    let mut bytes = vec![mode];
    for (cid, (sqe, data, as_it_is)) in all.iter().enumerate() {
        let sqe = Sqe { cid: (cid as u16).into(), ..*sqe };
        bytes.extend([if *as_it_is { 9 } else { 1 }, (data / 16) as u8]);
        bytes.extend(sqe.as_bytes());
        bytes.push(6);
    }
    bytes
}

/// A host that reads and writes: a read's data and its answer, and what a write is asked for.
fn answers(bits: u8) -> Vec<u8> {
    let mut bytes = vec![bits, 0];
    let data = C2hData { datao: 0.into(), ..C2hData::new_zeroed() };
    // The first command's first half, then its end, with success.
    bytes.extend([&[2, 63][..], data.as_bytes()].concat());
    let data = C2hData { datao: 4096.into(), ..data };
    bytes.extend([&[2 | LAST | SUCCESS, 63][..], data.as_bytes()].concat());
    let ask = R2t { r2tl: 8192.into(), ..R2t::new_zeroed() };
    bytes.extend([&[3 | 1 << 4][..], ask.as_bytes()].concat());
    let cqe = Cqe { result: 0.into(), sqhd: 1.into(), sqid: 0.into(), cid: 1.into(), status: Status::SUCCESS };
    bytes.extend([&[1 | 1 << 4][..], cqe.as_bytes()].concat());
    // ICResp a second time, in bytes as they are.
    let again = IcResp::new(0, bits, 4096);
    bytes.extend([&[128][..], again.as_bytes()].concat());
    bytes
}
