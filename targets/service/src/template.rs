//! Texts with placeholders: compiled once, filled for each operation.

/// A text whose placeholders are numbers of values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it is written.
    Text(String),
    /// The value of this number.
    Value(usize),
}

/// The values of one operation, by the number of their parameter.
pub type Values = Vec<Vec<u8>>;

impl Template {
    /// Compiles `text`, in which `{name}` stands for the value of that name. Braces around anything that cannot be a name
    /// stay as they are; `{{` is one brace.
    ///
    /// # Errors
    /// A name that is not among `names`.
    pub fn compile(text: &str, names: &[String]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            plain.push_str(&rest[..open]);
            rest = &rest[open + 1..];
            if let Some(behind) = rest.strip_prefix('{') {
                plain.push('{');
                rest = behind;
                continue;
            }
            let name = rest.split('}').next().filter(|name| name.len() < rest.len() && crate::names::is_name(name));
            let Some(name) = name else {
                plain.push('{');
                continue;
            };
            let Some(number) = names.iter().position(|known| known == name) else {
                let known = if names.is_empty() { "none are".to_owned() } else { names.join(", ") };
                return Err(format!(
                    "`{{{name}}}` in `{text}` is no parameter; known here: {known}; for a brace write `{{{{`"
                ));
            };
            if !plain.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut plain)));
            }
            parts.push(Part::Value(number));
            rest = &rest[name.len() + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self { parts })
    }

    /// Its pieces in order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// The numbers of the values in it.
    pub fn values(&self) -> impl Iterator<Item = usize> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value(number) => Some(*number),
            Part::Text(_) => None,
        })
    }

    /// Appends the filled text.
    pub fn fill(&self, values: &Values, into: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => into.extend_from_slice(text.as_bytes()),
                Part::Value(number) => into.extend_from_slice(&values[*number]),
            }
        }
    }

    /// How long the filled text is.
    pub fn filled_bytes(&self, values: &Values) -> usize {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.len(),
                Part::Value(number) => values[*number].len(),
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_other_braces_stay() {
        let names = ["key".to_owned(), "value".to_owned()];
        let template = Template::compile(r#"{"k": "{key}", "v": {value}, "x": {{key}, {}}"#, &names).unwrap();
        let values = vec![b"a1".to_vec(), b"7".to_vec()];
        let mut text = Vec::new();
        template.fill(&values, &mut text);
        assert_eq!(String::from_utf8(text.clone()).unwrap(), r#"{"k": "a1", "v": 7, "x": {key}, {}}"#);
        assert_eq!(template.filled_bytes(&values), text.len());
        assert_eq!(template.values().collect::<Vec<_>>(), [0, 1]);
        assert!(Template::compile("GET {kye}", &names).unwrap_err().contains("known here: key, value"));
        assert_eq!(Template::compile("{", &names).unwrap().parts(), [Part::Text("{".into())]);
    }
}
