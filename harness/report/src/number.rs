//! Numbers as people read them.

use uplift_model::{MetricClass, Unit};

/// Four significant digits without an exponent, with thin grouping of thousands.
pub fn significant(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return "n/a".to_owned();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if magnitude < -4 {
        return format!("{value:.2e}");
    }
    let digits = usize::try_from((3 - magnitude).max(0)).unwrap_or(0);
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    group_thousands(&text)
}

/// A number for the tick of an axis: `500`, `20k`, `1.5M`.
pub fn compact(value: f64) -> String {
    for (size, suffix) in [(1e9, "G"), (1e6, "M"), (1e4, "k")] {
        if value.abs() >= size {
            let divisor = if suffix == "k" { 1e3 } else { size };
            return format!("{}{suffix}", significant(value / divisor));
        }
    }
    significant(value)
}

/// Six significant digits, as a program reads them back.
pub fn machine(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { "n/a".to_owned() };
    }
    let magnitude = value.abs().log10().floor() as i32;
    if !(-5..15).contains(&magnitude) {
        return format!("{value:.5e}");
    }
    let digits = usize::try_from((5 - magnitude).max(0)).unwrap_or(0);
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A whole number with its thousands grouped.
pub fn count(value: u64) -> String {
    group_thousands(&value.to_string())
}

fn group_thousands(text: &str) -> String {
    let (sign, rest) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(whole, fraction)| (whole, Some(fraction)));
    if whole.len() <= 4 {
        return text.to_owned();
    }
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{sign}{grouped}.{fraction}"),
        None => format!("{sign}{grouped}"),
    }
}

/// A value with its unit: `1.23 ms`, `298.2 op/s`, `99.84 %`.
pub fn with_unit(value: f64, unit: Unit) -> String {
    let (value, unit) = scaled(value, unit);
    if unit.is_empty() { significant(value) } else { format!("{} {unit}", significant(value)) }
}

/// The ends of a range: `4966 … 6002 op/s`, or `803 ns … 1.2 µs` where they differ in size.
pub fn range([low, high]: [f64; 2], unit: Unit) -> String {
    let ((small, low_unit), (_, high_unit)) = (scaled(low, unit), scaled(high, unit));
    let low = if low_unit == high_unit { significant(small) } else { with_unit(low, unit) };
    format!("{low} … {}", with_unit(high, unit))
}

/// A value and what it lies in: `5749 op/s (4966 … 6002 op/s)`; by itself where that is unknown or a point.
pub fn with_range(value: f64, ends: Option<[f64; 2]>, unit: Unit) -> String {
    match ends {
        Some(ends) if ends[0] != ends[1] => format!("{} ({})", with_unit(value, unit), range(ends, unit)),
        _ => with_unit(value, unit),
    }
}

fn scaled(value: f64, unit: Unit) -> (f64, &'static str) {
    const BINARY: f64 = 1024.0;
    let step = |value: f64, base: f64, names: [&'static str; 4]| {
        let mut value = value;
        for (index, name) in names.into_iter().enumerate() {
            if value.abs() < base || index == 3 {
                return (value, name);
            }
            value /= base;
        }
        (value, names[3])
    };
    match unit {
        Unit::Nanoseconds => step(value, 1000.0, ["ns", "µs", "ms", "s"]),
        Unit::NanosecondsPerOp => step(value, 1000.0, ["ns/op", "µs/op", "ms/op", "s/op"]),
        Unit::Seconds => (value, "s"),
        Unit::Bytes => step(value, BINARY, ["B", "KiB", "MiB", "GiB"]),
        Unit::BytesPerOp => step(value, BINARY, ["B/op", "KiB/op", "MiB/op", "GiB/op"]),
        Unit::BytesPerSecond => step(value, BINARY, ["B/s", "KiB/s", "MiB/s", "GiB/s"]),
        Unit::Ratio => (value * 100.0, "%"),
        Unit::OpsPerSecond | Unit::Count | Unit::CountPerOp | Unit::CountPerSecond | Unit::Cores => {
            (value, unit.symbol())
        }
    }
}

/// A change with its sign: `+35.1 %`; differences of proportions in points. Where hardly anything is left, or hardly
/// anything changed, there are digits enough to see it.
pub fn change(value: f64, class: MetricClass) -> String {
    let percent = value * 100.0;
    if class == MetricClass::Proportion {
        return signed(percent, 2, "pt");
    }
    if percent >= 1000.0 {
        return format!("×{}", significant(1.0 + value));
    }
    // Two digits of what is left, or of what changed.
    let small = if percent <= -99.0 { 100.0 + percent } else { percent.abs() };
    let digits = if small > 0.0 { 1.0 - small.log10().floor() } else { 1.0 };
    let is_small = percent <= -99.0 || (0.0005..0.05).contains(&percent.abs());
    let digits = if is_small { digits.clamp(1.0, 4.0) as usize } else { 1 };
    signed(percent, digits, "%")
}

/// A figure with its sign; what rounds to nothing has that of nothing.
fn signed(value: f64, digits: usize, unit: &str) -> String {
    let text = format!("{value:+.digits$} {unit}");
    if text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) { text } else { text.replace('-', "+") }
}

/// An interval of a change: `[+31.0 %, +39.2 %]`.
pub fn change_interval(interval: [f64; 2], class: MetricClass) -> String {
    format!("[{}, {}]", change(interval[0], class), change(interval[1], class))
}

/// A duration in nanoseconds.
pub fn nanoseconds(ns: u64) -> String {
    with_unit(ns as f64, Unit::Nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!(significant(220.84), "220.8");
        assert_eq!(significant(1_234_567.0), "1,234,567");
        assert_eq!(significant(0.000_012), "1.20e-5");
        assert_eq!(significant(0.0994), "0.0994");
        assert_eq!(with_unit(52_540_000.0, Unit::Nanoseconds), "52.54 ms");
        assert_eq!(with_unit(0.9984, Unit::Ratio), "99.84 %");
        assert_eq!(with_unit(1536.0, Unit::BytesPerOp), "1.5 KiB/op");
        assert_eq!(change(0.351, MetricClass::Time), "+35.1 %");
        assert_eq!(change(24.0, MetricClass::Time), "×25");
        assert_eq!(change(0.0018, MetricClass::Proportion), "+0.18 pt");
    }

    #[test]
    fn a_range_names_its_unit_once_if_it_has_one() {
        assert_eq!(range([4966.0, 6002.0], Unit::OpsPerSecond), "4966 … 6002 op/s");
        assert_eq!(range([803.0, 1200.0], Unit::Nanoseconds), "803 ns … 1.2 µs");
        assert_eq!(with_range(1.5, Some([1.0, 2.0]), Unit::Count), "1.5 (1 … 2)");
        assert_eq!(with_range(5.0, Some([5.0, 5.0]), Unit::OpsPerSecond), "5 op/s");
        assert_eq!(with_range(5.0, None, Unit::OpsPerSecond), "5 op/s");
    }

    /// 17.18 ms → 3.8 µs is not "-100.0 %", and nothing is not "-0.0 %".
    #[test]
    fn changes_keep_the_digits_that_matter() {
        for (value, wanted) in [
            (-0.999_778, "-99.978 %"),
            (-0.9912, "-99.12 %"),
            (-0.99, "-99.0 %"),
            (-1.0, "-100.0 %"),
            (-0.987, "-98.7 %"),
            (0.0, "+0.0 %"),
            (-0.0, "+0.0 %"),
            (-0.0003, "-0.030 %"),
            (-0.000_000_01, "+0.0 %"),
            (0.0005, "+0.1 %"),
        ] {
            assert_eq!(change(value, MetricClass::Time), wanted, "{value}");
        }
        assert_eq!(change(-0.000_001, MetricClass::Proportion), "+0.00 pt");
    }
}
