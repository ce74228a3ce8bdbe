//! Literals in the place of calls that read nothing but have an answer all the same.

use super::types::is_math_function;
use crate::influxql::ast::{Expr, Field};

/// The field with each of the calls replaced by its literal.
pub(super) fn with_stand_ins(field: &Field, stand_ins: &[(&Expr, Expr)]) -> Field {
    let mut field = field.clone();
    put_stand_ins(&mut field.expr, stand_ins);
    field
}

/// The outermost calls alone are replaced: those within them are not theirs.
fn put_stand_ins(expr: &mut Expr, stand_ins: &[(&Expr, Expr)]) {
    if let Some((_, literal)) = stand_ins.iter().find(|(call, _)| **call == *expr) {
        *expr = literal.clone();
        return;
    }
    match expr {
        Expr::Paren(inner) => put_stand_ins(inner, stand_ins),
        Expr::Binary(binary) => {
            put_stand_ins(&mut binary.left, stand_ins);
            put_stand_ins(&mut binary.right, stand_ins);
        }
        Expr::Call(call) if is_math_function(&call.name) => {
            call.args.iter_mut().for_each(|argument| put_stand_ins(argument, stand_ins));
        }
        _ => {}
    }
}
