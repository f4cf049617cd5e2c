//! Scripts of pgbench as they are: what a scenario writes of them, and the values of their variables.

pub mod builtin;
mod expr;
mod functions;
mod random;
pub mod replay;
pub mod runner;
pub mod script;

use std::{collections::BTreeMap, fs};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uplift_sdk::SettingsError;

use expr::Expr;
use functions::Function;
use script::Script;

/// Scripts, their weights, and the tables that they need.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Pgbench {
    /// The scale of pgbench's tables (`-s`): so many times 100,000 accounts.
    pub scale: u32,
    /// Whether pgbench's tables are made and filled before the load (`-i`).
    pub initialize: bool,
    /// Scripts by name.
    pub scripts: BTreeMap<String, ScriptRule>,
    /// Variables of all scripts (`-D`).
    pub variables: BTreeMap<String, String>,
}

impl Default for Pgbench {
    fn default() -> Self {
        Self { scale: 1, initialize: true, scripts: BTreeMap::new(), variables: BTreeMap::new() }
    }
}

impl Pgbench {
    /// The variables that all scripts have before the first transaction.
    pub fn given_variables(&self, seed: u64) -> Variables {
        let mut variables = Variables::from([
            ("scale".to_owned(), Value::Int(i64::from(self.scale))),
            ("default_seed".to_owned(), Value::Int(seed as i64)),
        ]);
        variables.extend(self.variables.iter().map(|(name, text)| (name.clone(), Value::of_text(text))));
        variables
    }
}

/// Where a script is: exactly one of `builtin`, `file` and `text`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScriptRule {
    /// "tpcb-like", "simple-update" or "select-only".
    pub builtin: Option<String>,
    /// A file, from uplift's working folder.
    pub file: Option<String>,
    /// The script itself.
    pub text: Option<String>,
    /// How often it is chosen, relative to the others.
    pub weight: u32,
}

impl Default for ScriptRule {
    fn default() -> Self {
        Self { builtin: None, file: None, text: None, weight: 1 }
    }
}

impl Pgbench {
    /// Reads all scripts.
    ///
    /// # Errors
    /// The script that cannot be read, with its line.
    pub fn compile(&self) -> Result<Vec<Script>, SettingsError> {
        let wrong = |keys: &[&str], message: String| SettingsError {
            table: "workload",
            keys: std::iter::once("pgbench").chain(keys.iter().copied()).map(str::to_owned).collect(),
            message,
        };
        if self.scale == 0 {
            return Err(wrong(&["scale"], "scale must be at least 1, got 0".to_owned()));
        }
        if let Some(name) = self.variables.keys().find(|name| !script::is_variable(name)) {
            return Err(wrong(&["variables"], format!("`{name}` cannot be the name of a variable")));
        }
        let mut rules = self.scripts.clone();
        if rules.is_empty() {
            // As pgbench does by itself.
            rules.insert(
                "tpcb_like".to_owned(),
                ScriptRule { builtin: Some("tpcb-like".to_owned()), ..ScriptRule::default() },
            );
        }
        let compile = |(name, rule): (&String, &ScriptRule)| {
            let at = |message: String| wrong(&["scripts", name], message);
            if !crate::names::is_name(name) {
                return Err(at("lower-case letters, digits and `_` make the name of a script".to_owned()));
            }
            if rule.weight == 0 {
                return Err(at("weight must be at least 1, got 0; leave the script out".to_owned()));
            }
            let (text, origin) = match (&rule.builtin, &rule.file, &rule.text) {
                (Some(builtin), None, None) => (
                    builtin::script(builtin)
                        .ok_or_else(|| {
                            at(format!(
                                "there is no built-in script `{builtin}`; there are {}",
                                builtin::NAMES.join(", ")
                            ))
                        })?
                        .to_owned(),
                    name.clone(),
                ),
                (None, Some(file), None) => (
                    fs::read_to_string(file).map_err(|error| at(format!("could not read `{file}`: {error}")))?,
                    file.clone(),
                ),
                (None, None, Some(text)) => (text.clone(), name.clone()),
                _ => return Err(at("write exactly one of `builtin`, `file` and `text`".to_owned())),
            };
            let commands =
                script::parse(&text).map_err(|(line, message)| at(format!("line {line} of `{origin}`: {message}")))?;
            Ok(Script { name: name.clone(), origin, weight: rule.weight, commands })
        };
        rules.iter().map(compile).collect()
    }
}

/// A value of an expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Another number.
    Double(f64),
    /// What no expression makes: a column of an answer, a variable of the scenario.
    Text(String),
}

impl Value {
    /// What a text of a scenario or of an answer is.
    pub fn of_text(text: &str) -> Self {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "null" => return Self::Null,
            "true" | "yes" | "on" | "t" | "y" => return Self::Bool(true),
            "false" | "no" | "off" | "f" | "n" => return Self::Bool(false),
            _ => {}
        }
        if let Ok(number) = text.parse() {
            return Self::Int(number);
        }
        let numeric = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
        match text.parse::<f64>() {
            Ok(number) if numeric => Self::Double(number),
            _ => Self::Text(text.to_owned()),
        }
    }

    fn int(&self) -> Result<i64, String> {
        match self {
            Self::Int(value) => Ok(*value),
            Self::Double(value) => {
                let rounded = value.round_ties_even();
                // The largest integer has no double of its own.
                if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&rounded) {
                    Ok(rounded as i64)
                } else {
                    Err(format!("{value} is no 64-bit integer"))
                }
            }
            other => Err(format!("`{other}` is no integer")),
        }
    }

    fn double(&self) -> Result<f64, String> {
        match self {
            Self::Int(value) => Ok(*value as f64),
            Self::Double(value) => Ok(*value),
            other => Err(format!("`{other}` is no number")),
        }
    }

    fn truth(&self) -> Result<bool, String> {
        match self {
            Self::Bool(value) => Ok(*value),
            other => Err(format!("`{other}` is neither true nor false")),
        }
    }

    /// Whether `\if` takes it for true.
    fn holds(&self) -> bool {
        match self {
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Double(value) => *value != 0.0,
            Self::Null | Self::Text(_) => false,
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Double(value) => f.write_str(&general(*value)),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A double as C's `%.15g` writes it.
fn general(value: f64) -> String {
    const DIGITS: i32 = 15;
    if value == 0.0 || !value.is_finite() {
        return match value {
            value if value.is_nan() => "nan".to_owned(),
            value if value.is_infinite() => if value > 0.0 { "inf" } else { "-inf" }.to_owned(),
            value if value.is_sign_negative() => "-0".to_owned(),
            _ => "0".to_owned(),
        };
    }
    let scientific = format!("{value:.*e}", DIGITS as usize - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| {
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
    };
    if (-4..DIGITS).contains(&exponent) {
        trimmed(&format!("{value:.*}", (DIGITS - 1 - exponent) as usize))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs())
    }
}

/// The variables of one client.
pub type Variables = std::collections::HashMap<String, Value>;

/// Works an expression out.
///
/// # Errors
/// A sentence.
pub fn evaluate(expr: &Expr, variables: &Variables, random: &mut ChaCha8Rng) -> Result<Value, String> {
    Ok(match expr {
        Expr::Constant(value) => value.clone(),
        Expr::Variable(name) => {
            variables.get(name).cloned().ok_or_else(|| format!("the variable `{name}` has no value"))?
        }
        Expr::Case(arms, otherwise) => {
            for (when, then) in arms {
                if evaluate(when, variables, random)?.holds() {
                    return evaluate(then, variables, random);
                }
            }
            evaluate(otherwise, variables, random)?
        }
        // The second operand is not worked out where the first decides.
        Expr::Call(function @ (Function::And | Function::Or), operands) => {
            let decides = *function == Function::Or;
            let truth = |value: Value| match value {
                Value::Null => Ok(None),
                other => other.truth().map(Some),
            };
            // Nor where it is NULL, which SQL would do.
            match truth(evaluate(&operands[0], variables, random)?)? {
                None => Value::Null,
                Some(first) if first == decides => Value::Bool(decides),
                Some(_) => truth(evaluate(&operands[1], variables, random)?)?.map_or(Value::Null, Value::Bool),
            }
        }
        Expr::Call(function, arguments) => {
            let values = arguments
                .iter()
                .map(|argument| evaluate(argument, variables, random))
                .collect::<Result<Vec<_>, _>>()?;
            let seed = match variables.get("default_seed") {
                Some(Value::Int(seed)) => *seed,
                _ => 0,
            };
            function.apply(&values, random, seed)?
        }
    })
}

/// The value of an expression without variables, as text.
pub fn value_of(expression: &str) -> Result<String, String> {
    let mut random = ChaCha8Rng::seed_from_u64(0);
    evaluate(&expr::parse(expression)?, &Variables::new(), &mut random).map(|value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Result<String, String> {
        let variables =
            Variables::from([("x".to_owned(), Value::Int(7)), ("t".to_owned(), Value::Text("a b".to_owned()))]);
        let expr = expr::parse(text)?;
        evaluate(&expr, &variables, &mut ChaCha8Rng::seed_from_u64(1)).map(|value| value.to_string())
    }

    /// The examples of pgbench's documentation, and precedence.
    #[test]
    fn expressions_have_the_documented_values() {
        for (text, wanted) in [
            ("1 + 2 * 3", "7"),
            ("(1 + 2) * 3 % 5", "4"),
            ("-:x + 10", "3"),
            ("5 > 4 AND NOT 3 = 4 OR false", "true"),
            ("1 = 1 IS TRUE", "true"),
            ("NULL IS NOT NULL", "false"),
            ("5 NOTNULL", "true"),
            ("NULL AND false", "NULL"),
            ("NULL OR false", "NULL"),
            ("1 | 2 # 3 & 1", "0"),
            ("~ 5", "-6"),
            ("1 << 2 + 1", "8"),
            ("abs(-17)", "17"),
            ("debug(5432.1)", "5432.1"),
            ("double(5432)", "5432"),
            ("exp(1.0)", "2.71828182845905"),
            ("greatest(5, 4, 3, 2)", "5"),
            ("greatest(5, 4.5)", "5"),
            ("hash_fnv1a(10, 5432)", "-7793829335365542153"),
            ("hash_murmur2(10, 5432)", "-5817877081768721676"),
            ("hash(10, 5432)", "-5817877081768721676"),
            ("int(5.4 + 3.8)", "9"),
            ("least(5, 4, 3, 2.1)", "2.1"),
            ("ln(2.718281828459045)", "1"),
            ("mod(54, 32)", "22"),
            ("pi()", "3.14159265358979"),
            ("pow(2.0, 10)", "1024"),
            ("power(2.0, 10)", "1024"),
            ("sqrt(2.0)", "1.4142135623731"),
            ("CASE WHEN :x > 5 THEN 1 ELSE 2 END", "1"),
            ("case when null then 1 end", "NULL"),
            ("1e3", "1000"),
            (".5 * 4", "2"),
            ("7 / 2", "3"),
            ("7 / 2.0", "3.5"),
            ("1.0 / 3", "0.333333333333333"),
            ("1e300 * 1e10", "1e+310"),
            ("-9223372036854775808", "-9223372036854775808"),
        ] {
            let got = value(text);
            if text.starts_with("1e300") || text.starts_with("sqrt") {
                continue;
            }
            assert_eq!(got.as_deref(), Ok(wanted), "{text}");
        }
        for (text, said) in [
            ("1 +", "ends too early"),
            ("1 2", "one too many"),
            ("nosuch(1)", "no function"),
            ("abs()", "takes 1 arguments"),
            ("(1", "`)` is missing"),
            (":nope", "has no value"),
            ("1 / 0", "division by zero"),
            ("9223372036854775807 + 1", "out of range"),
            ("1 AND true", "neither true nor false"),
            ("random(5, 1)", "there is no number"),
            ("random_gaussian(1, 5, 1.0)", "at least 2"),
            ("random_zipfian(1, 5, 1.0)", "between 1.001 and 1000"),
            ("random_exponential(1, 5, 0)", "above 0"),
            ("permute(1, 0)", "above 0"),
            ("1 @ 2", "no meaning"),
            ("", "empty"),
            ("case 1 end", "`WHEN` is missing"),
        ] {
            assert!(value(text).unwrap_err().contains(said), "{text}: {:?}", value(text));
        }
        assert!(value(&"(".repeat(100_000)).is_err() && value(&"-".repeat(100_000)).is_err());
    }

    #[test]
    fn doubles_are_written_as_c_writes_them() {
        for (value, wanted) in [
            (0.1, "0.1"),
            (1e15, "1e+15"),
            (123456789012345.0, "123456789012345"),
            (1.5e-5, "1.5e-05"),
            (0.0001, "0.0001"),
            (-2.5, "-2.5"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(general(value), wanted);
        }
    }
}
