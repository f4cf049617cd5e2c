//! Numbers as people read them.

use uplift_model::{MetricClass, Unit, verdict::Estimate};

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
    Scale::of([value], unit).show(value)
}

/// The ends of a range: `4966 … 6002 op/s`.
pub fn range(ends: [f64; 2], unit: Unit) -> String {
    Scale::of(ends, unit).range(ends)
}

/// A value and what it lies in: `5749 op/s (4966 … 6002 op/s)`; by itself where that is unknown or a point.
pub fn with_range(value: f64, ends: Option<[f64; 2]>, unit: Unit) -> String {
    Scale::of(ends.into_iter().flatten().chain([value]), unit).with_range(value, ends)
}

/// The unit in which the values of one row are shown: what is compared has one.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    divisor: f64,
    name: &'static str,
}

impl Scale {
    /// The unit for `values`: that of the largest, unless the smallest would be too small a part of it to be read.
    pub fn of(values: impl IntoIterator<Item = f64>, unit: Unit) -> Self {
        const BINARY: f64 = 1024.0;
        let (base, names): (f64, [&'static str; 4]) = match unit {
            Unit::Nanoseconds => (1e3, ["ns", "µs", "ms", "s"]),
            Unit::NanosecondsPerOp => (1e3, ["ns/op", "µs/op", "ms/op", "s/op"]),
            Unit::Bytes => (BINARY, ["B", "KiB", "MiB", "GiB"]),
            Unit::BytesPerOp => (BINARY, ["B/op", "KiB/op", "MiB/op", "GiB/op"]),
            Unit::BytesPerSecond => (BINARY, ["B/s", "KiB/s", "MiB/s", "GiB/s"]),
            Unit::Seconds => return Self { divisor: 1.0, name: "s" },
            Unit::Ratio => return Self { divisor: 0.01, name: "%" },
            Unit::OpsPerSecond | Unit::Count | Unit::CountPerOp | Unit::CountPerSecond | Unit::Cores => {
                return Self { divisor: 1.0, name: unit.symbol() };
            }
        };
        let sizes: Vec<f64> = values.into_iter().map(f64::abs).filter(|size| *size > 0.0 && size.is_finite()).collect();
        let largest = sizes.iter().copied().fold(0.0, f64::max);
        let smallest = sizes.iter().copied().fold(f64::INFINITY, f64::min);
        let mut step = (0..3).find(|step| largest < base.powi(step + 1)).unwrap_or(3);
        while step > 0 && smallest < READABLE_MIN * base.powi(step) {
            step -= 1;
        }
        Self { divisor: base.powi(step), name: names[step as usize] }
    }

    /// The unit for estimates: that of their medians, or of their intervals where no median has a size.
    pub fn of_estimates<'a>(estimates: impl IntoIterator<Item = &'a Estimate>, unit: Unit) -> Self {
        let estimates: Vec<&Estimate> = estimates.into_iter().collect();
        if estimates.iter().any(|one| one.median != 0.0) {
            return Self::of(estimates.iter().map(|one| one.median), unit);
        }
        Self::of(estimates.iter().filter_map(|one| one.ci).flatten(), unit)
    }

    /// `1.23 ms`
    pub fn show(self, value: f64) -> String {
        let number = significant(value / self.divisor);
        if self.name.is_empty() { number } else { format!("{number} {}", self.name) }
    }

    /// `4966 … 6002 op/s`
    pub fn range(self, [low, high]: [f64; 2]) -> String {
        format!("{} … {}", significant(low / self.divisor), self.show(high))
    }

    /// `5749 op/s (4966 … 6002 op/s)`; the value alone where its ends are unknown or a point.
    pub fn with_range(self, value: f64, ends: Option<[f64; 2]>) -> String {
        match ends {
            Some(ends) if ends[0] != ends[1] => format!("{} ({})", self.show(value), self.range(ends)),
            _ => self.show(value),
        }
    }
}

/// A smaller part of a unit is not read at a glance.
const READABLE_MIN: f64 = 0.001;

/// A change with its sign: `+35.1 %`; differences of proportions in points. Where hardly anything is left, or hardly
/// anything changed, there are digits enough to see it.
pub fn change(value: f64, class: MetricClass) -> String {
    let [shown] = changes([value], class);
    shown
}

/// An interval of a change: `[+31.0 %, +39.2 %]`.
pub fn change_interval(interval: [f64; 2], class: MetricClass) -> String {
    let [low, high] = changes(interval, class);
    format!("[{low}, {high}]")
}

/// A change and its interval, in one form and with the same digits; `None` for what there is none of.
pub fn change_with_interval(
    value: Option<f64>,
    interval: Option<[f64; 2]>,
    class: MetricClass,
) -> (Option<String>, Option<String>) {
    match (value, interval) {
        (Some(value), Some([low, high])) => {
            let [value, low, high] = changes([value, low, high], class);
            (Some(value), Some(format!("[{low}, {high}]")))
        }
        (value, interval) => {
            (value.map(|value| change(value, class)), interval.map(|interval| change_interval(interval, class)))
        }
    }
}

/// Changes that belong together. A share of more than ten times is a factor, and then all of them are.
fn changes<const N: usize>(values: [f64; N], class: MetricClass) -> [String; N] {
    let percents = values.map(|value| value * 100.0);
    if class == MetricClass::Proportion {
        return percents.map(|percent| signed(percent, 2, "pt"));
    }
    if percents.iter().any(|percent| *percent >= 1000.0) {
        return values.map(|value| format!("×{}", significant(1.0 + value)));
    }
    let digits = percents.iter().map(|percent| digits_of(*percent)).max().unwrap_or(1);
    percents.map(|percent| signed(percent, digits, "%"))
}

/// Two digits of what is left, or of what changed.
fn digits_of(percent: f64) -> usize {
    let small = if percent <= -99.0 { 100.0 + percent } else { percent.abs() };
    let digits = if small > 0.0 { 1.0 - small.log10().floor() } else { 1.0 };
    let is_small = percent <= -99.0 || (0.0005..0.05).contains(&percent.abs());
    if is_small { digits.clamp(1.0, 4.0) as usize } else { 1 }
}

/// A figure with its sign; what rounds to nothing has that of nothing.
fn signed(value: f64, digits: usize, unit: &str) -> String {
    let mut text = format!("{value:+.digits$} {unit}");
    // What is left is not nothing: a change that is no whole one is cut off, and not rounded up to one.
    if unit == "%" && value > -100.0 && text.starts_with("-100") {
        text = format!("-99.{:9<digits$} {unit}", "");
    }
    if text.bytes().any(|byte| (b'1'..=b'9').contains(&byte)) { text } else { text.replace('-', "+") }
}

/// A p value.
pub fn p_value(p: f64) -> String {
    if p < 0.0001 { "<0.0001".to_owned() } else { format!("{p:.4}") }
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
        assert_eq!(range([803.0, 1200.0], Unit::Nanoseconds), "0.803 … 1.2 µs");
        assert_eq!(with_range(1.5, Some([1.0, 2.0]), Unit::Count), "1.5 (1 … 2)");
        assert_eq!(with_range(5.0, Some([5.0, 5.0]), Unit::OpsPerSecond), "5 op/s");
        assert_eq!(with_range(5.0, None, Unit::OpsPerSecond), "5 op/s");
    }

    /// 17.18 ms → 3.8 µs is not "-100.0 %", and nothing is not "-0.0 %".
    #[test]
    fn what_is_compared_has_one_unit_and_one_number_of_digits() {
        let shown = |value, interval| {
            let (value, interval) = change_with_interval(Some(value), Some(interval), MetricClass::Time);
            format!("{} {}", value.unwrap(), interval.unwrap())
        };
        assert_eq!(shown(27.76, [7.202, 99.8]), "×28.76 [×8.202, ×100.8]");
        assert_eq!(shown(-0.999_999, [-1.0, -0.9999]), "-99.9999 % [-100.0000 %, -99.9900 %]");
        assert_eq!(shown(0.351, [0.31, 0.392]), "+35.1 % [+31.0 %, +39.2 %]");
        let scale = Scale::of([15.94e6, 345.9e3], Unit::Nanoseconds);
        assert_eq!((scale.show(15.94e6), scale.show(345.9e3)), ("15.94 ms".to_owned(), "0.3459 ms".to_owned()));
        let scale = Scale::of([15e9, 160.0], Unit::Nanoseconds);
        assert_eq!((scale.show(15e9), scale.show(160.0)), ("15,000,000 µs".to_owned(), "0.16 µs".to_owned()));
        let rough = [0.0, 3.22e6].map(|end| Estimate { median: 0.0, ci: Some([0.0, end]), n: 6 });
        let scale = Scale::of_estimates(&rough, Unit::Nanoseconds);
        assert_eq!(scale.with_range(0.0, rough[1].ci), "0 ms (0 … 3.22 ms)");
        let scale = Scale::of([0.0, 2e6], Unit::Nanoseconds);
        assert_eq!((scale.show(0.0), scale.show(2e6)), ("0 ms".to_owned(), "2 ms".to_owned()));
    }

    /// A change of everything but a trifle is none of everything, however small the trifle; and all of it is -100 %.
    #[test]
    fn what_is_left_is_never_rounded_away() {
        for (value, wanted) in [(-0.999_999_9, "-99.9999 %"), (-1.0 + 1e-12, "-99.9999 %"), (-1.0, "-100.0 %")] {
            assert_eq!(change(value, MetricClass::Time), wanted, "{value}");
        }
        let (value, interval) = change_with_interval(Some(-1.0), Some([-1.0, -1.0]), MetricClass::Time);
        assert_eq!((value.unwrap(), interval.unwrap()), ("-100.0 %".to_owned(), "[-100.0 %, -100.0 %]".to_owned()));
        let (value, interval) = change_with_interval(Some(-1.0), Some([-1.0, -0.87]), MetricClass::Counter);
        assert_eq!((value.unwrap(), interval.unwrap()), ("-100.0 %".to_owned(), "[-100.0 %, -87.0 %]".to_owned()));
        // One that is not whole beside ends that are: all have the digits of the one that needs most.
        let (value, interval) = change_with_interval(Some(-0.999_9), Some([-1.0, -0.9998]), MetricClass::Time);
        assert_eq!((value.unwrap(), interval.unwrap()), ("-99.990 %".to_owned(), "[-100.000 %, -99.980 %]".to_owned()));
    }

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
