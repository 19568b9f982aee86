//! Two ends in memory: what one is given comes out of the other, and whoever has another key does
//! not get in.

use nvme::auth::{TlsIdentity, TlsKey, TlsPsk};
use nvme_tls::{Acceptor, RECORD, Session, TlsError};

const HOST: &str = "nqn.2014-08.org.nvmexpress:uuid:6f0f6e4d-0000-4000-8000-000000000001";
const SUBSYSTEM: &str = "nqn.2024-01.example:disk";

/// With SHA-256, with SHA-384, and another one with SHA-256.
const KEYS: [&str; 3] = [
    "NVMeTLSkey-1:01:AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09pl1OOC:",
    "NVMeTLSkey-1:02:AgkQFx4lLDM6QUhPVl1ka3J5gIeOlZyjqrG4v8bN1Nvi6fD3/gUMExohKC82PURLIrqU+w==:",
    "NVMeTLSkey-1:00:AQgPFh0kKzI5QEdOVVxjanF4f4aNlJuiqbC3vsXM09pl1OOC:",
];

fn psk(key: usize, form: TlsIdentity) -> TlsPsk {
    TlsKey::read(KEYS[key]).unwrap().psk(HOST, SUBSYSTEM, form).unwrap()
}

/// A target that knows these keys.
fn target(keys: Vec<TlsPsk>) -> Session {
    let acceptor = Acceptor::new(move |identity| keys.iter().find(|key| key.identity == identity).cloned()).unwrap();
    Session::server(&acceptor).unwrap()
}

/// Hands over what one has to send, in pieces of so many bytes; what the other has read.
fn carry(from: &mut Session, to: &mut Session, piece: usize) -> Result<Vec<u8>, TlsError> {
    let (out, mut read, mut record) = (std::mem::take(from.output()), Vec::new(), vec![0; RECORD]);
    for piece in out.chunks(piece) {
        to.take(piece)?;
        loop {
            match to.read(&mut record)? {
                0 => break,
                some => read.extend_from_slice(&record[..some]),
            }
        }
    }
    Ok(read)
}

fn shake_hands(host: &mut Session, target: &mut Session, piece: usize) -> Result<(), TlsError> {
    for _ in 0..4 {
        carry(host, target, piece)?;
        carry(target, host, piece)?;
    }
    Ok(())
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at / 7 + at) as u8).collect()
}

#[test]
fn s367_what_goes_in_comes_out_with_each_hash_and_form_and_however_it_is_cut() {
    for (key, form) in [(0, TlsIdentity::Names), (1, TlsIdentity::Names), (0, TlsIdentity::Digest), (1, TlsIdentity::Digest)] {
        for piece in [1, 1000, 1 << 20] {
            let key = psk(key, form);
            let mut host = Session::client(std::slice::from_ref(&key)).unwrap();
            let mut target = target(vec![key.clone()]);
            shake_hands(&mut host, &mut target, piece).unwrap();
            assert!(host.is_open() && target.is_open());
            assert_eq!((host.identity(), target.identity()), (&*key.identity, &*key.identity));
            for length in if piece == 1 { [1, 2, 300, 3000] } else { [1, RECORD, RECORD + 1, 100_000] } {
                let sent = bytes(length);
                host.write(&sent).unwrap();
                assert!(
                    !host.output().windows(length.min(64)).any(|some| length > 1 && some == &sent[..length.min(64)]),
                    "it is encrypted"
                );
                assert!(carry(&mut host, &mut target, piece).unwrap() == sent, "{length} in pieces of {piece}");
                target.write(&sent).unwrap();
                assert!(carry(&mut target, &mut host, piece).unwrap() == sent);
            }
            host.close();
            assert_eq!(carry(&mut host, &mut target, piece).unwrap(), []);
            assert!(target.has_ended());
        }
    }
}

#[test]
fn s367_the_first_key_that_the_target_knows_is_taken() {
    let offered = [psk(0, TlsIdentity::Names), psk(0, TlsIdentity::Digest)];
    let mut host = Session::client(&offered).unwrap();
    let mut target = target(vec![offered[1].clone()]);
    shake_hands(&mut host, &mut target, 100).unwrap();
    assert!(host.identity().starts_with("NVMe1R01") && host.identity() == target.identity());
}

#[test]
fn s368_who_has_another_key_or_none_is_not_let_in() {
    let (right, wrong) = (psk(0, TlsIdentity::Names), psk(2, TlsIdentity::Names));
    assert_eq!(right.identity, wrong.identity);
    for (known, expected) in
        [(vec![right.clone()], "another key than ours for NVMe0R01 nqn.2014"), (vec![], "no key is known for NVMe0R01 nqn.2014")]
    {
        let mut host = Session::client(std::slice::from_ref(&wrong)).unwrap();
        let mut target = target(known);
        let why = shake_hands(&mut host, &mut target, 1000).unwrap_err().to_string();
        assert!(why.contains(expected), "{why}");
        assert!(!target.is_open() && target.write(b"x").is_err());
        // The host is told, and not let in either.
        assert!(matches!(carry(&mut target, &mut host, 1000), Err(TlsError::Alert(51 | 115, _))));
        assert!(!host.is_open() && host.read(&mut [0; 8]).unwrap_or(0) == 0);
    }
}

#[test]
fn s368_who_speaks_no_tls_is_told_from_others_by_its_first_byte() {
    // ICReq, as hosts without TLS begin.
    let icreq = [0, 0, 128, 0, 128, 0, 0, 0];
    assert!(matches!(target(vec![]).take(&icreq), Err(TlsError::NotTls)));
    assert!(matches!(target(vec![]).take(b"GET / HTTP/1.1\r\n"), Err(TlsError::NotTls)));
    let mut nothing = target(vec![]);
    nothing.take(&[]).unwrap();
    nothing.take(&[0x16]).unwrap();
    assert!(nothing.output().is_empty());
}

#[test]
fn s368_what_was_changed_on_its_way_is_not_read() {
    let key = psk(1, TlsIdentity::Names);
    let mut host = Session::client(std::slice::from_ref(&key)).unwrap();
    let mut target = target(vec![key]);
    shake_hands(&mut host, &mut target, 1000).unwrap();
    host.write(b"good").unwrap();
    let at = host.output().len() - 1;
    host.output()[at] ^= 1;
    assert!(carry(&mut host, &mut target, 1000).is_err());
    // Nor what comes after it.
    host.write(b"more").unwrap();
    assert!(carry(&mut host, &mut target, 1000).is_err());
}

/// Whatever comes instead of a handshake, there is an end.
#[test]
fn s368_noise_in_a_handshake_is_refused() {
    let key = psk(0, TlsIdentity::Names);
    let hello = std::mem::take(Session::client(std::slice::from_ref(&key)).unwrap().output());
    for at in 0..hello.len() {
        let mut hello = hello.clone();
        hello[at] ^= 1 << (at % 8);
        let mut target = target(vec![key.clone()]);
        // It may wait for more where a length has grown.
        let outcome = target.take(&hello);
        // The version of a record is not looked at (RFC 8446, 5.1).
        assert!(
            !target.is_open() && (target.output().is_empty() || target.output()[0] == 0x15 || matches!(at, 1 | 2)),
            "byte {at}: {outcome:?}"
        );
    }
    // A record that says that it is longer than any may be.
    assert!(target(vec![]).take(&[&[0x16, 3, 1, 0xFF, 0xFF][..], &[1; 0xFFFF]].concat()).is_err());
}

/// It gets into logs.
#[test]
fn s349_what_is_told_of_a_strangers_identity_has_no_control_characters_and_an_end() {
    let mut key = psk(0, TlsIdentity::Names);
    key.identity = format!("NVMe0R01 \n\x1b[2J{}", "x".repeat(4000));
    let mut host = Session::client(std::slice::from_ref(&key)).unwrap();
    let why = shake_hands(&mut host, &mut target(vec![]), 1000).unwrap_err();
    let TlsError::Unknown(told) = &why else { panic!("{why}") };
    assert!(!told.contains(char::is_control) && told.starts_with("NVMe0R01 \\n") && told.len() < 600, "{told:?}");
}
