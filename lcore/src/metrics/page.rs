//! The page of metrics: Prometheus' text format, version 0.0.4.

use std::fmt::Write;

use statistics::{Family, Labels, Seconds, Value};

/// What the page is, for who asks.
pub(super) const TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All families as text.
pub(super) fn text(families: &[Family]) -> String {
    let mut page = String::new();
    for family in families {
        let (figure, name) = (&family.figure, family.figure.name);
        push(&mut page, format_args!("# HELP {name} {}\n", escape(figure.help(), false)));
        push(&mut page, format_args!("# TYPE {name} {}\n", figure.kind.name()));
        for sample in &family.samples {
            let labels = labels(&sample.labels);
            match &sample.value {
                Value::Number(_) => push(&mut page, format_args!("{name}{} {}\n", braced(&labels), sample.text(figure))),
                Value::Times(times) => {
                    let comma = if labels.is_empty() { "" } else { "," };
                    for (up_to_ns, count) in times.cumulative().filter(|(up_to_ns, _)| *up_to_ns < u64::MAX) {
                        push(&mut page, format_args!("{name}_bucket{{{labels}{comma}le=\"{}\"}} {count}\n", Seconds(up_to_ns)));
                    }
                    push(&mut page, format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}\n", times.count()));
                    push(&mut page, format_args!("{name}_sum{} {}\n", braced(&labels), Seconds(times.sum_ns)));
                    push(&mut page, format_args!("{name}_count{} {}\n", braced(&labels), times.count()));
                }
            }
        }
    }
    page
}

fn push(page: &mut String, line: std::fmt::Arguments<'_>) {
    // A string takes whatever is written.
    let _ = page.write_fmt(line);
}

fn labels(labels: &Labels) -> String {
    labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value, true))).collect::<Vec<_>>().join(",")
}

fn braced(labels: &str) -> String {
    if labels.is_empty() { String::new() } else { format!("{{{labels}}}") }
}

/// What stands in a line of its own, or between quotes.
fn escape(text: &str, is_quoted: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if is_quoted => escaped.push_str("\\\""),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use statistics::{Samples, Times, families, stats};

    struct Three;

    impl From<&Three> for Value {
        fn from(_: &Three) -> Self {
            Self::Times(Times { sum_ns: 2_500_000_000, buckets: vec![(64, 1), (1_000_000_000, 1), (u64::MAX, 1)] })
        }
    }

    stats! {
        /// Of three kinds.
        struct Kinds {
            /// Said with a \ in it.
            said: u64 => counter("a_total"),
            /// Nanoseconds.
            longest_ns: u64 => peak_ns("b_seconds"),
            /// Times.
            times: Three => histogram_ns("c_seconds"),
        }
    }

    #[test]
    fn s189_a_page_has_help_type_and_escaped_labels() {
        let kinds = Kinds { said: u64::MAX, longest_ns: 1_000_001, times: Three };
        let mut samples = Samples::of_all();
        samples.add(&[("core", &3), ("thread", &"a \"b\" \\ \n é")], &kinds);
        samples.add(&[], &kinds);
        let (of, le) = (r#"{core="3",thread="a \"b\" \\ \n é"}"#, r#"{core="3",thread="a \"b\" \\ \n é",le="#);
        let page = format!(
            "# HELP a_total Said with a \\\\ in it.\n# TYPE a_total counter\na_total 18446744073709551615\na_total{of} 18446744073709551615\n\
             # HELP b_seconds Nanoseconds.\n# TYPE b_seconds gauge\nb_seconds 0.001000001\nb_seconds{of} 0.001000001\n\
             # HELP c_seconds Times.\n# TYPE c_seconds histogram\n\
             c_seconds_bucket{{le=\"0.000000064\"}} 1\nc_seconds_bucket{{le=\"1\"}} 2\nc_seconds_bucket{{le=\"+Inf\"}} 3\n\
             c_seconds_sum 2.5\nc_seconds_count 3\n\
             c_seconds_bucket{le}\"0.000000064\"}} 1\nc_seconds_bucket{le}\"1\"}} 2\nc_seconds_bucket{le}\"+Inf\"}} 3\n\
             c_seconds_sum{of} 2.5\nc_seconds_count{of} 3\n"
        );
        assert_eq!(text(&families(samples)), page);
    }
}
