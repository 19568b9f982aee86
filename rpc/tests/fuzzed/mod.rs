//! What a fuzz target does with its bytes, and the tests on stable as well: they are what a client
//! sends, in pieces.

use rpc::scan::{Bad, Scanner};
use serde::de::IgnoredAny;

/// The first byte says how long the pieces are.
pub(crate) fn values(bytes: &[u8]) {
    let Some((piece, text)) = bytes.split_first() else { return };
    let whole = ends(text, text.len().max(1));
    assert_eq!(ends(text, usize::from(*piece).max(1)), whole, "the cut changes nothing");
    let Ok(found) = whole else { return };
    let mut from = 0;
    for (end, elements) in found {
        let value = &text[from..end];
        assert!(serde_json::from_slice::<IgnoredAny>(value).is_ok(), "no value: {:?}", String::from_utf8_lossy(value));
        // Read or refused, as a call and as those of a batch.
        let _ = rpc::is_request(value);
        for element in elements.unwrap_or_default() {
            let element = &value[element];
            assert!(serde_json::from_slice::<IgnoredAny>(element).is_ok());
            let _ = rpc::is_request(element);
        }
        from = end;
    }
}

type Found = Vec<(usize, Option<Vec<std::ops::Range<usize>>>)>;

/// Where the values end that stand in `text`, and the elements of each that is a batch.
fn ends(text: &[u8], piece: usize) -> Result<Found, Bad> {
    let (mut found, mut scanner, mut at, mut seen) = (Found::new(), Scanner::default(), 0, 0);
    while seen < text.len() {
        seen = (seen + piece).min(text.len());
        while at < seen {
            let (taken, whole) = scanner.feed(&text[at..seen])?;
            at += taken;
            if whole {
                found.push((at, scanner.batch()));
                scanner = Scanner::default();
            } else if taken == 0 {
                break;
            }
        }
    }
    if scanner.finish() {
        found.push((at, scanner.batch()));
    }
    Ok(found)
}
