//! Statements: text with values in place, or with `$1`, `$2`, … and values apart.

use crate::template::{Part, Template, Values};

/// A statement whose values are numbers of parameters.
#[derive(Clone, Debug)]
pub struct Statement {
    template: Template,
    /// With `$n` for each value.
    pub text: String,
    /// The value of each `$n`.
    pub values: Vec<usize>,
}

impl Statement {
    /// Compiles a statement of a scenario.
    ///
    /// # Errors
    /// A placeholder that stands for nothing, or nothing at all.
    pub fn compile(sql: &str, names: &[String]) -> Result<Self, String> {
        if sql.trim().is_empty() {
            return Err("the statement is empty".to_owned());
        }
        let template = Template::compile(sql, names)?;
        let mut values: Vec<usize> = Vec::new();
        let mut text = String::new();
        for part in template.parts() {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Value(number) => {
                    let at = values.iter().position(|known| known == number).unwrap_or_else(|| {
                        values.push(*number);
                        values.len() - 1
                    });
                    text.push_str(&format!("${}", at + 1));
                }
            }
        }
        Ok(Self { template, text, values })
    }

    /// The text with its values as literals.
    pub fn literal(&self, values: &Values, into: &mut Vec<u8>) {
        for part in self.template.parts() {
            match part {
                Part::Text(plain) => into.extend_from_slice(plain.as_bytes()),
                Part::Value(number) => quote(&values[*number], into),
            }
        }
    }
}

/// A literal of a type that is still open.
fn quote(value: &[u8], into: &mut Vec<u8>) {
    into.push(b'\'');
    for &byte in value {
        if byte == b'\'' {
            into.push(b'\'');
        }
        into.push(byte);
    }
    into.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_apart_or_are_quoted() {
        let names = ["key".to_owned(), "value".to_owned()];
        let statement = Statement::compile("UPDATE t SET v = {value}, w = {key} WHERE k = {key}", &names).unwrap();
        assert_eq!(statement.text, "UPDATE t SET v = $1, w = $2 WHERE k = $2");
        assert_eq!(statement.values, [1, 0]);
        let mut text = Vec::new();
        statement.literal(&vec![b"7".to_vec(), b"it's".to_vec()], &mut text);
        assert_eq!(String::from_utf8(text).unwrap(), "UPDATE t SET v = 'it''s', w = '7' WHERE k = '7'");
        assert!(Statement::compile(" ", &names).is_err());
    }
}
