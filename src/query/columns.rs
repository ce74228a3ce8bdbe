//! How columns are named.

use std::collections::HashMap;

use crate::influxql::ast::{Expr, Field, SelectStatement};

/// An expression as error texts show it.
pub fn text(expr: &Expr) -> String {
    expr.to_string()
}

/// The name of a field: its alias, its function, its reference, or the names in its expression joined by `_`.
pub fn field_name(field: &Field) -> String {
    match &field.alias {
        Some(alias) if !alias.is_empty() => alias.clone(),
        _ => expr_name(&field.expr),
    }
}

fn expr_name(expr: &Expr) -> String {
    match expr {
        Expr::Call(call) => call.name.clone(),
        Expr::VarRef(var) => var.name.clone(),
        Expr::Paren(inner) => expr_name(inner),
        Expr::Distinct(_) => "distinct".to_string(),
        Expr::Binary(_) => {
            let mut names = Vec::new();
            names_in(expr, &mut names);
            names.join("_")
        }
        _ => String::new(),
    }
}

fn names_in(expr: &Expr, names: &mut Vec<String>) {
    match expr {
        Expr::VarRef(var) => names.push(var.name.clone()),
        Expr::Call(call) => names.push(call.name.clone()),
        Expr::Binary(binary) => {
            names_in(&binary.left, names);
            names_in(&binary.right, names);
        }
        Expr::Paren(inner) => names_in(inner, names),
        _ => {}
    }
}

/// The fields that become columns: those selected, each `top` and `bottom` followed by its tags unless the answer is
/// written elsewhere.
pub fn output_fields(statement: &SelectStatement) -> Vec<Field> {
    let mut fields = Vec::with_capacity(statement.fields.len());
    for field in &statement.fields {
        fields.push(field.clone());
        if statement.target.is_none()
            && let Expr::Call(call) = &field.expr
            && matches!(call.name.as_str(), "top" | "bottom")
            && call.args.len() > 2
        {
            for argument in &call.args[1..call.args.len() - 1] {
                if matches!(argument, Expr::VarRef(_)) {
                    fields.push(Field { expr: argument.clone(), alias: None });
                }
            }
        }
    }
    fields
}

/// Names of the columns of `fields`, each once: aliases first, then what clashes gets `_1`, `_2`, …
pub fn column_names(fields: &[Field], time_name: Option<&str>) -> Vec<String> {
    let mut used: HashMap<String, u64> = HashMap::new();
    for field in fields {
        if let Some(alias) = &field.alias
            && !alias.is_empty()
        {
            used.insert(alias.clone(), 1);
        }
    }
    let mut names = Vec::with_capacity(fields.len() + 1);
    names.extend(time_name.map(str::to_string));
    for field in fields {
        if let Some(alias) = &field.alias
            && !alias.is_empty()
        {
            names.push(alias.clone());
            continue;
        }
        let mut name = expr_name(&field.expr);
        if let Some(&first) = used.get(&name) {
            let mut count = first;
            let unclashing = loop {
                let candidate = format!("{name}_{count}");
                if !used.contains_key(&candidate) {
                    break candidate;
                }
                count += 1;
            };
            used.insert(name, count + 1);
            name = unclashing;
        }
        *used.entry(name.clone()).or_insert(0) += 1;
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &[(&str, Option<&str>)], want: &[&str]) {
        let fields: Vec<Field> = fields
            .iter()
            .map(|(name, alias)| Field { expr: Expr::var(*name), alias: alias.map(str::to_string) })
            .collect();
        assert_eq!(column_names(&fields, Some("time")), want);
    }

    #[test]
    fn clashing_names_are_numbered() {
        check(&[("a", None), ("a", None), ("a", None)], &["time", "a", "a_1", "a_2"]);
        check(&[("a", None), ("b", Some("a")), ("a", None)], &["time", "a_1", "a", "a_2"]);
        check(&[("a", Some("x")), ("x", None), ("x_1", None)], &["time", "x", "x_1", "x_1_1"]);
    }
}
