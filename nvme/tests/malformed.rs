//! Each field of each PDU wrong in turn: what the peer is told of it (FES and FEI).

use nvme::pdu::{self, C2hData, CapsuleCmd, CapsuleResp, CommonHeader, H2cData, IcReq, IcResp, Kind, R2t};
use nvme::{Cqe, Decoder, Fes, Header, Item, Shape, Side, Sqe, Wrong, digest};
use zerocopy::{FromZeros, IntoBytes};

const DIGESTS: Shape = Shape { header_digest: true, data_digest: true, alignment: 0 };
const PLAIN: Shape = Shape { header_digest: false, data_digest: false, alignment: 0 };
const LIMIT: u32 = 8192;

/// A PDU of `header` and `data` in `shape`.
fn pdu(header: &[u8], data: &[u8], shape: Shape) -> Vec<u8> {
    let mut bytes = header.to_vec();
    let kind = Kind::of(bytes[0]).unwrap();
    let digests = kind.has_digests();
    let mut plen = bytes.len();
    if shape.header_digest && digests {
        bytes[1] |= pdu::HEADER_DIGEST;
        plen += 4;
    }
    let mut pdo = 0;
    if !data.is_empty() {
        pdo = plen.next_multiple_of((usize::from(shape.alignment) + 1) * 4);
        plen = pdo + data.len();
        if shape.data_digest && digests {
            bytes[1] |= pdu::DATA_DIGEST;
            plen += 4;
        }
    }
    bytes[3] = pdo as u8;
    bytes[4..8].copy_from_slice(&(plen as u32).to_le_bytes());
    seal(&mut bytes, header.len(), shape.header_digest && digests);
    if !data.is_empty() {
        bytes.resize(pdo, 0);
        bytes.extend_from_slice(data);
        if shape.data_digest && digests {
            bytes.extend_from_slice(&digest::digest(data));
        }
    }
    bytes
}

fn seal(bytes: &mut Vec<u8>, header: usize, digested: bool) {
    if digested {
        let sum = digest::digest(&bytes[..header]);
        bytes.truncate(header);
        bytes.extend_from_slice(&sum);
    }
}

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

/// All items of `bytes`, cut at each of `cuts`.
fn decode(from: Side, shape: Shape, bytes: &[u8], cuts: &[usize]) -> Result<(Vec<Header>, Vec<u8>, Vec<bool>), nvme::Fault> {
    let mut decoder = Decoder::new(from);
    decoder.agree(shape, LIMIT);
    let (mut headers, mut data, mut ends) = (Vec::new(), Vec::new(), Vec::new());
    let mut begin = 0;
    for end in cuts.iter().copied().chain([bytes.len()]) {
        let mut piece = &bytes[begin..end];
        begin = end;
        while let Some(item) = decoder.next(&mut piece)? {
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
                assert_eq!(fault.why.status(), (fes, fei), "{kind:?}: {what}: {fault}");
                let back = fault.term_req(if from == Side::Host { Side::Controller } else { Side::Host });
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
    let told = fault.term_req(Side::Controller);
    let (headers, data, _) = decode(Side::Controller, DIGESTS, &told, &[3]).unwrap();
    assert_eq!(headers, [Header::TermReq { fes: 1, fei: 0 }]);
    assert_eq!(data, [9; 8]);
    let mut long = told.to_vec();
    long[4..8].copy_from_slice(&200_u32.to_le_bytes());
    assert_eq!(decode(Side::Controller, DIGESTS, &long, &[]).unwrap_err().why.status(), (Fes::InvalidHeaderField, 4));
}
