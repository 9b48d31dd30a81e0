//! Whether a live object already holds everything that is wanted.

use serde_json::{Map, Number, Value};

/// Lists in which other writers may have entries of their own, in any order.
const SHARED_LISTS: [&str; 2] = ["finalizers", "ownerReferences"];

/// `desired` is a recursive subset of `live`: every key of a map, lists of equal length element by element,
/// equal scalars. Null in `desired` means absent. A zero value (`false`, `0`, `""`, `{}`, `[]`) also matches
/// an absent field, since API servers drop those. Numbers compare by value and quantities by amount.
pub fn is_subset(desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Object(desired), Value::Object(live)) => map_is_subset(desired, live),
        (Value::Array(desired), Value::Array(live)) => list_is_subset(desired, live),
        (Value::Null, live) => live.is_null(),
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::String(a), Value::String(b)) => a == b || same_quantity(a, b),
        (Value::Number(a), Value::String(b)) => same_quantity(&a.to_string(), b),
        (desired, Value::Null) => is_zero(desired),
        (desired, live) => desired == live,
    }
}

fn map_is_subset(desired: &Map<String, Value>, live: &Map<String, Value>) -> bool {
    desired.iter().all(|(key, wanted)| match (live.get(key), wanted) {
        (None, wanted) => is_zero(wanted),
        (Some(Value::Array(live)), Value::Array(wanted)) if SHARED_LISTS.contains(&key.as_str()) => wanted
            .iter()
            .all(|item| live.iter().any(|other| is_subset(item, other))),
        (Some(live), wanted) => is_subset(wanted, live),
    })
}

fn list_is_subset(desired: &[Value], live: &[Value]) -> bool {
    desired.len() == live.len()
        && desired
            .iter()
            .zip(live)
            .all(|(wanted, live)| is_subset(wanted, live))
}

/// What an API server may leave out of its answer.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_zero),
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    a == b || (a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64()
}

/// Quantities are rewritten by the API server to their canonical form: `1000m` comes back as `1`.
fn same_quantity(a: &str, b: &str) -> bool {
    a == b || matches!((quantity(a), quantity(b)), (Some(a), Some(b)) if a == b)
}

/// The amount in units of 10^-9, exactly; none if this is no quantity or does not fit.
fn quantity(text: &str) -> Option<i128> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && !matches!(c, '.' | '+' | '-'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|b| b.is_ascii_digit()) || number.is_empty() {
        return None;
    }
    let nanos = format!("{whole}{fraction:0<9}").parse::<i128>().ok()?;
    let (multiply, divide) = scale(suffix)?;
    let scaled = nanos.checked_mul(multiply)?;
    (scaled % divide == 0).then_some(scaled / divide)
}

fn scale(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => return None,
    })
}
