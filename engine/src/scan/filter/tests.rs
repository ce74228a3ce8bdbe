use super::*;
use crate::model::{SeriesKey, series_key};
use proptest::prelude::*;

fn field(name: &str) -> Expr {
    Expr::Field(name.into())
}

fn tag(name: &str) -> Expr {
    Expr::Tag(name.into())
}

fn integer(value: i64) -> Expr {
    Expr::Literal(Value::Integer(value))
}

fn float(value: f64) -> Expr {
    Expr::Literal(Value::Float(value))
}

fn text(value: &str) -> Expr {
    Expr::Literal(Value::String(value.into()))
}

fn binary(left: Expr, op: BinaryOp, right: Expr) -> Expr {
    Expr::Binary { op, left: Box::new(left), right: Box::new(right) }
}

fn call(name: &str, arguments: Vec<Expr>) -> Expr {
    Expr::Call { name: name.into(), arguments }
}

/// Four rows: f float, i integer, u unsigned, b boolean, s string; each absent in some row.
fn column(name: &[u8]) -> Option<Column> {
    use Value::*;
    let text = |text: &str| Some(String(text.into()));
    let values: Vec<Option<Value>> = match name {
        b"f" => vec![Some(Float(1.0)), Some(Float(2.5)), None, Some(Float(-0.5))],
        b"i" => vec![Some(Integer(5)), None, Some(Integer(-7)), Some(Integer(0))],
        b"u" => vec![Some(Unsigned(5)), Some(Unsigned(u64::MAX)), Some(Unsigned(1)), None],
        b"b" => vec![Some(Boolean(true)), Some(Boolean(false)), None, Some(Boolean(true))],
        b"s" => vec![text("x"), text("yes"), text(""), None],
        _ => return None,
    };
    let field_type = values.iter().flatten().next().map(Value::field_type)?;
    let mut column = Column::empty(field_type);
    values.iter().for_each(|value| column.push(value.as_ref()));
    Some(column)
}

const TIMES: [i64; 4] = [10, 20, 30, 40];

fn specialised(expr: &Expr) -> (SeriesProgram, Vec<Option<Column>>, Program) {
    let program = Program::compile(expr, Division::Integer).expect("a good expression");
    let key = SeriesKey::build(b"m", &[(b"host", b"a b"), (b"zone", b"eu")]).0;
    let columns = program.fields().iter().map(|name| column(name)).collect();
    (program.for_series(&|name| series_key::tag_value(&key, name)), columns, program)
}

#[track_caller]
fn selects(expr: Expr, want: [bool; 4]) {
    let (program, columns, _) = specialised(&expr);
    let columns: Vec<Option<&Column>> = columns.iter().map(Option::as_ref).collect();
    let got = program.select(&TIMES, &columns);
    assert_eq!((0..4).map(|row| got.get(row)).collect::<Vec<_>>(), want, "{expr:?}");
}

#[track_caller]
fn gives(expr: Expr, want: [Option<Value>; 4]) {
    let (program, columns, compiled) = specialised(&expr);
    let refs: Vec<Option<&Column>> = columns.iter().map(Option::as_ref).collect();
    let got = program.evaluate(&TIMES, &refs);
    assert_eq!((0..4).map(|row| got.get(row)).collect::<Vec<_>>(), want, "{expr:?}");
    let types: Vec<_> = columns.iter().map(|column| column.as_ref().map(Column::field_type)).collect();
    if let Some(field_type) = compiled.type_of(&types) {
        assert_eq!(got.field_type(), field_type, "{expr:?}");
    }
}

#[test]
fn comparisons_follow_the_types() {
    use BinaryOp::*;
    const F: bool = false;
    const T: bool = true;
    selects(binary(field("f"), Greater, integer(0)), [T, T, F, F]);
    selects(binary(field("i"), LessEqual, float(0.0)), [F, F, T, T]);
    selects(binary(field("i"), Equal, field("u")), [T, F, F, F]);
    selects(binary(field("i"), Less, field("u")), [F, F, T, F]);
    selects(binary(field("u"), Greater, integer(-1)), [T, T, T, F]);
    selects(binary(field("f"), Equal, field("i")), [F, F, F, F]);
    selects(binary(field("b"), NotEqual, Expr::Literal(Value::Boolean(true))), [F, T, F, F]);
    selects(binary(field("s"), Equal, text("x")), [T, F, F, F]);
    selects(binary(field("s"), NotEqual, text("x")), [F, T, T, F]);
    selects(binary(Expr::Time, GreaterEqual, integer(30)), [F, F, T, T]);
    // Unlike types, and fields that are not there, compare as false: `!=` too.
    selects(binary(field("f"), NotEqual, text("x")), [F, F, F, F]);
    selects(binary(field("s"), Equal, field("f")), [F, F, F, F]);
    selects(binary(field("s"), Less, text("z")), [F, F, F, F]);
    selects(binary(field("nope"), NotEqual, integer(1)), [F, F, F, F]);
}

#[test]
fn conditions_combine_and_take_what_is_no_boolean_for_false() {
    use BinaryOp::*;
    let big = || binary(field("f"), Greater, integer(2));
    selects(binary(big(), Or, field("b")), [true, true, false, true]);
    selects(binary(big(), And, binary(tag("host"), Equal, text("a b"))), [false, true, false, false]);
    selects(binary(big(), And, binary(tag("host"), Equal, text("c"))), [false; 4]);
    selects(binary(big(), Or, binary(tag("none"), Equal, text(""))), [true; 4]);
    selects(binary(field("i"), And, Expr::Literal(Value::Boolean(true))), [false; 4]);
    selects(Expr::Literal(Value::Boolean(true)), [true; 4]);
    selects(field("i"), [false; 4]);
}

#[test]
fn patterns_match_strings_and_tags() {
    let matches = |left: Expr, pattern: &str, negated| Expr::Matches {
        left: Box::new(left),
        pattern: pattern.into(),
        negated,
    };
    selects(matches(field("s"), "^y", false), [false, true, false, false]);
    selects(matches(field("s"), "^y", true), [true, false, true, false]);
    selects(matches(field("f"), ".*", false), [false; 4]);
    selects(matches(field("f"), "x", true), [false; 4]);
    selects(matches(tag("zone"), "e|f", false), [true; 4]);
    selects(matches(tag("none"), "^$", false), [true; 4]);
    assert!(Program::compile(&matches(field("s"), "(", false), Division::Integer).is_err());
}

#[test]
fn arithmetic_follows_the_types_and_never_fails() {
    use BinaryOp::*;
    let ints = |values: [Option<i64>; 4]| values.map(|value| value.map(Value::Integer));
    let floats = |values: [Option<f64>; 4]| values.map(|value| value.map(Value::Float));
    gives(binary(field("i"), Divide, integer(2)), ints([Some(2), None, Some(-3), Some(0)]));
    gives(binary(integer(7), Divide, field("i")), ints([Some(1), None, Some(-1), Some(0)]));
    gives(binary(field("i"), Modulo, integer(4)), ints([Some(1), None, Some(-3), Some(0)]));
    gives(binary(field("i"), Modulo, integer(0)), ints([Some(0), None, Some(0), Some(0)]));
    gives(binary(field("f"), Divide, integer(0)), floats([Some(0.0), Some(0.0), None, Some(0.0)]));
    gives(binary(field("f"), Add, field("i")), floats([Some(6.0), None, None, Some(-0.5)]));
    gives(
        binary(integer(i64::MAX), Add, field("i")),
        ints([Some(i64::MIN + 4), None, Some(i64::MAX - 7), Some(i64::MAX)]),
    );
    gives(
        binary(field("u"), Add, integer(1)),
        [Some(6), Some(0), Some(2), None].map(|value| value.map(Value::Unsigned)),
    );
    gives(binary(field("i"), BitAnd, integer(4)), ints([Some(4), None, Some(0), Some(0)]));
    gives(binary(field("f"), BitAnd, integer(4)), [None, None, None, None]);
    gives(binary(field("s"), Add, integer(4)), [None, None, None, None]);
    gives(
        binary(field("b"), BitXor, Expr::Literal(Value::Boolean(true))),
        [Some(false), Some(true), None, Some(false)].map(|value| value.map(Value::Boolean)),
    );
    selects(binary(binary(field("f"), Modulo, integer(0)), Equal, integer(0)), [false; 4]);
}

#[test]
fn division_of_integers_in_a_select_list_is_a_float() {
    let expr = binary(field("i"), BinaryOp::Divide, integer(2));
    let program = Program::compile(&expr, Division::Float).expect("a good expression");
    let column = column(b"i");
    let got = program.for_series(&|_| None).evaluate(&TIMES, &[column.as_ref()]);
    assert_eq!(got.get(0), Some(Value::Float(2.5)));
    assert_eq!(program.type_of(&[Some(FieldType::Integer)]), Some(FieldType::Float));
}

#[test]
fn math_functions_work_on_numbers() {
    let floats = |values: [Option<f64>; 4]| values.map(|value| value.map(Value::Float));
    gives(call("abs", vec![field("f")]), floats([Some(1.0), Some(2.5), None, Some(0.5)]));
    gives(call("round", vec![field("f")]), floats([Some(1.0), Some(3.0), None, Some(-1.0)]));
    gives(
        call("abs", vec![field("i")]),
        [Some(5), None, Some(7), Some(0)].map(|value: Option<i64>| value.map(Value::Integer)),
    );
    gives(call("abs", vec![integer(-3)]), [3; 4].map(|value| Some(Value::Integer(value))));
    gives(call("pow", vec![field("i"), integer(2)]), floats([Some(25.0), None, Some(49.0), Some(0.0)]));
    gives(call("sqrt", vec![field("s")]), [None, None, None, None]);
    selects(binary(call("log", vec![integer(8), integer(2)]), BinaryOp::Greater, float(2.9)), [true; 4]);
    assert!(Program::compile(&call("abs", vec![]), Division::Integer).is_err());
    assert!(Program::compile(&call("mean", vec![field("f")]), Division::Integer).is_err());
}

#[test]
fn what_depends_on_tags_alone_is_decided_per_series() {
    let verdict = |expr: Expr| {
        let program = Program::compile(&expr, Division::Integer).expect("a good expression");
        program.verdict(&|name| (name == b"host").then_some(Cow::Borrowed(b"a".as_slice())))
    };
    let is = |name: &str, value: &str| binary(tag(name), BinaryOp::Equal, text(value));
    let high = || binary(field("f"), BinaryOp::Greater, integer(2));
    assert!(matches!(verdict(is("host", "a")), Verdict::All));
    assert!(matches!(verdict(binary(is("host", "b"), BinaryOp::And, high())), Verdict::None));
    assert!(matches!(verdict(binary(is("host", "a"), BinaryOp::Or, high())), Verdict::All));
    let Verdict::Rows(rows) = verdict(binary(is("host", "a"), BinaryOp::And, high())) else {
        panic!("the rows decide");
    };
    assert!(matches!(rows.root, Node::Binary { op: BinaryOp::Greater, .. }), "the tag part is gone");
    assert!(rows.may_pass(&|_| Some((0.0, 3.0))));
    assert!(!rows.may_pass(&|_| Some((0.0, 2.0))));
    assert!(rows.may_pass(&|_| None));
}

proptest! {
    /// Ruling a block out by its bounds never loses a row that passes.
    #[test]
    fn bounds_never_rule_out_a_row_that_passes(
        values in prop::collection::vec(-5i64..5, 1..20),
        literal in -6i64..6,
        op in prop::sample::select(vec![
            BinaryOp::Equal, BinaryOp::NotEqual, BinaryOp::Less,
            BinaryOp::LessEqual, BinaryOp::Greater, BinaryOp::GreaterEqual,
        ]),
        swapped: bool,
    ) {
        let (left, right) = if swapped { (integer(literal), field("v")) } else { (field("v"), integer(literal)) };
        let program = Program::compile(&binary(left, op, right), Division::Integer).expect("good").for_series(&|_| None);
        let times: Vec<i64> = (0..values.len() as i64).collect();
        let least = *values.iter().min().expect("some") as f64;
        let greatest = *values.iter().max().expect("some") as f64;
        let column = Column { data: ColumnData::Integer(values), present: None };
        let passed = program.select(&times, &[Some(&column)]).count();
        prop_assert!(passed == 0 || program.may_pass(&|_| Some((least, greatest))));
    }
}
