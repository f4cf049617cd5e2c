//! Flame graphs of folded stacks, by inferno.

use std::io;

use inferno::flamegraph::{
    Options, TextTruncateDirection,
    color::{MultiPalette, Palette},
    from_lines,
};
use uplift_analysis::profile::Stack;

/// Differential counts are picoseconds for each operation; graphs show nanoseconds.
const NANOSECONDS: f64 = 1e-3;
/// What the colours of one profile mean.
pub const COLOURS: &str = "orange: kernel, green-blue: inlined, yellow: Rust or C++, red: the rest";

fn options(title: &str, subtitle: &str, unit: &str) -> Options<'static> {
    let mut options = Options::default();
    options.title = title.to_owned();
    options.subtitle = Some(subtitle.to_owned());
    // Both are one line each, which a narrow window cuts off: smaller letters fit more of them, and the page draws the
    // same stacks at any width.
    options.font_size = 11;
    options.count_name = unit.to_owned();
    options.colors = Palette::Multi(MultiPalette::Java);
    // The same stacks must give the same bytes.
    options.deterministic = true;
    options.text_truncate_direction = TextTruncateDirection::Right;
    options.min_width = 0.05;
    options
}

fn draw(options: &mut Options<'_>, text: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from_lines(options, text.lines(), &mut bytes)?;
    Ok(bytes)
}

/// One profile. Kernel frames are orange, inlined ones green-blue, Rust yellow, the rest red.
///
/// # Errors
/// Where there is nothing to draw.
pub fn one(title: &str, subtitle: &str, unit: &str, stacks: &[Stack]) -> io::Result<Vec<u8>> {
    let text: String = stacks.iter().map(|stack| format!("{} {}\n", stack.line(), stack.count)).collect();
    draw(&mut options(title, subtitle, unit), &text)
}

/// One profile whose counts are nanoseconds; `factor` turns them into microseconds (1e-3).
///
/// # Errors
/// Where there is nothing to draw.
pub fn times(title: &str, subtitle: &str, stacks: &[Stack], factor: f64) -> io::Result<Vec<u8>> {
    let text: String = stacks.iter().map(|stack| format!("{} {}\n", stack.line(), stack.count)).collect();
    let mut options = options(title, subtitle, "us");
    options.factor = factor;
    draw(&mut options, &text)
}

/// Two profiles, frames as wide as they are in the second: what is new shows, what vanished does not. `sampler` is what
/// sampled them.
///
/// # Errors
/// Where there is nothing to draw.
pub fn after(what: &str, sampler: &str, text: &str) -> io::Result<Vec<u8>> {
    let subtitle = format!("CPU time for each operation; widths after the change, red grew, blue shrank; {sampler}");
    differential(what, &subtitle, text)
}

/// Two profiles in picoseconds, frames as wide as they are in the second and coloured by what grew from the first.
///
/// # Errors
/// Where there is nothing to draw.
pub fn differential(what: &str, subtitle: &str, text: &str) -> io::Result<Vec<u8>> {
    let mut options = options(what, subtitle, "ns/op");
    options.factor = NANOSECONDS;
    draw(&mut options, text)
}

/// Two profiles, frames as wide as they are in the first: what vanished shows.
///
/// # Errors
/// Where there is nothing to draw.
pub fn before(what: &str, sampler: &str, text: &str) -> io::Result<Vec<u8>> {
    let subtitle =
        format!("CPU time for each operation; widths before the change, red will grow, blue will shrink; {sampler}");
    let mut options = options(what, &subtitle, "ns/op");
    options.factor = NANOSECONDS;
    options.negate_differentials = true;
    draw(&mut options, &swapped(text))
}

/// Two profiles in thousandths of a byte for each operation, frames as wide as they are in the second, or with `before` as
/// they are in the first.
///
/// # Errors
/// Where there is nothing to draw.
pub fn bytes(what: &str, before: bool, text: &str) -> io::Result<Vec<u8>> {
    let when = if before {
        "before the change, red will grow, blue will shrink"
    } else {
        "after the change, red grew, blue shrank"
    };
    let mut options = options(what, &format!("bytes allocated for each operation; widths {when}"), "B/op");
    options.factor = 1e-3;
    options.negate_differentials = before;
    if before { draw(&mut options, &swapped(text)) } else { draw(&mut options, text) }
}

/// `stack a b` → `stack b a`.
fn swapped(text: &str) -> String {
    text.lines()
        .filter_map(|line| {
            let (rest, second) = line.rsplit_once(' ')?;
            let (stack, first) = rest.rsplit_once(' ')?;
            Some(format!("{stack} {second} {first}\n"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_spaces_survive_the_swap() {
        assert_eq!(swapped("a;<T as U>::f(u8, u16) 1 20\n"), "a;<T as U>::f(u8, u16) 20 1\n");
    }
}
