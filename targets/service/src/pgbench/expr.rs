//! Expressions of `\set`, `\if` and `\elif`: words, and a tree by the precedence of pgbench's grammar.

use super::functions::Function;

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A value as it is written.
    Constant(super::Value),
    /// `:name`.
    Variable(String),
    /// Something applied to arguments.
    Call(Function, Vec<Expr>),
    /// `CASE WHEN … THEN … ELSE … END`.
    Case(Vec<(Expr, Expr)>, Box<Expr>),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Integer(String),
    Double(f64),
    Variable(String),
    Word(String),
    Symbol(&'static str),
}

/// The longest first, so that the first that fits is the right one.
const SYMBOLS: [&str; 21] =
    ["<<", ">>", "<=", ">=", "<>", "!=", "<", ">", "=", "(", ")", ",", "+", "-", "*", "/", "%", "&", "|", "#", "~"];

fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let word = |text: &str| text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        if first == ':' {
            let length = word(&rest[1..]);
            if length == 0 {
                return Err("a `:` without the name of a variable".to_owned());
            }
            tokens.push(Token::Variable(rest[1..=length].to_owned()));
            rest = &rest[1 + length..];
        } else if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|c: char| c.is_ascii_digit())) {
            let mut length = rest.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(rest.len());
            let exponent = &rest[length..];
            if exponent.starts_with(['e', 'E']) {
                let signed = exponent[1..].strip_prefix(['+', '-']).unwrap_or(&exponent[1..]);
                let digits = signed.find(|c: char| !c.is_ascii_digit()).unwrap_or(signed.len());
                if digits > 0 {
                    length += exponent.len() - signed.len() + digits;
                }
            }
            let number = &rest[..length];
            tokens.push(if number.bytes().all(|byte| byte.is_ascii_digit()) {
                Token::Integer(number.to_owned())
            } else {
                Token::Double(number.parse().map_err(|_| format!("`{number}` is no number"))?)
            });
            rest = &rest[length..];
        } else if first.is_alphabetic() || first == '_' {
            let length = word(rest);
            tokens.push(Token::Word(rest[..length].to_ascii_lowercase()));
            rest = &rest[length..];
        } else {
            let Some(symbol) = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) else {
                return Err(format!("`{first}` has no meaning in an expression"));
            };
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        }
    }
    Ok(tokens)
}

/// Reads an expression.
///
/// # Errors
/// A sentence about what cannot be read.
pub fn parse(text: &str) -> Result<Expr, String> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    if parser.tokens.is_empty() {
        return Err("the expression is empty".to_owned());
    }
    let expr = parser.binary(0)?;
    match parser.tokens.get(parser.at) {
        None => Ok(expr),
        Some(token) => Err(format!("{} is one too many", shown(token))),
    }
}

fn shown(token: &Token) -> String {
    match token {
        Token::Integer(text) | Token::Word(text) => format!("`{text}`"),
        Token::Double(number) => format!("`{number}`"),
        Token::Variable(name) => format!("`:{name}`"),
        Token::Symbol(symbol) => format!("`{symbol}`"),
    }
}

/// How deep an expression may be nested.
const DEPTH_MAX: u32 = 200;

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
}

/// Operators of two operands by how tightly they bind, loosest first. `NOT`, `IS` and comparisons are between.
fn binary_operator(token: &Token) -> Option<(u8, Function)> {
    let symbol = match token {
        Token::Word(word) if word == "or" => return Some((1, Function::Or)),
        Token::Word(word) if word == "and" => return Some((2, Function::And)),
        Token::Symbol(symbol) => *symbol,
        _ => return None,
    };
    Some(match symbol {
        "<" => (5, Function::Less),
        ">" => (5, Function::Greater),
        "=" => (5, Function::Equal),
        "<=" => (5, Function::LessOrEqual),
        ">=" => (5, Function::GreaterOrEqual),
        "<>" | "!=" => (5, Function::NotEqual),
        "|" => (6, Function::BitOr),
        "#" => (6, Function::BitXor),
        "&" => (6, Function::BitAnd),
        "<<" => (6, Function::ShiftLeft),
        ">>" => (6, Function::ShiftRight),
        "+" => (7, Function::Add),
        "-" => (7, Function::Subtract),
        "*" => (8, Function::Multiply),
        "/" => (8, Function::Divide),
        "%" => (8, Function::Remainder),
        _ => return None,
    })
}

/// `NOT` binds tighter than `AND`, looser than `IS`.
const NOT_LEVEL: u8 = 3;
/// `IS` binds tighter than `NOT`, looser than comparisons.
const IS_LEVEL: u8 = 4;

/// Sums and differences.
const SUM_LEVEL: u8 = 7;

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Word(found)) if found == word);
        self.at += usize::from(there);
        there
    }

    fn takes_symbol(&mut self, symbol: &str) -> bool {
        let there = matches!(self.peek(), Some(Token::Symbol(found)) if *found == symbol);
        self.at += usize::from(there);
        there
    }

    fn needs(&mut self, there: bool, what: &str) -> Result<(), String> {
        if there {
            return Ok(());
        }
        let found = self.peek().map_or_else(|| "the end".to_owned(), shown);
        Err(format!("{what} is missing before {found}"))
    }

    fn binary(&mut self, level: u8) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        let mut left = if level <= NOT_LEVEL && self.takes_word("not") {
            Expr::Call(Function::Not, vec![self.binary(NOT_LEVEL)?])
        } else {
            self.unary()?
        };
        loop {
            if level <= IS_LEVEL
                && let Some((function, turned)) = self.is_test()?
            {
                let test = Expr::Call(function, vec![left]);
                left = if turned { Expr::Call(Function::Not, vec![test]) } else { test };
                continue;
            }
            let Some((found, function)) = self.peek().and_then(binary_operator).filter(|(found, _)| *found >= level)
            else {
                break;
            };
            self.at += 1;
            // Operators of one level are taken from the left.
            let right = self.binary(found + 1)?;
            left = Expr::Call(function, vec![left, right]);
        }
        self.depth -= 1;
        Ok(left)
    }

    /// `IS [NOT] NULL | TRUE | FALSE`, `ISNULL`, `NOTNULL`: the test, and whether it is turned round.
    fn is_test(&mut self) -> Result<Option<(Function, bool)>, String> {
        if self.takes_word("isnull") {
            return Ok(Some((Function::IsNull, false)));
        }
        if self.takes_word("notnull") {
            return Ok(Some((Function::IsNull, true)));
        }
        if !self.takes_word("is") {
            return Ok(None);
        }
        let not = self.takes_word("not");
        for (word, function) in [("null", Function::IsNull), ("true", Function::IsTrue), ("false", Function::IsFalse)] {
            if self.takes_word(word) {
                return Ok(Some((function, not)));
            }
        }
        Err("after IS stands NULL, TRUE or FALSE".to_owned())
    }

    fn unary(&mut self) -> Result<Expr, String> {
        if self.takes_symbol("-") {
            // The smallest integer has no positive counterpart.
            if let Some(Token::Integer(text)) = self.peek()
                && text == "9223372036854775808"
            {
                self.at += 1;
                return Ok(Expr::Constant(super::Value::Int(i64::MIN)));
            }
            let of = self.nested_unary()?;
            return Ok(Expr::Call(Function::Negate, vec![of]));
        }
        if self.takes_symbol("+") {
            return self.nested_unary();
        }
        if self.takes_symbol("~") {
            // Looser than sums, as the grammar of pgbench has it.
            let of = self.binary(SUM_LEVEL)?;
            return Ok(Expr::Call(Function::BitNot, vec![of]));
        }
        self.primary()
    }

    fn nested_unary(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it is nested deeper than {DEPTH_MAX}"));
        }
        let of = self.unary();
        self.depth -= 1;
        of
    }

    fn primary(&mut self) -> Result<Expr, String> {
        use super::Value;
        let token = self.peek().cloned().ok_or("it ends too early")?;
        self.at += 1;
        Ok(match token {
            Token::Integer(text) => Expr::Constant(Value::Int(
                text.parse().map_err(|_| format!("`{text}` is larger than a 64-bit integer; write `{text}.0`"))?,
            )),
            Token::Double(number) => Expr::Constant(Value::Double(number)),
            Token::Variable(name) => Expr::Variable(name),
            Token::Symbol("(") => {
                let inner = self.binary(0)?;
                let there = self.takes_symbol(")");
                self.needs(there, "`)`")?;
                inner
            }
            Token::Word(word) => match word.as_str() {
                "null" => Expr::Constant(Value::Null),
                "true" => Expr::Constant(Value::Bool(true)),
                "false" => Expr::Constant(Value::Bool(false)),
                "case" => return self.case(),
                _ => return self.call(&word),
            },
            token @ Token::Symbol(_) => return Err(format!("{} where a value should stand", shown(&token))),
        })
    }

    fn case(&mut self) -> Result<Expr, String> {
        let mut arms = Vec::new();
        while self.takes_word("when") {
            let when = self.binary(0)?;
            let there = self.takes_word("then");
            self.needs(there, "`THEN`")?;
            arms.push((when, self.binary(0)?));
        }
        self.needs(!arms.is_empty(), "`WHEN`")?;
        let otherwise = if self.takes_word("else") { self.binary(0)? } else { Expr::Constant(super::Value::Null) };
        let there = self.takes_word("end");
        self.needs(there, "`END`")?;
        Ok(Expr::Case(arms, Box::new(otherwise)))
    }

    fn call(&mut self, name: &str) -> Result<Expr, String> {
        let (function, arguments_min, arguments_max) =
            Function::named(name).ok_or_else(|| format!("there is no function `{name}`"))?;
        let there = self.takes_symbol("(");
        self.needs(there, &format!("`(` after `{name}`"))?;
        let mut arguments = Vec::new();
        if !self.takes_symbol(")") {
            loop {
                arguments.push(self.binary(0)?);
                if self.takes_symbol(")") {
                    break;
                }
                let there = self.takes_symbol(",");
                self.needs(there, "`,` or `)`")?;
            }
        }
        if !(arguments_min..=arguments_max).contains(&arguments.len()) {
            let wanted = match arguments_max {
                usize::MAX => format!("at least {arguments_min}"),
                _ if arguments_min == arguments_max => arguments_min.to_string(),
                _ => format!("{arguments_min} to {arguments_max}"),
            };
            return Err(format!("`{name}` takes {wanted} arguments, got {}", arguments.len()));
        }
        Ok(Expr::Call(function, arguments))
    }
}
