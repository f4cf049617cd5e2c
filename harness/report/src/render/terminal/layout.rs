//! Lines and columns of a terminal: what does not fit is left out by rank, and no number is broken.

use crate::document::Column;

/// Between columns.
const GAP: &str = "  ";
/// A last column of words is wrapped rather than left out while it has so much room.
const WORDS_MIN: usize = 24;

/// Words with a colour.
#[derive(Clone, Debug)]
pub struct Styled {
    /// The words.
    pub words: String,
    /// The number of their colour in an escape sequence.
    pub colour: Option<u8>,
}

impl Styled {
    /// Words as they are.
    pub fn plain(words: &str) -> Self {
        Self { words: words.to_owned(), colour: None }
    }

    fn width(&self) -> usize {
        self.words.chars().count()
    }

    fn padded(&self, width: usize, right: bool) -> String {
        let pad = " ".repeat(width.saturating_sub(self.width()));
        let words = match self.colour {
            Some(colour) => format!("\x1b[{colour}m{}\x1b[0m", self.words),
            None => self.words.clone(),
        };
        if right { pad + &words } else { words + &pad }
    }
}

/// Words on as many lines as they need; `width` `None` is one line. A number stays with what follows it: its unit.
pub fn wrapped(words: &str, first: &str, rest: &str, width: Option<u16>) -> Vec<String> {
    let Some(width) = width.map(usize::from) else { return vec![format!("{first}{words}")] };
    let mut lines = vec![first.to_owned()];
    let mut empty = true;
    for piece in pieces(words) {
        let used = lines.last().map_or(0, |line| line.chars().count());
        let room = width.saturating_sub(used + usize::from(!empty));
        if !empty && piece.chars().count() > room {
            lines.push(rest.to_owned());
            empty = true;
        }
        if let Some(line) = lines.last_mut() {
            if !empty {
                line.push(' ');
            }
            line.push_str(&piece);
        }
        empty = false;
    }
    lines
}

/// Words that must not be parted: a number and its unit, a sign and its number.
fn pieces(words: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut joins = false;
    for word in words.split(' ').filter(|word| !word.is_empty()) {
        match pieces.last_mut() {
            Some(last) if joins => {
                last.push(' ');
                last.push_str(word);
            }
            _ => pieces.push(word.to_owned()),
        }
        joins = word.ends_with(|c: char| c.is_ascii_digit()) || matches!(word, "±" | "→" | "×");
    }
    pieces
}

/// A table that fits: first the spreads of values are left out, then columns by rank; where even that is too wide, each row
/// has lines of its own.
pub fn grid(
    columns: &[Column],
    header: &[Styled],
    rows: impl Fn(bool) -> Vec<Vec<Styled>>,
    width: Option<u16>,
) -> Vec<String> {
    let full = rows(true);
    if full.is_empty() {
        return Vec::new();
    }
    let Some(most) = width.map(usize::from) else {
        return lines(columns, header, &full, &(0..columns.len()).collect::<Vec<_>>(), None);
    };
    let short = rows(false);
    let highest = columns.iter().map(|column| column.rank).max().unwrap_or(0);
    // (rows, the highest rank that is shown)
    let tries = std::iter::once((&full, highest)).chain((0..=highest).rev().map(|rank| (&short, rank)));
    for (rows, rank) in tries {
        let shown: Vec<usize> = (0..columns.len()).filter(|&index| columns[index].rank <= rank).collect();
        let widths = widths(header, rows, &shown);
        let total = 2 + widths.iter().sum::<usize>() + GAP.len() * (shown.len().saturating_sub(1));
        if total <= most {
            return lines(columns, header, rows, &shown, None);
        }
        // A sentence in the last column may go on below itself.
        if let (Some(&last), Some(&wide)) = (shown.last(), widths.last())
            && rank == 0
            && !columns[last].figures
            && most + wide >= total + WORDS_MIN
        {
            return lines(columns, header, rows, &shown, Some(most + wide - total));
        }
    }
    as_list(columns, header, &short, most)
}

fn widths(header: &[Styled], rows: &[Vec<Styled>], shown: &[usize]) -> Vec<usize> {
    let of = |index: usize| rows.iter().map(|row| row[index].width()).chain([header[index].width()]).max();
    shown.iter().map(|&index| of(index).unwrap_or(0)).collect()
}

fn lines(
    columns: &[Column],
    header: &[Styled],
    rows: &[Vec<Styled>],
    shown: &[usize],
    last_width: Option<usize>,
) -> Vec<String> {
    let mut widths = widths(header, rows, shown);
    if let (Some(last), Some(narrow)) = (widths.last_mut(), last_width) {
        *last = narrow;
    }
    let line = |cells: &[Styled]| {
        let padded =
            shown.iter().zip(&widths).map(|(&index, &width)| cells[index].padded(width, columns[index].figures));
        let joined = padded.collect::<Vec<_>>().join(GAP);
        format!("  {}", joined.trim_end())
    };
    let total = widths.iter().sum::<usize>() + GAP.len() * shown.len().saturating_sub(1);
    let mut drawn = vec![line(header), format!("  {}", "─".repeat(total))];
    for row in rows {
        let Some((&last, narrow)) = shown.last().zip(last_width) else {
            drawn.push(line(row));
            continue;
        };
        let parts = wrapped(&row[last].words, "", "", Some(u16::try_from(narrow).unwrap_or(u16::MAX)));
        for (index, part) in parts.iter().enumerate() {
            let mut cells: Vec<Styled> =
                if index == 0 { row.clone() } else { row.iter().map(|_| Styled::plain("")).collect() };
            cells[last] = Styled { words: part.clone(), colour: row[last].colour };
            drawn.push(line(&cells));
        }
    }
    drawn
}

/// For a window that is too narrow for columns.
fn as_list(columns: &[Column], header: &[Styled], rows: &[Vec<Styled>], most: usize) -> Vec<String> {
    let mut drawn = Vec::new();
    for row in rows {
        let Some((name, cells)) = row.split_first() else { continue };
        drawn.push(format!("  {}", name.words.trim()));
        let told = cells
            .iter()
            .zip(&header[1..])
            .zip(&columns[1..])
            .filter(|((cell, _), column)| column.rank <= 1 && !cell.words.is_empty() && cell.words != "–");
        for ((cell, head), _) in told {
            let head = if head.words.is_empty() { String::new() } else { format!("{}: ", head.words) };
            let width = u16::try_from(most).ok();
            drawn.extend(wrapped(&format!("{head}{}", cell.words), "      ", "        ", width));
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stays_with_its_unit() {
        let lines =
            wrapped("throughput improved by ×34.6 [×30, ×40] (5749 op/s → 198,878 op/s, 6 blocks)", "", "  ", Some(30));
        assert!(lines.iter().all(|line| line.chars().count() <= 30), "{lines:?}");
        let joined = lines.join("\n");
        assert!(!joined.contains("5749\n") && !joined.contains("6\n"), "{joined}");
    }

    #[test]
    fn columns_are_left_out_by_rank_and_a_last_sentence_goes_on_below_itself() {
        let columns = [Column::words("name"), Column::figures("value"), Column::figures("p").dispensable(1)];
        let header: Vec<Styled> = columns.iter().map(|column| Styled::plain(&column.name)).collect();
        let rows = |_| vec![["throughput", "123,456 op/s", "0.0001"].map(Styled::plain).to_vec()];
        let all = grid(&columns, &header, rows, Some(80)).join("\n");
        let few = grid(&columns, &header, rows, Some(30)).join("\n");
        assert!(all.contains("0.0001") && !few.contains("0.0001") && few.contains("123,456 op/s"), "{few}");
        let narrow = grid(&columns, &header, rows, Some(16)).join("\n");
        assert!(narrow.contains("value:") && narrow.contains("123,456 op/s"), "a number keeps its unit: {narrow}");
    }
}
