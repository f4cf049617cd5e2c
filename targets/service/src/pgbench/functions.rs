//! Operators and functions of expressions, as pgbench's documentation lists them.

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::{Value, random};

/// What is applied to arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `OR`
    Or,
    /// `AND`
    And,
    /// `NOT`
    Not,
    /// `IS NULL`
    IsNull,
    /// `IS TRUE`
    IsTrue,
    /// `IS FALSE`
    IsFalse,
    /// `<`
    Less,
    /// `>`
    Greater,
    /// `=`
    Equal,
    /// `<=`
    LessOrEqual,
    /// `>=`
    GreaterOrEqual,
    /// `<>`
    NotEqual,
    /// `|`
    BitOr,
    /// `#`
    BitXor,
    /// `&`
    BitAnd,
    /// `~`
    BitNot,
    /// `<<`
    ShiftLeft,
    /// `>>`
    ShiftRight,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
    /// `-` before a value
    Negate,
    /// Of a sign.
    Abs,
    /// Its argument.
    Debug,
    /// As a double.
    ToDouble,
    /// As an integer.
    ToInt,
    /// e to the power.
    Exp,
    /// The largest.
    Greatest,
    /// The smallest.
    Least,
    /// FNV-1a.
    HashFnv1a,
    /// MurmurHash2.
    HashMurmur2,
    /// Natural logarithm.
    Ln,
    /// One of a permutation.
    Permute,
    /// 3.14…
    Pi,
    /// Power.
    Power,
    /// Uniform.
    Random,
    /// Exponential.
    RandomExponential,
    /// Gaussian.
    RandomGaussian,
    /// Zipfian.
    RandomZipfian,
    /// Square root.
    Sqrt,
}

impl Function {
    /// The function of this name, and the number of its arguments.
    pub fn named(name: &str) -> Option<(Self, usize, usize)> {
        Some(match name {
            "abs" => (Self::Abs, 1, 1),
            "debug" => (Self::Debug, 1, 1),
            "double" => (Self::ToDouble, 1, 1),
            "exp" => (Self::Exp, 1, 1),
            "greatest" => (Self::Greatest, 1, usize::MAX),
            "hash" | "hash_murmur2" => (Self::HashMurmur2, 1, 2),
            "hash_fnv1a" => (Self::HashFnv1a, 1, 2),
            "int" => (Self::ToInt, 1, 1),
            "least" => (Self::Least, 1, usize::MAX),
            "ln" => (Self::Ln, 1, 1),
            "mod" => (Self::Remainder, 2, 2),
            "permute" => (Self::Permute, 2, 3),
            "pi" => (Self::Pi, 0, 0),
            "pow" | "power" => (Self::Power, 2, 2),
            "random" => (Self::Random, 2, 2),
            "random_exponential" => (Self::RandomExponential, 3, 3),
            "random_gaussian" => (Self::RandomGaussian, 3, 3),
            "random_zipfian" => (Self::RandomZipfian, 3, 3),
            "sqrt" => (Self::Sqrt, 1, 1),
            _ => return None,
        })
    }

    /// Applies it. `seed` is that of hashes and permutations whose own is not given.
    ///
    /// # Errors
    /// A sentence.
    pub fn apply(self, arguments: &[Value], random: &mut ChaCha8Rng, seed: i64) -> Result<Value, String> {
        use Value::{Bool, Double, Int, Null};
        let first = arguments.first().unwrap_or(&Null);
        // These know what to do with NULL; to all others it is contagious.
        match self {
            Self::IsNull => return Ok(Bool(*first == Null)),
            Self::IsTrue => return Ok(Bool(*first == Bool(true))),
            Self::IsFalse => return Ok(Bool(*first == Bool(false))),
            Self::Debug => return Ok(first.clone()),
            _ if arguments.contains(&Null) => return Ok(Null),
            _ => {}
        }
        let overflow = |result: Option<i64>| result.map(Int).ok_or_else(|| "the integer is out of range".to_owned());
        let compared = |holds: fn(std::cmp::Ordering) -> bool| -> Result<Value, String> {
            Ok(Bool(compare(&arguments[0], &arguments[1])?.is_some_and(holds)))
        };
        let number = |of: fn(f64) -> f64| -> Result<Value, String> { Ok(Double(of(first.double()?))) };
        match self {
            Self::Not => Ok(Bool(!first.truth()?)),
            Self::Or => Ok(Bool(first.truth()? | arguments[1].truth()?)),
            Self::And => Ok(Bool(first.truth()? & arguments[1].truth()?)),
            Self::Less => compared(|order| order.is_lt()),
            Self::Greater => compared(|order| order.is_gt()),
            Self::LessOrEqual => compared(|order| order.is_le()),
            Self::GreaterOrEqual => compared(|order| order.is_ge()),
            Self::Equal => compared(|order| order.is_eq()),
            Self::NotEqual => Ok(Bool(compare(&arguments[0], &arguments[1])?.is_none_or(|order| order.is_ne()))),
            Self::BitOr => Ok(Int(first.int()? | arguments[1].int()?)),
            Self::BitXor => Ok(Int(first.int()? ^ arguments[1].int()?)),
            Self::BitAnd => Ok(Int(first.int()? & arguments[1].int()?)),
            Self::BitNot => Ok(Int(!first.int()?)),
            Self::ShiftLeft => Ok(Int(first.int()?.wrapping_shl(arguments[1].int()? as u32))),
            Self::ShiftRight => Ok(Int(first.int()?.wrapping_shr(arguments[1].int()? as u32))),
            Self::Add | Self::Subtract | Self::Multiply | Self::Divide
                if arguments.iter().any(|argument| matches!(argument, Double(_))) =>
            {
                let (a, b) = (first.double()?, arguments[1].double()?);
                Ok(Double(match self {
                    Self::Add => a + b,
                    Self::Subtract => a - b,
                    Self::Multiply => a * b,
                    _ => a / b,
                }))
            }
            Self::Add => overflow(first.int()?.checked_add(arguments[1].int()?)),
            Self::Subtract => overflow(first.int()?.checked_sub(arguments[1].int()?)),
            Self::Multiply => overflow(first.int()?.checked_mul(arguments[1].int()?)),
            Self::Divide | Self::Remainder => match (first.int()?, arguments[1].int()?) {
                (_, 0) => Err("division by zero".to_owned()),
                (a, b) if self == Self::Divide => overflow(a.checked_div(b)),
                (_, -1) => Ok(Int(0)),
                (a, b) => Ok(Int(a % b)),
            },
            Self::Negate => match first {
                Double(value) => Ok(Double(-value)),
                other => overflow(other.int()?.checked_neg()),
            },
            Self::Abs => match first {
                Double(value) => Ok(Double(value.abs())),
                other => Ok(Int(other.int()?.wrapping_abs())),
            },
            Self::ToDouble => Ok(Double(first.double()?)),
            Self::ToInt => Ok(Int(first.int()?)),
            Self::Exp => number(f64::exp),
            Self::Ln => number(|value| if value > 0.0 { value.ln() } else { f64::NAN }),
            Self::Sqrt => number(|value| if value < 0.0 { f64::NAN } else { value.sqrt() }),
            Self::Pi => Ok(Double(std::f64::consts::PI)),
            Self::Power => Ok(Double(power(first.double()?, arguments[1].double()?))),
            Self::Greatest | Self::Least => extreme(self, arguments),
            Self::HashFnv1a => Ok(Int(random::hash_fnv1a(first.int()?, seed_of(arguments, 1, seed)?))),
            Self::HashMurmur2 => Ok(Int(random::hash_murmur2(first.int()?, seed_of(arguments, 1, seed)?))),
            Self::Permute => {
                let size = arguments[1].int()?;
                if size <= 0 {
                    return Err("permute's size must be above 0".to_owned());
                }
                Ok(Int(random::permute(first.int()?, size, seed_of(arguments, 2, seed)?)))
            }
            Self::Random | Self::RandomExponential | Self::RandomGaussian | Self::RandomZipfian => {
                self.draw(arguments, random)
            }
            Self::IsNull | Self::IsTrue | Self::IsFalse | Self::Debug => Ok(Null),
        }
    }

    fn draw(self, arguments: &[Value], random: &mut ChaCha8Rng) -> Result<Value, String> {
        let (from, to) = (arguments[0].int()?, arguments[1].int()?);
        if from > to {
            return Err(format!("from {from} to {to} there is no number"));
        }
        if self == Self::Random {
            return Ok(Value::Int(random.random_range(from..=to)));
        }
        let parameter = arguments[2].double()?;
        if to.checked_sub(from).is_none_or(|width| width == i64::MAX) {
            return Err(format!("from {from} to {to} is too wide"));
        }
        let at_least = |least: f64, what: &str| {
            if parameter >= least {
                Ok(())
            } else {
                Err(format!("the parameter of {what} must be at least {least}, got {parameter}"))
            }
        };
        Ok(Value::Int(match self {
            Self::RandomGaussian => {
                at_least(random::GAUSSIAN_MIN, "random_gaussian")?;
                random::gaussian(from, to, parameter, random)
            }
            Self::RandomExponential => {
                if parameter <= 0.0 {
                    return Err(format!("the parameter of random_exponential must be above 0, got {parameter}"));
                }
                random::exponential(from, to, parameter, random)
            }
            _ => {
                if !(random::ZIPFIAN_MIN..=random::ZIPFIAN_MAX).contains(&parameter) {
                    return Err(format!(
                        "the parameter of random_zipfian must lie between 1.001 and 1000, got {parameter}"
                    ));
                }
                random::zipfian(from, to, parameter, random)
            }
        }))
    }
}

fn seed_of(arguments: &[Value], index: usize, default: i64) -> Result<i64, String> {
    arguments.get(index).map_or(Ok(default), Value::int)
}

/// As the SQL function: some cases differ from C's.
fn power(base: f64, exponent: f64) -> f64 {
    if base < 0.0 && exponent.fract() != 0.0 { f64::NAN } else { base.powf(exponent) }
}

fn compare(a: &Value, b: &Value) -> Result<Option<std::cmp::Ordering>, String> {
    Ok(match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
        _ => a.double()?.partial_cmp(&b.double()?),
    })
}

fn extreme(function: Function, arguments: &[Value]) -> Result<Value, String> {
    if arguments.iter().any(|argument| matches!(argument, Value::Double(_))) {
        let mut best = arguments[0].double()?;
        for argument in &arguments[1..] {
            let value = argument.double()?;
            best = if function == Function::Greatest { best.max(value) } else { best.min(value) };
        }
        return Ok(Value::Double(best));
    }
    let mut best = arguments[0].int()?;
    for argument in &arguments[1..] {
        let value = argument.int()?;
        best = if function == Function::Greatest { best.max(value) } else { best.min(value) };
    }
    Ok(Value::Int(best))
}
