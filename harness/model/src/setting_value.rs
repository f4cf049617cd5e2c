//! Values of settings as texts, compared as what they mean.

use crate::duration::HumanDuration;

/// What a target appends to a value in force that it chose itself, because the scenario left the choice to it with a
/// number that is no value, such as 0.
pub const AUTOMATIC: &str = " (automatic)";

/// Whether two texts are the same value: equal but for case, or the same number, duration, size or truth.
pub fn same_value(a: &str, b: &str) -> bool {
    let (a, b) = (value_of(a), value_of(b));
    let both = |a: Option<f64>, b: Option<f64>| matches!((a, b), (Some(a), Some(b)) if a == b);
    a.eq_ignore_ascii_case(b)
        || both(number(a), number(b))
        || both(size(a), size(b))
        || matches!((duration(a), duration(b)), (Some(a), Some(b)) if a == b)
        || matches!((truth(a), truth(b)), (Some(a), Some(b)) if a == b)
}

/// Whether a scenario that asks for `asked` got what it asked for with `in_force`.
pub fn is_granted(asked: &str, in_force: &str) -> bool {
    // The choice was left to the target, in a word or with the number that stands for it.
    let left_open = asked.eq_ignore_ascii_case("auto")
        || (in_force.ends_with(AUTOMATIC) && (number(asked) == Some(0.0) || asked.is_empty()));
    left_open || same_value(asked, in_force)
}

fn value_of(text: &str) -> &str {
    text.strip_suffix(AUTOMATIC).unwrap_or(text).trim()
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn duration(text: &str) -> Option<HumanDuration> {
    text.parse().ok()
}

/// Bytes: `64MiB`, `64m`, `65536 kB` (binary, as the systems here mean them).
fn size(text: &str) -> Option<f64> {
    let digits = text.find(|character: char| !(character.is_ascii_digit() || character == '.')).unwrap_or(text.len());
    let (count, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return None,
    };
    Some(number(count)? * 1024f64.powi(power))
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" => Some(true),
        "false" | "off" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_and_not_their_texts() {
        for (a, b) in [
            ("60s", "1m"),
            ("1500ms", "1s 500ms"),
            ("5", "5.0"),
            ("WAL", "wal"),
            ("64MiB", "67108864"),
            ("64m", "65536 kB"),
            ("true", "on"),
            ("6 (automatic)", "6"),
        ] {
            assert!(same_value(a, b) && same_value(b, a), "{a} is {b}");
        }
        for (a, b) in [("60s", "60"), ("1m", "1s"), ("NORMAL", "WAL"), ("0", "6"), ("64MiB", "64MB2"), ("inf", "nan")] {
            assert!(!same_value(a, b), "{a} is not {b}");
        }
    }

    #[test]
    fn what_was_left_to_the_target_is_granted() {
        assert!(is_granted("auto", "6") && is_granted("0", "6 (automatic)") && is_granted("6", "6 (automatic)"));
        assert!(!is_granted("0", "6"), "0 is a value unless the target says that it chose");
        assert!(!is_granted("5", "6 (automatic)"));
    }
}
