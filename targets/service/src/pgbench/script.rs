//! From the text of a script to its commands.

use super::expr::{self, Expr};

/// A script.
#[derive(Clone, Debug)]
pub struct Script {
    /// Its name in the scenario: the kind of operation.
    pub name: String,
    /// Where its text is.
    pub origin: String,
    /// How often it is chosen.
    pub weight: u32,
    /// What it does.
    pub commands: Vec<Located>,
}

/// A command and its line, from 1.
#[derive(Clone, Debug)]
pub struct Located {
    /// The line on which it begins.
    pub line: usize,
    /// What is done.
    pub command: Command,
}

/// One command.
#[derive(Clone, Debug)]
pub enum Command {
    /// `\set`
    Set(String, Expr),
    /// A statement.
    Sql(Sql),
    /// `\sleep`: a number or a variable, and its unit in nanoseconds.
    Sleep(Expr, u64),
    /// `\if`; the number of the command to go on with where it does not hold.
    If(Expr, usize),
    /// `\elif`, reached where an arm before it was taken: go on there. Its own condition is an [`Command::If`].
    Jump(usize),
    /// `\startpipeline`
    StartPipeline,
    /// `\syncpipeline`
    SyncPipeline,
    /// `\endpipeline`
    EndPipeline,
}

/// A statement with variables.
#[derive(Clone, Debug, Default)]
pub struct Sql {
    /// As it is written.
    pub text: String,
    /// With `$n` for each variable outside of quotes.
    pub numbered: String,
    /// The variable of each `$n`.
    pub variables: Vec<String>,
    /// `\gset` and `\aset`: the prefix of the variables that columns become.
    pub into: Option<String>,
}

impl Script {
    /// Whether it changes anything.
    pub fn writes(&self) -> bool {
        self.commands.iter().any(|located| match &located.command {
            Command::Sql(sql) => crate::reads::writes(&sql.text),
            _ => false,
        })
    }
}

/// Whether this can be the name of a variable.
pub fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_alphabetic() || c == '_') && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

/// Reads a script.
///
/// # Errors
/// The line, and what is wrong on it.
pub fn parse(text: &str) -> Result<Vec<Located>, (usize, String)> {
    let mut scanner = Scanner { text, at: 0, line: 1 };
    let mut reader = Reader::default();
    while let Some(piece) = scanner.next()? {
        match piece {
            Piece::Sql { line, text, end } => reader.sql(line, &text, end)?,
            Piece::Meta { line, text } => reader.meta(line, &text).map_err(|message| (line, message))?,
        }
    }
    if let Some(open) = reader.open.last() {
        return Err((open.line, "`\\if` without its `\\endif`".to_owned()));
    }
    if reader.commands.is_empty() {
        return Err((1, "the script has no commands".to_owned()));
    }
    Ok(reader.commands)
}

/// What follows a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Semicolon,
    /// A backslash: `\gset` ends a statement too.
    Meta,
    Text,
}

enum Piece {
    Sql { line: usize, text: String, end: End },
    Meta { line: usize, text: String },
}

struct Scanner<'a> {
    text: &'a str,
    at: usize,
    line: usize,
}

impl Scanner<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip(&mut self, bytes: usize) {
        self.line += self.text[self.at..self.at + bytes].matches('\n').count();
        self.at += bytes;
    }

    /// A command that begins with a backslash, to the end of its line; a backslash at the end continues it.
    fn meta(&mut self) -> Piece {
        let line = self.line;
        let mut text = String::new();
        loop {
            let length = self.rest().find('\n').unwrap_or(self.rest().len());
            let part = self.rest()[..length].trim_end().to_owned();
            self.skip((length + 1).min(self.rest().len()));
            match part.strip_suffix('\\').filter(|part| !part.is_empty() && self.at < self.text.len()) {
                Some(part) => {
                    text.push_str(part);
                    text.push(' ');
                }
                None => {
                    text.push_str(&part);
                    return Piece::Meta { line, text };
                }
            }
        }
    }

    fn next(&mut self) -> Result<Option<Piece>, (usize, String)> {
        loop {
            let blanks = self.rest().len() - self.rest().trim_start().len();
            self.skip(blanks);
            if self.rest().starts_with("--") {
                let length = self.rest().find('\n').unwrap_or(self.rest().len());
                self.skip(length);
            } else if self.rest().starts_with("/*") {
                let length = comment_length(self.rest()).ok_or((self.line, "a comment without its end".to_owned()))?;
                self.skip(length);
            } else if self.rest().starts_with(';') {
                self.skip(1);
            } else {
                break;
            }
        }
        if self.rest().is_empty() {
            return Ok(None);
        }
        if self.rest().starts_with('\\') {
            return Ok(Some(self.meta()));
        }
        self.statement().map(Some)
    }

    fn statement(&mut self) -> Result<Piece, (usize, String)> {
        let line = self.line;
        let mut text = String::new();
        let mut depth = 0usize;
        loop {
            let rest = self.rest();
            let Some(first) = rest.chars().next() else {
                return Ok(Piece::Sql { line, text: text.trim_end().to_owned(), end: End::Text });
            };
            let open = |what: &str| (self.line, format!("{what} without its end"));
            let length = match first {
                '\'' => {
                    let escapes =
                        text.ends_with(['e', 'E']) && !text[..text.len() - 1].ends_with(|c: char| c.is_alphanumeric());
                    quoted_length(rest, '\'', escapes).ok_or_else(|| open("a text in quotes"))?
                }
                '"' => quoted_length(rest, '"', false).ok_or_else(|| open("a name in quotes"))?,
                '-' if rest.starts_with("--") => {
                    let length = rest.find('\n').unwrap_or(rest.len());
                    self.skip(length);
                    continue;
                }
                '/' if rest.starts_with("/*") => {
                    let length = comment_length(rest).ok_or_else(|| open("a comment"))?;
                    text.push(' ');
                    self.skip(length);
                    continue;
                }
                '$' => match dollar_length(rest) {
                    Some(Ok(length)) => length,
                    Some(Err(())) => return Err(open("a text between dollar signs")),
                    None => 1,
                },
                '(' => {
                    depth += 1;
                    1
                }
                ')' => {
                    depth = depth.saturating_sub(1);
                    1
                }
                ';' if depth == 0 => {
                    self.skip(1);
                    return Ok(Piece::Sql { line, text: text.trim_end().to_owned(), end: End::Semicolon });
                }
                '\\' if rest.starts_with("\\;") => {
                    text.push(';');
                    self.skip(2);
                    continue;
                }
                '\\' => return Ok(Piece::Sql { line, text: text.trim_end().to_owned(), end: End::Meta }),
                other => other.len_utf8(),
            };
            let taken = self.rest()[..length].to_owned();
            text.push_str(&taken);
            self.skip(length);
        }
    }
}

/// Comments may be nested.
fn comment_length(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    None
}

fn quoted_length(text: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if escapes && character == '\\' {
            characters.next();
        } else if character == quote {
            if !text[at + 1..].starts_with(quote) {
                return Some(at + 1);
            }
            characters.next();
        }
    }
    None
}

/// `$tag$ … $tag$`: its length, or that it has no end; `None` where none begins here.
fn dollar_length(text: &str) -> Option<Result<usize, ()>> {
    let tag_end = text[1..].find('$')? + 1;
    let name = &text[1..tag_end];
    if !(name.is_empty() || is_variable(name)) {
        return None;
    }
    let tag = &text[..=tag_end];
    Some(text[tag.len()..].find(tag).map(|at| tag.len() + at + tag.len()).ok_or(()))
}

/// A conditional that is open.
#[derive(Debug)]
struct Open {
    line: usize,
    /// The condition whose failure leads to the next arm.
    condition: Option<usize>,
    /// Jumps to the end.
    jumps: Vec<usize>,
    has_else: bool,
}

#[derive(Debug, Default)]
struct Reader {
    commands: Vec<Located>,
    open: Vec<Open>,
    /// The last statement was ended by a backslash: `\gset` must follow.
    awaits_gset: Option<usize>,
    pipeline: bool,
}

impl Reader {
    fn push(&mut self, line: usize, command: Command) {
        self.commands.push(Located { line, command });
    }

    fn sql(&mut self, line: usize, text: &str, end: End) -> Result<(), (usize, String)> {
        if text.is_empty() {
            return Ok(());
        }
        if end == End::Meta {
            self.awaits_gset = Some(line);
        }
        self.push(line, Command::Sql(with_variables(text)));
        Ok(())
    }

    fn meta(&mut self, line: usize, text: &str) -> Result<(), String> {
        let (name, rest) = text.split_once(char::is_whitespace).map_or((text, ""), |(name, rest)| (name, rest.trim()));
        if self.awaits_gset.take().is_some() && !matches!(name, "\\gset" | "\\aset") {
            return Err(format!("a statement ends with `;` before `{name}`"));
        }
        let expression = |what: &str| expr::parse(rest).map_err(|message| format!("`{what} {rest}`: {message}"));
        let bare =
            |what: &str| if rest.is_empty() { Ok(()) } else { Err(format!("`{what}` stands alone, got `{rest}`")) };
        match name {
            "\\set" => {
                let (variable, value) =
                    rest.split_once(char::is_whitespace).ok_or("`\\set` needs a name and an expression")?;
                if !is_variable(variable) {
                    return Err(format!("`{variable}` cannot be the name of a variable"));
                }
                let value = expr::parse(value).map_err(|message| format!("`\\set {rest}`: {message}"))?;
                self.push(line, Command::Set(variable.to_owned(), value));
            }
            "\\sleep" => {
                let (number, unit) = split_unit(rest);
                let unit_ns = match unit {
                    "us" => 1_000,
                    "ms" => 1_000_000,
                    "" | "s" => 1_000_000_000,
                    _ => return Err(format!("`{unit}` is no unit of `\\sleep`; write us, ms or s")),
                };
                let number = expr::parse(number).map_err(|message| format!("`\\sleep {rest}`: {message}"))?;
                self.push(line, Command::Sleep(number, unit_ns));
            }
            "\\if" => {
                let condition = expression(name)?;
                self.open.push(Open { line, condition: Some(self.commands.len()), jumps: Vec::new(), has_else: false });
                self.push(line, Command::If(condition, usize::MAX));
            }
            "\\elif" => {
                let condition = expression(name)?;
                self.next_arm(line, name)?;
                let at = self.commands.len();
                if let Some(open) = self.open.last_mut() {
                    open.condition = Some(at);
                }
                self.push(line, Command::If(condition, usize::MAX));
            }
            "\\else" => {
                bare(name)?;
                self.next_arm(line, name)?;
                if let Some(open) = self.open.last_mut() {
                    open.has_else = true;
                }
            }
            "\\endif" => {
                bare(name)?;
                let open = self.open.pop().ok_or("`\\endif` without its `\\if`")?;
                let end = self.commands.len();
                for at in open.condition.into_iter().chain(open.jumps) {
                    if let Command::If(_, to) | Command::Jump(to) = &mut self.commands[at].command {
                        *to = end;
                    }
                }
            }
            "\\gset" | "\\aset" => {
                let prefix = rest.to_owned();
                if !prefix.is_empty() && !is_variable(&prefix) {
                    return Err(format!("`{prefix}` cannot begin the names of variables"));
                }
                if self.pipeline {
                    return Err(format!("`{name}` cannot be used in a pipeline"));
                }
                match self.commands.last_mut().map(|last| &mut last.command) {
                    Some(Command::Sql(sql)) if sql.into.is_none() => sql.into = Some(prefix),
                    _ => return Err(format!("`{name}` follows a statement")),
                }
            }
            "\\startpipeline" => {
                bare(name)?;
                if std::mem::replace(&mut self.pipeline, true) {
                    return Err("a pipeline within a pipeline".to_owned());
                }
                self.push(line, Command::StartPipeline);
            }
            "\\syncpipeline" | "\\endpipeline" => {
                bare(name)?;
                if !self.pipeline {
                    return Err(format!("`{name}` without `\\startpipeline`"));
                }
                let ends = name == "\\endpipeline";
                self.pipeline = !ends;
                self.push(line, if ends { Command::EndPipeline } else { Command::SyncPipeline });
            }
            "\\shell" | "\\setshell" => {
                return Err(format!(
                    "`{name}` starts a program in the middle of what is timed, which uplift does not do"
                ));
            }
            _ => return Err(format!("there is no command `{name}`")),
        }
        Ok(())
    }

    /// Ends the arm before this one: who took it goes to the end; who did not goes on here.
    fn next_arm(&mut self, line: usize, name: &str) -> Result<(), String> {
        let jump = self.commands.len();
        let open = self.open.last_mut().ok_or_else(|| format!("`{name}` without its `\\if`"))?;
        if open.has_else {
            return Err(format!("`{name}` after `\\else`"));
        }
        open.jumps.push(jump);
        let condition = open.condition.take();
        self.push(line, Command::Jump(usize::MAX));
        if let Some(Command::If(_, to)) = condition.map(|at| &mut self.commands[at].command) {
            *to = jump + 1;
        }
        Ok(())
    }
}

/// The number and its unit, which may stand together.
fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    for unit in ["us", "ms", "s"] {
        if let Some(number) = text.strip_suffix(unit)
            && !number.is_empty()
            && (number.ends_with(char::is_whitespace) || number.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return (number.trim(), unit);
        }
    }
    match text.split_once(char::is_whitespace) {
        Some((number, unit)) => (number, unit.trim()),
        None => (text, ""),
    }
}

/// Finds the variables of a statement.
fn with_variables(text: &str) -> Sql {
    let mut sql = Sql { text: text.to_owned(), ..Sql::default() };
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => quoted_length(rest, '\'', false).unwrap_or(1),
            '"' => quoted_length(rest, '"', false).unwrap_or(1),
            '$' => dollar_length(rest).and_then(Result::ok).unwrap_or(1),
            ':' if rest.starts_with("::") => 2,
            ':' => match variable_at(rest) {
                Some(name) => {
                    let at = sql.variables.iter().position(|known| known == name).unwrap_or_else(|| {
                        sql.variables.push(name.to_owned());
                        sql.variables.len() - 1
                    });
                    sql.numbered.push_str(&format!("${}", at + 1));
                    rest = &rest[1 + name.len()..];
                    continue;
                }
                None => 1,
            },
            other => other.len_utf8(),
        };
        sql.numbered.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    sql
}

/// The name behind a colon.
pub fn variable_at(text: &str) -> Option<&str> {
    let behind = text.strip_prefix(':')?;
    let length = behind.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(behind.len());
    Some(&behind[..length]).filter(|name| is_variable(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statements(text: &str) -> Vec<(usize, String)> {
        parse(text)
            .unwrap()
            .into_iter()
            .filter_map(|located| match located.command {
                Command::Sql(sql) => Some((located.line, sql.numbered)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn statements_end_where_sql_ends_them() {
        let text = "-- a comment; no statement\n\\set aid random(1, \\\n 10)\nSELECT ';' AS a, \"b;\" FROM t\n  WHERE x = :aid::int AND y = ':no' ;\n/* ; /* nested */ */ UPDATE t SET a = (SELECT 1;) , b = :aid, c = :bid;\nDO $x$ BEGIN; :no END $x$;\nSELECT 1\\; SELECT 2;\nSELECT E'\\';', '12:30:00';\n";
        assert_eq!(
            statements(text),
            [
                (4, "SELECT ';' AS a, \"b;\" FROM t\n  WHERE x = $1::int AND y = ':no'".to_owned()),
                (6, "UPDATE t SET a = (SELECT 1;) , b = $1, c = $2".to_owned()),
                (7, "DO $x$ BEGIN; :no END $x$".to_owned()),
                (8, "SELECT 1; SELECT 2".to_owned()),
                (9, "SELECT E'\\';', '12:30:00'".to_owned()),
            ]
        );
    }

    #[test]
    fn conditions_lead_to_their_arms() {
        let text = "\\if :a\n\\set x 1\n\\elif :b\n\\set x 2\n\\else\n\\set x 3\n\\endif\nSELECT :x;\n";
        let commands = parse(text).unwrap();
        let shape: Vec<String> = commands
            .iter()
            .map(|located| match &located.command {
                Command::If(_, to) => format!("if {to}"),
                Command::Jump(to) => format!("jump {to}"),
                Command::Set(..) => "set".to_owned(),
                other => format!("{other:?}").chars().take(3).collect(),
            })
            .collect();
        assert_eq!(shape, ["if 3", "set", "jump 7", "if 6", "set", "jump 7", "set", "Sql"]);
    }

    #[test]
    fn columns_become_variables_and_pipelines_are_paired() {
        let commands =
            parse("SELECT 1 AS one \\gset p_\nSELECT 2 AS two;\n\\aset\n\\startpipeline\nSELECT 3;\n\\endpipeline\n");
        let into: Vec<Option<String>> = commands
            .unwrap()
            .into_iter()
            .filter_map(|located| match located.command {
                Command::Sql(sql) => Some(sql.into),
                _ => None,
            })
            .collect();
        assert_eq!(into, [Some("p_".to_owned()), Some(String::new()), None]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line, said) in [
            ("SELECT 1;\n\\set x 1 +\n", 2, "ends too early"),
            ("\n\\if 1\nSELECT 1;\n", 2, "without its `\\endif`"),
            ("\\endif\n", 1, "without its `\\if`"),
            ("\\if 1\n\\else\n\\elif 2\n\\endif", 3, "after `\\else`"),
            ("\\nosuch\n", 1, "no command"),
            ("\\shell ls\n", 1, "starts a program"),
            ("SELECT 'a\n", 1, "without its end"),
            ("/* x\n", 1, "without its end"),
            ("SELECT 1 \\set x 1\n", 1, "ends with `;`"),
            ("\\sleep 1 min\n", 1, "no unit"),
            ("\\gset\n", 1, "follows a statement"),
            ("\\endpipeline\n", 1, "without `\\startpipeline`"),
            ("\\set 1x 1\n", 1, "cannot be the name"),
            ("-- nothing\n", 1, "no commands"),
        ] {
            let (at, message) = parse(text).unwrap_err();
            assert!(at == line && message.contains(said), "{text}: line {at}: {message}");
        }
    }
}
