//! What completions of a send say of it, as a kernel answers them seldom.

use super::*;

/// `IORING_CQE_F_MORE`, `IORING_CQE_F_NOTIF`, and `IORING_NOTIF_USAGE_ZC_COPIED`.
const MORE: u32 = 1 << 1;
const NOTIF: u32 = 1 << 3;
const COPIED: i32 = i32::MIN;

fn completion(result: i32, flags: u32) -> Completion {
    Completion::new(Completion::NOTHING.key, result, flags)
}

/// What a send came to, and its number.
fn answered(writer: &mut Writer, result: i32, flags: u32) -> (&'static str, i32) {
    writer.request = Request::One;
    match writer.answered(&mut Gathers::default(), completion(result, flags)) {
        Sent::NotYet => ("not yet", 0),
        Sent::Taken(n) => ("taken", n as i32),
        Sent::NeedsCopy(why) => ("copy", why.0),
        Sent::Failed(why) => ("failed", why.0),
    }
}

#[test]
fn s18_s61_what_cannot_be_lent_is_copied_from_then_on() {
    for errno in [libc::ENOMEM, libc::ENOBUFS, libc::EOPNOTSUPP, libc::EINVAL] {
        let mut writer = Writer::new(Some(1));
        assert_eq!((answered(&mut writer, -errno, 0), writer.lends()), (("copy", errno), false));
        assert_eq!(answered(&mut writer, -errno, 0), ("failed", errno), "it was sent with one");
    }
    for errno in [libc::EPIPE, libc::ECONNRESET] {
        let mut writer = Writer::new(Some(1));
        assert_eq!((answered(&mut writer, -errno, 0), writer.lends()), (("failed", errno), true));
    }
}

#[test]
fn s18_memory_that_is_lent_is_the_kernels_until_the_second_completion() {
    let mut writer = Writer::new(Some(1));
    assert_eq!(answered(&mut writer, 7, MORE), ("not yet", 0));
    assert!(writer.has_only_lent() && writer.is_busy());
    assert_eq!(answered(&mut writer, 0, NOTIF), ("taken", 7));
    assert!(!writer.has_only_lent() && !writer.is_busy() && writer.lends());
    // It was in vain, as the kernel has copied all the same.
    answered(&mut writer, 8, MORE);
    assert_eq!((answered(&mut writer, COPIED, NOTIF), writer.lends()), (("taken", 8), false));
}

#[test]
fn of_one_piece_that_was_taken_nothing_special_is_to_be_said() {
    let mut writer = Writer::new(None);
    for (request, result, flags) in [(Request::One, -1, 0), (Request::One, 5, MORE), (Request::One, 5, NOTIF), (Request::List(0), 5, 0)] {
        writer.request = request;
        assert!(!writer.sent_plainly(completion(result, flags)) && writer.is_busy(), "{result} {flags}");
    }
    writer.request = Request::One;
    assert!(writer.sent_plainly(completion(5, 0)) && !writer.is_busy());
}
