//! What SPDK's clients take for an answer: `spdk_top` ends without a word at a key too many.
//!
//! `shapes.json` says it for each method: `u` is an unsigned integer, `i` an integer, `s` a string,
//! `b` a boolean; a key with `?` may be left out; where there is a key `...`, others may be there.

use serde_json::Value;

/// Checks the result of a method.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn check(method: &str, result: &Value) -> Result<(), String> {
    let shapes: Value = serde_json::from_str(include_str!("shapes.json")).map_err(|why| why.to_string())?;
    let shape = shapes.get(method).ok_or_else(|| format!("{method}: no shape is known of its result"))?;
    fits(result, shape).map_err(|why| format!("{method}: {why} in {result}"))
}

fn fits(value: &Value, shape: &Value) -> Result<(), String> {
    match (shape, value) {
        (Value::String(kind), _) => of_kind(value, kind),
        (Value::Array(of), Value::Array(values)) => of.first().map_or(Ok(()), |shape| {
            values.iter().enumerate().try_for_each(|(at, value)| fits(value, shape).map_err(|why| format!("[{at}]{why}")))
        }),
        (Value::Object(shape), Value::Object(values)) => {
            let is_known = |key: &str| shape.contains_key(key) || shape.contains_key(&format!("{key}?"));
            for (key, value) in values.iter().filter(|(key, _)| !is_known(key)) {
                let others = shape.get("...").ok_or_else(|| format!(".{key} is a key too many"))?;
                fits(value, others).map_err(|why| format!(".{key}{why}"))?;
            }
            for (key, shape) in shape.iter().filter(|(key, _)| *key != "...") {
                let name = key.trim_end_matches('?');
                match values.get(name) {
                    Some(value) => fits(value, shape).map_err(|why| format!(".{name}{why}"))?,
                    None if name != key => {}
                    None => return Err(format!(".{name} is missing")),
                }
            }
            Ok(())
        }
        _ => Err(" is of another kind".into()),
    }
}

fn of_kind(value: &Value, kind: &str) -> Result<(), String> {
    let is_it = match kind {
        "u" => value.is_u64(),
        "i" => value.is_i64() || value.is_u64(),
        "s" => value.is_string(),
        "b" => value.is_boolean(),
        "any" => true,
        _ => return Err(format!(": a shape {kind:?} is not known")),
    };
    if is_it { Ok(()) } else { Err(format!(" is no {kind}")) }
}
