//! Numbers and names as people read them.

/// Without what would move a terminal's cursor: names are an application's, which may be anybody's.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|it| if it.is_control() || is_invisible(it) { '\u{fffd}' } else { it }).collect()
}

/// Marks that turn the direction of what follows, and the like.
fn is_invisible(it: char) -> bool {
    matches!(it, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// With a comma for each thousand.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let head = digits.len() % 3;
    let groups = digits.as_bytes()[head..].chunks(3);
    let first = (head > 0).then_some(&digits.as_bytes()[..head]);
    let groups: Vec<_> = first.into_iter().chain(groups).map(|group| String::from_utf8_lossy(group)).collect();
    groups.join(",")
}

/// A number that need not be whole.
pub(crate) fn number(number: f64) -> String {
    let whole = number.abs() >= 100.0 || number.fract() == 0.0;
    match number {
        // Above this a float has no units any more.
        _ if !number.is_finite() || number.abs() >= 9e15 => format!("{number:e}"),
        _ if whole && number < 0.0 => format!("-{}", count(number.round().abs() as u64)),
        _ if whole => count(number.round() as u64),
        _ if number.abs() >= 10.0 => format!("{number:.1}"),
        _ if number.abs() >= 0.01 => format!("{number:.2}"),
        _ => format!("{number:.2e}"),
    }
}

/// A part of the whole as a percentage.
pub(crate) fn share(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// A time, in the unit that suits it.
pub(crate) fn time(seconds: f64) -> String {
    let units = [(1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")];
    let (scale, unit) = units.into_iter().find(|(scale, _)| seconds >= *scale * 0.9995).unwrap_or(units[3]);
    let amount = seconds / scale;
    let digits = if unit == "ns" || amount >= 99.95 { 0 } else { 1 };
    format!("{amount:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        let counts = [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456"), (u64::MAX, "18,446,744,073,709,551,615")];
        counts.into_iter().for_each(|(it, text)| assert_eq!(count(it), text));
        let numbers = [(0.0, "0"), (0.004, "4.00e-3"), (0.25, "0.25"), (12.34, "12.3"), (99.96, "100.0"), (1234.5, "1,235"), (2.0, "2")];
        numbers.into_iter().for_each(|(it, text)| assert_eq!(number(it), text));
        assert_eq!((number(-1.0), number(-1234.4), number(1e16)), ("-1".into(), "-1,234".into(), "1e16".into()));
    }

    #[test]
    fn times_have_units() {
        let times =
            [(0.0, "0 ns"), (2e-9, "2 ns"), (1e-6, "1.0 µs"), (0.004, "4.0 ms"), (0.25, "250 ms"), (61.0, "61.0 s"), (999.96e-6, "1.0 ms")];
        times.into_iter().for_each(|(it, text)| assert_eq!(time(it), text));
        assert_eq!(share(0.1234), "12.3");
    }

    #[test]
    fn names_move_no_cursor() {
        assert_eq!(plain("a\x1b[2J\nb\u{202e}c\u{9b}é"), "a�[2J�b�c�é");
    }
}
