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
    let svg = String::from_utf8(bytes).map_err(io::Error::other)?;
    Ok(headed(&svg, &options.title, options.subtitle.as_deref().unwrap_or_default()).into_bytes())
}

/// Characters of a line of the title and of the subtitle: what a phone is wide enough for.
const TITLE_CHARACTERS: usize = 40;
const SUBTITLE_CHARACTERS: usize = 48;
/// Heights of their lines, and where the first begins: below the words that can be clicked.
const TITLE_LINE: u32 = 18;
const SUBTITLE_LINE: u32 = 15;
const HEAD: u32 = 18;
/// Where inferno draws the highest frames, given a subtitle.
const FRAMES_FROM: u32 = 60;

/// The graph with a head that is legible at any width: inferno writes title and subtitle as one line each, which a narrow
/// window cuts off at both ends, and over the words that can be clicked.
fn headed(svg: &str, title: &str, subtitle: &str) -> String {
    let (titles, subtitles) = (wrapped(title, TITLE_CHARACTERS), wrapped(subtitle, SUBTITLE_CHARACTERS));
    let wanted = HEAD + titles.len() as u32 * TITLE_LINE + subtitles.len() as u32 * SUBTITLE_LINE + 8;
    let shift = wanted.saturating_sub(FRAMES_FROM);
    // What comes before the frames; text of frames stays as it is.
    let Some((head, frames)) = svg.split_once("<svg id=\"frames\"") else { return svg.to_owned() };
    let Some(height) = value_of(head, "<svg ", "height") else { return svg.to_owned() };
    let mut head = head
        .replace(&format!("height=\"{height}\""), &format!("height=\"{}\"", height + shift))
        .replace(&format!("viewBox=\"0 0 1200 {height}\""), &format!("viewBox=\"0 0 1200 {}\"", height + shift))
        .replace("#title { text-anchor:middle; font-size:17px; }", "#title { text-anchor:middle; font-size:14px; }")
        .replace("#search { text-anchor:end; opacity:0.1;", "#search { text-anchor:end; opacity:0.6;");
    for (id, y) in [("details", height - 17 + shift), ("matched", height - 17 + shift), ("unzoom", 14), ("search", 14)]
    {
        head = with_y(&head, id, y);
    }
    head = with_lines(&head, "title", &titles, HEAD + 14, TITLE_LINE);
    head = with_lines(&head, "subtitle", &subtitles, HEAD + titles.len() as u32 * TITLE_LINE + 12, SUBTITLE_LINE);
    // In one piece as well, for who does not see it.
    let whole = escaped(&format!("{title}; {subtitle}"));
    format!("{head}<desc>{whole}</desc><svg id=\"frames\" y=\"{shift}\"{frames}")
}

/// The whole part of an attribute of the first element that begins so.
fn value_of(text: &str, element: &str, attribute: &str) -> Option<u32> {
    let element = text.split_once(element)?.1.split('>').next()?;
    let value = element.split_once(&format!("{attribute}=\""))?.1.split(['"', '.']).next()?;
    value.parse().ok()
}

/// The element of text with that name at another height.
fn with_y(head: &str, id: &str, y: u32) -> String {
    let start = format!("<text id=\"{id}\"");
    let Some((before, after)) = head.split_once(&start) else { return head.to_owned() };
    let Some((attributes, rest)) = after.split_once(" y=\"") else { return head.to_owned() };
    let Some((_, rest)) = rest.split_once('"') else { return head.to_owned() };
    format!("{before}{start}{attributes} y=\"{y}\"{rest}")
}

/// The element of text with that name made of lines.
fn with_lines(head: &str, id: &str, lines: &[String], y: u32, height: u32) -> String {
    let start = format!("<text id=\"{id}\"");
    let Some((before, after)) = head.split_once(&start) else { return head.to_owned() };
    let Some((_, rest)) = after.split_once("</text>") else { return head.to_owned() };
    let spans: String = lines
        .iter()
        .zip(0..)
        .map(|(line, index)| format!("<tspan x=\"50%\" y=\"{}\">{}</tspan>", y + index * height, escaped(line)))
        .collect();
    format!("{before}{start} fill=\"rgb(0,0,0)\">{spans}</text>{rest}")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Lines of at most so many characters, broken between words; a longer word has a line of its own.
fn wrapped(text: &str, characters: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= characters => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
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

    /// The head is broken into lines that fit a phone, and pushes down what is below it, by as much as it needs.
    #[test]
    fn no_line_of_the_head_is_cut_off_or_written_over() {
        let stacks = uplift_analysis::profile::folded::merge(["client;work;<T as U>::f 20\n"]).unwrap();
        let subtitle = "a sampler & what it saw; ".repeat(8);
        let long = String::from_utf8(one("time: a/scenario, b", &subtitle, "samples", &stacks).unwrap()).unwrap();
        let short = String::from_utf8(one("time: a/scenario, b", "perf", "samples", &stacks).unwrap()).unwrap();
        let height = |svg: &str| value_of(svg, "<svg ", "height").unwrap();
        let spans = |svg: &str| -> Vec<(u32, usize)> {
            svg.split("<tspan")
                .skip(1)
                .map(|span| (value_of(span, " ", "y").unwrap(), span.split(['>', '<']).nth(1).unwrap().len()))
                .collect()
        };
        let lines = spans(&long);
        assert!(lines.len() >= 5, "{lines:?}");
        assert!(lines.windows(2).all(|pair| pair[0].0 + 12 <= pair[1].0), "{lines:?}");
        // An ampersand is four characters longer when it is written.
        assert!(lines.iter().all(|(_, length)| *length <= SUBTITLE_CHARACTERS + 4 * 5), "{lines:?}");
        assert!(lines[0].0 >= value_of(&long, "<text id=\"search\"", " y").unwrap() + 14, "{lines:?}");
        let shift = value_of(&long, "<svg id=\"frames\"", " y").unwrap();
        assert!(shift + FRAMES_FROM > lines.last().unwrap().0, "frames begin below the last line");
        assert_eq!(height(&long) - height(&short), shift - value_of(&short, "<svg id=\"frames\"", " y").unwrap());
        assert!(value_of(&long, "<text id=\"details\"", " y").unwrap() < height(&long));
        assert_eq!(long.matches(&format!("\"0 0 1200 {}\"", height(&long))).count(), 1);
    }
}
