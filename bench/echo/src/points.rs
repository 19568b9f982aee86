//! The points at which servers are compared: connections, depth, size, idle connections.

use std::fmt;

use serde::Serialize;

/// One load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Point {
    /// Connections that send all the time.
    pub(crate) connections: u32,
    /// Messages on the way on each.
    pub(crate) depth: u32,
    /// Bytes of a message.
    pub(crate) size: u32,
    /// Connections that do nothing meanwhile.
    pub(crate) idle: u32,
}

const fn point(connections: u32, depth: u32, size: u32, idle: u32) -> Point {
    Point { connections, depth, size, idle }
}

/// The points of a full run.
pub(crate) fn all() -> Vec<Point> {
    [(1, 1, 64, 0), (64, 1, 64, 0), (512, 1, 64, 0), (64, 16, 64, 0), (16, 1, 16 << 10, 0), (64, 1, 64, 9_936)]
        .map(|(c, d, s, i)| point(c, d, s, i))
        .to_vec()
}

/// The points of a quick run.
pub(crate) fn quick() -> Vec<Point> {
    vec![point(1, 1, 64, 0), point(512, 1, 64, 0), point(16, 1, 16 << 10, 0)]
}

impl Point {
    /// Open files that a server or the generator needs for it, with some for itself.
    pub(crate) fn files(&self) -> u64 {
        u64::from(self.connections + self.idle) + 64
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            size if size >= 1024 && size.is_multiple_of(1024) => write!(f, "{} KiB", size / 1024)?,
            size => write!(f, "{size} B")?,
        }
        write!(f, ", {}×{}", self.connections, self.depth)?;
        if self.idle > 0 { write!(f, " and {} idle", self.idle) } else { Ok(()) }
    }
}

/// Reads `CONNECTIONSxDEPTH[xSIZE][+IDLE]`.
pub(crate) fn parse(text: &str) -> Result<Point, String> {
    let (load, idle) = text.trim().split_once('+').unwrap_or((text.trim(), "0"));
    let parts: Vec<&str> = load.split('x').collect();
    let (connections, depth, size) = match parts[..] {
        [connections, depth] => (connections, depth, "64"),
        [connections, depth, size] => (connections, depth, size),
        _ => return Err("not CONNECTIONSxDEPTH[xSIZE][+IDLE], such as 64x16 or 16x1x16k".to_owned()),
    };
    let (digits, unit) = size.strip_suffix(['k', 'K']).map_or((size, 1), |digits| (digits, 1024));
    let size = number("the size", digits, 1, (16 << 20) / unit)? * unit;
    let point = point(
        number("the connections", connections, 1, 1 << 20)?,
        number("the depth", depth, 1, 1 << 16)?,
        size,
        number("the idle connections", idle, 0, 1 << 20)?,
    );
    if u64::from(point.depth) * u64::from(point.size) > 16 << 20 {
        return Err("depth times size is more than 16 MiB".to_owned());
    }
    Ok(point)
}

fn number(what: &str, text: &str, least: u32, most: u32) -> Result<u32, String> {
    match text.parse() {
        Ok(n) if (least..=most).contains(&n) => Ok(n),
        _ => Err(format!("{what}, {text:?}, is not a number from {least} to {most}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read() {
        assert_eq!(parse("64x16"), Ok(point(64, 16, 64, 0)));
        assert_eq!(parse("16x1x16k"), Ok(point(16, 1, 16384, 0)));
        assert_eq!(parse(" 64x1x100+9936"), Ok(point(64, 1, 100, 9936)));
    }

    #[test]
    fn a_wrong_point_says_what_is_wrong() {
        for (text, part) in [
            ("", "not CONNECTIONSxDEPTH"),
            ("64", "not CONNECTIONSxDEPTH"),
            ("0x1", "the connections, \"0\""),
            ("1xy", "the depth, \"y\""),
            ("1x1x9999999k", "the size"),
            ("1x1+z", "the idle connections"),
            ("1x65536x1k", "depth times size"),
        ] {
            let why = parse(text).expect_err(text);
            assert!(why.contains(part), "{text:?}: {why}");
        }
    }

    #[test]
    fn points_have_names() {
        let names: Vec<_> = all().iter().map(Point::to_string).collect();
        assert_eq!(names[2..], ["64 B, 512×1", "64 B, 64×16", "16 KiB, 16×1", "64 B, 64×1 and 9936 idle"]);
    }
}
