//! Statement 18: sends complete in order; short writes are the group's affair; a socket is bounded
//! in memory.

use std::io::Write;

use core_reactor::net::{Frame, NetError, NetEvent, SockId, SockOptions, Token};

use super::driver::Setup;
use super::{Driver, Env, peer};

/// A tagged frame comes back when it is with the system, with its buffers as they were.
pub fn s18_sends_complete_in_order(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(7));
    let sizes: Vec<usize> = (0..40).map(|n| 1 + n * 97 % 4096).collect();
    let mut at = 0;
    for (n, size) in sizes.iter().enumerate() {
        let frame = driver.frame(&peer::pattern(1, at, *size)).tagged(n as u32);
        driver.send_frame(id, frame);
        at += size;
    }
    assert_eq!(driver.seen().count(), 0);
    for (n, size) in sizes.iter().enumerate() {
        let (frame, written, error) = driver.sent(id);
        assert_eq!((frame.tag(), frame.bytes(), written, error), (Some(n as u32), *size, *size, None));
    }
    assert_eq!(peer::read(&mut far, at), peer::pattern(1, 0, at));
    assert_eq!(driver.group().stats().bytes_out, at as u64);
}

/// Without a tag only what was not sent is told.
pub fn s18_a_frame_without_a_tag_reports_nothing(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(7));
    for n in 0..10 {
        let frame = driver.frame(&[n]);
        driver.send_frame(id, if n == 9 { frame.tagged(9) } else { frame });
    }
    assert_eq!(driver.sent(id).0.tag(), Some(9), "the first that is told is the one with a tag");
    assert_eq!(peer::read(&mut far, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

/// Header, payload and digest go out as one, and many such behind each other, empty parts and empty
/// frames among them.
pub fn s18_frames_of_many_parts_go_out_whole(env: &Env) {
    let mut driver = Driver::with(env, Setup { bufs: 512, ..Setup::default() });
    let (id, mut far) = driver.pair(Token(1));
    let mut at = 0;
    for n in 0..60 {
        let mut frame = Frame::new();
        for part in 0..n % (Frame::PARTS + 1) {
            let size = (n * 31 + part * 7) % 200;
            let buf = driver.fill(&peer::pattern(5, at, size));
            frame.push(buf).map_err(drop).expect("room for another part");
            at += size;
        }
        driver.send_frame(id, frame.tagged(n as u32));
    }
    for n in 0..60 {
        let (frame, written, error) = driver.sent(id);
        assert_eq!((frame.tag(), frame.parts().len(), written, error), (Some(n), n as usize % 5, frame.bytes(), None));
    }
    assert_eq!(peer::read(&mut far, at), peer::pattern(5, 0, at));
}

/// With a small buffer in the system, nearly every write is short.
pub fn s18_short_writes_are_the_groups_affair(env: &Env) {
    const FRAME: usize = 30_000;
    const FRAMES: usize = 100;
    let setup = Setup { bufs: 8, buf_size: FRAME, ..Setup::default() };
    let mut driver = Driver::with(env, setup);
    let (id, mut far) = driver.pair_with(Token(1), &SockOptions::default().send_buf(4096));
    // It comes back, so that its end is not told before the last reports.
    let reader = std::thread::spawn(move || (peer::read(&mut far, FRAME * FRAMES), far));
    let (mut queued, mut done) = (0, 0);
    driver.until("all frames are sent", |driver| {
        while queued < FRAMES
            && let Some(mut buf) = driver.group().buffer()
        {
            buf.append(&peer::pattern(2, queued * FRAME, FRAME));
            driver.send_frame(id, Frame::from(buf).tagged(queued as u32));
            queued += 1;
        }
        while let Some(event) = driver.next_seen() {
            let NetEvent::Sent { frame, written, error, .. } = event else { panic!("only reports") };
            assert_eq!((frame.tag(), written, error), (Some(done as u32), FRAME, None));
            done += 1;
        }
        done == FRAMES
    });
    let (bytes, _far) = reader.join().expect("the peer is content");
    assert!(bytes == peer::pattern(2, 0, FRAME * FRAMES), "the stream is whole");
}

/// A peer that reads nothing cannot make a socket hold more than its limit.
pub fn s18_past_its_limit_a_send_is_refused_and_the_frame_given_back(env: &Env) {
    let setup = Setup { bufs: 64, send_limit: 50_000, send_frames: 1000, ..Setup::default() };
    let mut driver = Driver::with(env, setup);
    let (id, mut far) = driver.narrow_pair(Token(1));
    let (sent, frame) = send_until_refused(&mut driver, id, |why| {
        let NetError::SendLimit { queued, limit: 50_000, .. } = why else { panic!("{why}") };
        assert!((50_000..50_000 + 4096).contains(&queued), "{queued} bytes are held");
    });
    // Of the frames that are held the first may be half sent, and the last may have passed the
    // limit; one is here.
    assert!(driver.take_buffers().len() >= 64 - 50_000 / 4096 - 3, "no more buffers are held than the limit says");
    let reader = std::thread::spawn(move || peer::read(&mut far, sent + 4096));
    driver.until("there is room again", |driver| driver.group().stats().bytes_out == sent as u64);
    driver.send_frame(id, frame);
    driver.until("it is taken", |driver| driver.group().stats().bytes_out == sent as u64 + 4096);
    assert!(reader.join().expect("the peer is content") == peer::pattern(0, 0, sent + 4096));
}

/// As above, by the number of frames.
pub fn s18_past_its_number_of_frames_a_send_is_refused(env: &Env) {
    let setup = Setup { bufs: 64, send_limit: 1 << 30, send_frames: 5, ..Setup::default() };
    let mut driver = Driver::with(env, setup);
    let (id, mut far) = driver.pair(Token(1));
    for n in 0..5 {
        driver.send(id, &[n]);
    }
    let frame = driver.frame(&[5]);
    let refused = driver.group().send(id, frame).expect_err("five are allowed");
    assert!(matches!(refused.why, NetError::SendLimit { queued: 5, .. }), "{}", refused.why);
    driver.group().flush();
    driver.send_frame(id, refused.item);
    driver.turns(1);
    assert_eq!(peer::read(&mut far, 6), [0, 1, 2, 3, 4, 5]);
    // Reports that nobody takes count as well: they hold their frames.
    for n in 0..5 {
        let frame = driver.frame(&[n]).tagged(n.into());
        driver.send_frame(id, frame);
        driver.group().flush();
    }
    let frame = driver.frame(&[5]);
    assert!(driver.group().send(id, frame).is_err(), "five are still held");
    (0..5).for_each(|_| drop(driver.sent(id)));
    driver.send(id, &[5]);
    driver.turns(1);
    assert_eq!(peer::read(&mut far, 6), [0, 1, 2, 3, 4, 5]);
}

/// A peer that reads nothing is its own affair.
pub fn s18_a_full_socket_holds_back_only_itself(env: &Env) {
    let setup = Setup { send_limit: 20_000, ..Setup::default() };
    let mut driver = Driver::with(env, setup);
    let (full, mut full_far) = driver.narrow_pair(Token(1));
    let (quick, mut quick_far) = driver.pair(Token(2));
    let (sent, _) = send_until_refused(&mut driver, full, |_| {});
    for round in 0..20 {
        driver.send(quick, &[round]);
        driver.turns(1);
        assert_eq!(peer::read(&mut quick_far, 1), [round]);
    }
    let reader = std::thread::spawn(move || peer::read(&mut full_far, sent));
    driver.until("it goes on where it was", |driver| driver.group().stats().bytes_out == sent as u64 + 20);
    assert!(reader.join().expect("the peer is content") == peer::pattern(0, 0, sent));
}

/// Who takes no answers is asked no further questions, and nothing is lost of them.
pub fn s18_a_socket_full_of_answers_reads_no_questions(env: &Env) {
    for (bytes, frames) in [(40_000, 1000), (1 << 29, 20)] {
        let setup = Setup { hold_reads_at: bytes, send_frames: frames, send_limit: 1 << 30, bufs: 256, ..Setup::default() };
        let mut driver = Driver::with(env, setup);
        let (id, mut far) = driver.narrow_pair(Token(1));
        let mut sent = 0;
        // Bytes that the system has not taken, of as many as there may be.
        let mut queued = |driver: &mut Driver| {
            while sent - driver.group().stats().bytes_out < 80_000 {
                let frame = driver.frame(&peer::pattern(0, sent as usize, 4000));
                match driver.group().send(id, frame) {
                    Ok(()) => sent += 4000,
                    Err(_) => break,
                }
            }
            sent - driver.group().stats().bytes_out
        };
        let mut full = 0;
        while full < 100 {
            let before = queued(&mut driver) + driver.group().stats().bytes_out;
            if full == 0 {
                far.write_all(b"question").expect("sent");
            }
            driver.turns(1);
            let left = before - driver.group().stats().bytes_out;
            full += 1;
            // It is read when the system has taken enough of the answers; then the next question
            // has to wait.
            if std::iter::from_fn(|| driver.next_seen()).any(|event| matches!(event, NetEvent::Received { .. })) {
                assert!(left <= 40_000, "read while {left} bytes were queued");
                full = 0;
            }
        }
        let sent = queued(&mut driver) + driver.group().stats().bytes_out;
        let mut ear = far.clone();
        let reader = std::thread::spawn(move || peer::read(&mut ear, sent as usize));
        assert_eq!(driver.receive(id, 8), b"question");
        driver.until("all answers", |driver| driver.group().stats().bytes_out == sent);
        assert!(reader.join().expect("the peer is content") == peer::pattern(0, 0, sent as usize));
    }
}

/// Who answers each buffer by a frame of its own is never refused, however much one poll brings:
/// reading is held up before that, by bytes or by frames.
pub fn s18_an_answer_to_each_buffer_is_never_refused(env: &Env) {
    for (bufs, buf_size) in [(1024, 256), (128, 64 << 10)] {
        let mut driver = Driver::with(env, Setup { room: 512, bufs, buf_size, hold_reads_at: 256 << 10, ..Setup::default() });
        let mut pairs: Vec<_> = (0..3).map(|n| driver.pair(Token(n))).collect();
        for (id, far) in &mut pairs {
            driver.group().pause(*id).expect("it is there");
            peer::write_until_full(far);
        }
        for (id, _) in &pairs {
            driver.group().resume(*id).expect("it is there");
        }
        let mut answered = 0;
        driver.until("questions of all", |driver| {
            answered += answer(driver);
            answered > pairs.len() * (64 << 10)
        });
        // Nobody reads the answers, so soon they are held here.
        for _ in 0..500 {
            answer(&mut driver);
        }
    }
}

/// Sends back what one poll brings; tells how many bytes that was.
fn answer(driver: &mut Driver) -> usize {
    let mut answered = 0;
    for event in driver.poll() {
        let NetEvent::Received { id, buf, .. } = event else { panic!("only bytes") };
        answered += buf.len();
        driver.group().send(id, buf.into()).map_err(|refused| refused.why).expect("an answer is taken");
    }
    answered
}

/// `flush` alone writes; events wait for the next poll.
pub fn s18_flush_writes_without_a_poll(env: &Env) {
    let mut driver = Driver::new(env);
    let (id, mut far) = driver.pair(Token(1));
    let frame = driver.frame(b"now").tagged(4);
    driver.send_frame(id, frame);
    driver.group().flush();
    assert_eq!(peer::read(&mut far, 3), b"now");
    assert_eq!(driver.sent(id).0.tag(), Some(4));
}

/// Sends a pattern of seed 0 until a frame is refused. Tells how many bytes were taken, and the
/// frame.
fn send_until_refused(driver: &mut Driver, id: SockId, check: impl FnOnce(NetError)) -> (usize, Frame) {
    let mut sent = 0;
    let mut idle = 0;
    loop {
        let frame = driver.frame(&peer::pattern(0, sent, 4096));
        match driver.group().send(id, frame) {
            Ok(()) => sent += 4096,
            // The system may still take some: it is full when it has taken nothing for a while.
            Err(refused) if idle == 200 => {
                assert_eq!(refused.item.parts()[0][..], peer::pattern(0, sent, 4096), "the frame comes back as it was");
                check(refused.why);
                return (sent, refused.item);
            }
            Err(_) => {
                let before = driver.group().stats().bytes_out;
                driver.turns(1);
                idle = if driver.group().stats().bytes_out == before { idle + 1 } else { 0 };
            }
        }
    }
}
