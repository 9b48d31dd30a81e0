//! Reads Kubernetes quantities of memory. Pure.

/// How many bytes a quantity such as `512Mi` or `1.5G` is, rounded down. None where it is no such quantity.
#[must_use]
pub fn bytes(quantity: &str) -> Option<u64> {
    let end = quantity.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = quantity.split_at(end.unwrap_or(quantity.len()));
    let unit = unit(suffix)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u64 = whole.parse().ok()?;
    let fraction = fraction_of(fraction, unit)?;
    whole.checked_mul(unit)?.checked_add(fraction)
}

fn unit(suffix: &str) -> Option<u64> {
    let power = |base: u64, exponent| base.checked_pow(exponent);
    match suffix {
        "" => Some(1),
        "k" => power(1000, 1),
        "M" => power(1000, 2),
        "G" => power(1000, 3),
        "T" => power(1000, 4),
        "P" => power(1000, 5),
        "Ki" => power(1024, 1),
        "Mi" => power(1024, 2),
        "Gi" => power(1024, 3),
        "Ti" => power(1024, 4),
        "Pi" => power(1024, 5),
        _ => None,
    }
}

/// At most six digits count: more are less than a byte of any memory there is.
fn fraction_of(digits: &str, unit: u64) -> Option<u64> {
    let digits = digits.get(..digits.len().min(6))?;
    if digits.is_empty() {
        return Some(0);
    }
    let scale = 10_u64.checked_pow(u32::try_from(digits.len()).ok()?)?;
    let part: u64 = digits.parse().ok()?;
    u64::try_from(u128::from(part) * u128::from(unit) / u128::from(scale)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_all_the_units_that_people_write() {
        assert_eq!(bytes("536870912"), Some(512 << 20));
        assert_eq!(bytes("512Mi"), Some(512 << 20));
        assert_eq!(bytes("1.5Gi"), Some(1536 << 20));
        assert_eq!(bytes("2G"), Some(2_000_000_000));
        assert_eq!(bytes("128k"), Some(128_000));
    }

    #[test]
    fn what_is_no_amount_of_memory_is_none() {
        for text in ["", "Mi", "-1", "1x", "1.2.3", "100m", "99999999999Pi", "1e3", "ü"] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
