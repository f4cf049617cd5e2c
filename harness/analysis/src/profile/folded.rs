//! Folded stacks: read and added up.

use std::collections::BTreeMap;

/// A stack with its count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// The thread's group, then the frames, outermost first. `_[k]` ends a kernel frame, `_[i]` an inlined one.
    pub frames: Vec<String>,
    /// Samples, or microseconds.
    pub count: u64,
}

impl Stack {
    /// The line without its count.
    pub fn line(&self) -> String {
        self.frames.join(";")
    }

    /// Whether the thread was in the kernel.
    pub fn in_kernel(&self) -> bool {
        self.frames.last().is_some_and(|frame| is_kernel(frame))
    }
}

/// Whether the frame is the kernel's.
pub fn is_kernel(frame: &str) -> bool {
    frame.ends_with("_[k]")
}

/// Whether the compiler inlined the frame into the one before it.
pub fn is_inlined(frame: &str) -> bool {
    frame.ends_with("_[i]")
}

/// A frame's function, without what the sampler says about it.
pub fn function(frame: &str) -> &str {
    frame.strip_suffix("_[k]").or_else(|| frame.strip_suffix("_[i]")).unwrap_or(frame)
}

/// A line that is no folded stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedError {
    /// Its number, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
}

impl std::fmt::Display for FoldedError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "line {} of the folded stacks has no count: `{}`", self.line, self.text)
    }
}

impl std::error::Error for FoldedError {}

/// Adds folded texts up: every stack once, sorted by its text.
///
/// # Errors
/// The first line that has no count.
pub fn merge<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<Stack>, FoldedError> {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for text in texts {
        for line in lines(text) {
            let (stack, count) = line?;
            *counts.entry(stack).or_insert(0) += count;
        }
    }
    Ok(counts
        .into_iter()
        .map(|(line, count)| Stack { frames: line.split(';').map(str::to_owned).collect(), count })
        .collect())
}

/// The sum of a text's counts.
///
/// # Errors
/// The first line that has no count.
pub fn total(text: &str) -> Result<u64, FoldedError> {
    lines(text).map(|line| line.map(|(_, count)| count)).sum()
}

fn lines(text: &str) -> impl Iterator<Item = Result<(&str, u64), FoldedError>> {
    text.lines().enumerate().filter(|(_, line)| !line.is_empty()).map(|(index, line)| {
        line.rsplit_once(' ')
            .and_then(|(stack, count)| Some((stack, count.parse::<u64>().ok()?)))
            .ok_or_else(|| FoldedError { line: index + 1, text: line.to_owned() })
    })
}

/// Writes stacks as folded text.
pub fn write(stacks: &[Stack]) -> String {
    stacks.iter().map(|stack| format!("{} {}\n", stack.line(), stack.count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_added_up_and_written_again() {
        let stacks = merge(["b;x 2\na;f(u8, u16) 1\n", "b;x 3\n\n"]).unwrap();
        assert_eq!(write(&stacks), "a;f(u8, u16) 1\nb;x 5\n");
        assert_eq!(merge([write(&stacks).as_str()]).unwrap(), stacks);
    }

    #[test]
    fn a_line_without_a_count_is_named() {
        let error = merge(["a 1\nb;c\n"]).unwrap_err();
        assert_eq!(error.to_string(), "line 2 of the folded stacks has no count: `b;c`");
    }
}
