//! Expressions: operands in a row with operators between, then grouped by precedence.

use super::*;

/// An operand, and the height of its tree.
type Operand = (Expr, usize);

impl Parser<'_> {
    pub(super) fn parse_expr(&mut self) -> Result<Expr> {
        Ok(self.parse_operands()?.0)
    }

    fn parse_operands(&mut self) -> Result<Operand> {
        let mut operands = vec![self.parse_operand()?];
        let mut operators = Vec::new();
        loop {
            let Some(operator) = self.next().token.operator() else {
                self.put_back();
                return group(operands, operators);
            };
            let operand = if operator.is_regex() {
                match self.parse_regex()? {
                    Some(regex) => (Expr::Regex(regex), 1),
                    None => return Err(ParseError::expected(&self.next(), &["regex"])),
                }
            } else {
                let (expr, height) = self.parse_operand()?;
                // `a * -b` is `a * (-1 * b)`: without the parentheses it would read back as another tree.
                if operator.precedence() == 5 && matches!(expr, Expr::Binary(_)) {
                    (Expr::Paren(Box::new(expr)), height + 1)
                } else {
                    (expr, height)
                }
            };
            operators.push(operator);
            operands.push(operand);
        }
    }

    /// One operand: a literal, name, call, wildcard, or something in parentheses, possibly with a sign.
    fn parse_operand(&mut self) -> Result<Operand> {
        self.count_node()?;
        let lexeme = self.next();
        let leaf = match lexeme.token {
            Token::OpenParen => {
                let (inner, height) = self.descend(Self::parse_operands)?;
                let end = self.next();
                if end.token != Token::CloseParen {
                    return Err(ParseError::expected(&end, &[")"]));
                }
                return bounded(Expr::Paren(Box::new(inner)), height + 1);
            }
            Token::Ident => {
                if self.next_raw().token == Token::OpenParen {
                    return self.parse_call(lexeme.text.to_lowercase());
                }
                self.put_back();
                self.put_back();
                Expr::VarRef(self.parse_var_ref()?)
            }
            Token::Distinct => {
                let next = self.next_raw();
                match next.token {
                    Token::OpenParen => return self.parse_call("distinct".into()),
                    Token::Space => Expr::Distinct(self.parse_ident()?),
                    _ => return Err(ParseError::expected(&next, &["(", "identifier"])),
                }
            }
            Token::String => Expr::String(lexeme.text),
            Token::Number => match lexeme.text.parse() {
                Ok(number) => Expr::Number(number),
                Err(_) => return Err(ParseError::at(lexeme.position, "unable to parse number")),
            },
            Token::Integer => match (lexeme.text.parse(), lexeme.text.parse()) {
                (Ok(integer), _) => Expr::Integer(integer),
                (_, Ok(unsigned)) => Expr::Unsigned(unsigned),
                _ => return Err(ParseError::at(lexeme.position, "unable to parse integer")),
            },
            Token::True => Expr::Boolean(true),
            Token::False => Expr::Boolean(false),
            Token::Duration => Expr::Duration(parse_duration(&lexeme.text).map_err(ParseError::new)?),
            Token::Multiply => Expr::Wildcard(self.parse_wildcard_kind()?),
            Token::Regex => Expr::Regex(self.compile_regex(lexeme.text, lexeme.position)?),
            Token::BoundParameter => return Err(self.explain_parameter(&lexeme.text[1..])),
            Token::Add | Token::Subtract => return self.parse_signed(lexeme.token == Token::Subtract),
            _ => return Err(ParseError::expected(&lexeme, &["identifier", "string", "number", "bool"])),
        };
        Ok((leaf, 1))
    }

    fn parse_signed(&mut self, negative: bool) -> Result<Operand> {
        let next = self.next();
        if !matches!(
            next.token,
            Token::Number | Token::Integer | Token::Duration | Token::OpenParen | Token::Ident
        ) {
            return Err(ParseError::expected(&next, &["identifier", "number", "duration", "("]));
        }
        self.put_back();
        let (operand, height) = self.parse_operand()?;
        let leaf = match operand {
            Expr::Number(number) if negative => Expr::Number(-number),
            Expr::Integer(integer) if negative => Expr::Integer(integer.wrapping_neg()),
            Expr::Unsigned(unsigned) if negative => {
                // The least integer is one greater than the greatest negated.
                if unsigned != i64::MIN.unsigned_abs() {
                    return Err(ParseError::new(format!("constant -{unsigned} underflows int64")));
                }
                Expr::Integer(i64::MIN)
            }
            Expr::Duration(duration) if negative => Expr::Duration(duration.wrapping_neg()),
            literal @ (Expr::Number(_) | Expr::Integer(_) | Expr::Unsigned(_) | Expr::Duration(_)) => literal,
            other => {
                let sign = Expr::Integer(if negative { -1 } else { 1 });
                return bounded(Expr::binary(BinaryOp::Multiply, sign, other), height + 1);
            }
        };
        Ok((leaf, 1))
    }

    /// The arguments of a call, after its opening parenthesis.
    fn parse_call(&mut self, name: String) -> Result<Operand> {
        let (args, height) = self.descend(Self::parse_arguments)?;
        bounded(Expr::Call(Call { name, args }), height + 1)
    }

    fn parse_arguments(&mut self) -> Result<(Vec<Expr>, usize)> {
        let mut args = Vec::new();
        let mut height_max = 0;
        loop {
            match self.parse_regex()? {
                Some(regex) => args.push(Expr::Regex(regex)),
                None => {
                    if args.is_empty() {
                        if self.next_raw().token == Token::CloseParen {
                            return Ok((args, 0));
                        }
                        self.put_back();
                    }
                    let (argument, height) = self.parse_operands()?;
                    height_max = height_max.max(height);
                    args.push(argument);
                }
            }
            if !self.next_is(Token::Comma) {
                break;
            }
        }
        let end = self.next_raw();
        if end.token != Token::CloseParen {
            return Err(ParseError::expected(&end, &[")"]));
        }
        Ok((args, height_max))
    }

    /// `a`, `a.b`, `a::float`.
    fn parse_var_ref(&mut self) -> Result<VarRef> {
        let name = self.parse_segments()?.join(".");
        if self.next_raw().token != Token::DoubleColon {
            self.put_back();
            return Ok(VarRef { name, data_type: None });
        }
        let lexeme = self.next_raw();
        let data_type = match lexeme.token {
            Token::Field => Some(DataType::AnyField),
            Token::Tag => Some(DataType::Tag),
            Token::Ident => match lexeme.text.to_lowercase().as_str() {
                "float" => Some(DataType::Float),
                "integer" => Some(DataType::Integer),
                "unsigned" => Some(DataType::Unsigned),
                "string" => Some(DataType::String),
                "boolean" => Some(DataType::Boolean),
                _ => None,
            },
            _ => None,
        };
        if data_type.is_none() {
            let expected = ["float", "integer", "unsigned", "string", "boolean", "field", "tag"];
            return Err(ParseError::expected(&lexeme, &expected));
        }
        Ok(VarRef { name, data_type })
    }

    fn parse_wildcard_kind(&mut self) -> Result<WildcardKind> {
        if self.next_raw().token != Token::DoubleColon {
            self.put_back();
            return Ok(WildcardKind::All);
        }
        let lexeme = self.next_raw();
        match lexeme.token {
            Token::Field => Ok(WildcardKind::Field),
            Token::Tag => Ok(WildcardKind::Tag),
            _ => Err(ParseError::expected(&lexeme, &["field", "tag"])),
        }
    }

    /// Why `$name` did not become another token.
    fn explain_parameter(&self, name: &str) -> ParseError {
        if name.is_empty() {
            return ParseError::new("empty bound parameter");
        }
        match self.parameters.get(name) {
            Some(parameter) => ParseError::new(parameter.token().1),
            None => ParseError::new(format!("missing parameter: {name}")),
        }
    }
}

fn bounded(expr: Expr, height: usize) -> Result<Operand> {
    if height > DEPTH_MAX { Err(too_deep()) } else { Ok((expr, height)) }
}

fn join(op: BinaryOp, left: Operand, right: Operand) -> Result<Operand> {
    bounded(Expr::binary(op, left.0, right.0), left.1.max(right.1) + 1)
}

/// Groups a row of operands: the tightest operators first, each level from the left.
fn group(mut operands: Vec<Operand>, mut operators: Vec<BinaryOp>) -> Result<Operand> {
    for precedence in (3..=5).rev() {
        if !operators.iter().any(|op| op.precedence() == precedence) {
            continue;
        }
        let mut rest = operands.into_iter();
        let mut grouped: Vec<Operand> = rest.next().into_iter().collect();
        let mut kept = Vec::new();
        for (op, right) in operators.into_iter().zip(rest) {
            if op.precedence() == precedence {
                let left = grouped.pop().expect("every operator has an operand before it");
                grouped.push(join(op, left, right)?);
            } else {
                kept.push(op);
                grouped.push(right);
            }
        }
        (operands, operators) = (grouped, kept);
    }
    let mut terms = Vec::new();
    let mut factors = Vec::new();
    let mut operators = operators.into_iter();
    for operand in operands {
        factors.push(operand);
        if operators.next() != Some(BinaryOp::And) {
            terms.push(balance(BinaryOp::And, std::mem::take(&mut factors))?);
        }
    }
    balance(BinaryOp::Or, terms)
}

/// A chain of one associative operator as a tree of logarithmic height.
fn balance(op: BinaryOp, mut operands: Vec<Operand>) -> Result<Operand> {
    if operands.len() == 1 {
        return Ok(operands.remove(0));
    }
    let right = operands.split_off(operands.len().div_ceil(2));
    join(op, balance(op, operands)?, balance(op, right)?)
}
