//! What is read, what is refused and in which words.

mod forms;

use super::parse;
use crate::diagnostics::Code;
use crate::source::{SourceId, SourceMap};
use crate::syntax::*;

fn tree(text: &str) -> File {
    let (file, faults) = parse(SourceId(0), text);
    assert!(faults.is_empty(), "{text}: {faults:?}");
    file
}

fn statement(text: &str) -> StatementKind {
    let mut file = tree(text);
    assert_eq!(file.statements.len(), 1, "{text}: {:?}", file.statements);
    file.statements.remove(0).kind
}

/// An expression with the brackets that its tree stands for.
fn grouped(text: &str) -> String {
    match statement(&format!("let it = {text}")) {
        StatementKind::Let { value, .. } => show(&value),
        other => panic!("{other:?}"),
    }
}

fn show(expr: &Expr) -> String {
    let all = |items: &[Expr]| items.iter().map(show).collect::<Vec<_>>().join(" ");
    match &expr.kind {
        ExprKind::Int(value) => value.to_string(),
        ExprKind::Float(value) => format!("{value:?}"),
        ExprKind::Bool(value) => value.to_string(),
        ExprKind::Text(text) => format!("{text:?}"),
        ExprKind::Quantity(amount, unit) => format!("{amount}{unit:?}"),
        ExprKind::Name(name) => name.to_string(),
        ExprKind::List(items) => format!("[{}]", all(items)),
        ExprKind::Comprehension { item, pattern, over, filter } => {
            let filter = filter.as_ref().map_or(String::new(), |filter| format!(" if {}", show(filter)));
            format!("[{} for {} in {}{filter}]", show(item), show_pattern(pattern), show(over))
        }
        ExprKind::Record(items) => {
            let items = items.iter().map(|item| match item {
                RecordItem::Field { name, value } => format!("{}:{}", name.text, show(value)),
                RecordItem::Pun(value) => show(value),
                RecordItem::Spread(value) => format!("..{}", show(value)),
            });
            format!("{{{}}}", items.collect::<Vec<_>>().join(" "))
        }
        ExprKind::Block(block) => format!("block({})", show_block(block)),
        ExprKind::Lambda { params, body } => {
            let params = params.iter().map(|param| &*param.name.text).collect::<Vec<_>>().join(" ");
            format!("(|{params}| {})", show_block(body))
        }
        ExprKind::Unary(op, value) => format!("({op:?} {})", show(value)),
        ExprKind::Binary { op, left, right, .. } => format!("({op:?} {} {})", show(left), show(right)),
        ExprKind::Pipe { left, right } => format!("(Pipe {} {})", show(left), show(right)),
        ExprKind::Call { callee, arguments } => {
            let arguments = arguments.iter().map(|argument| match &argument.name {
                Some(name) => format!("{}:{}", name.text, show(&argument.value)),
                None if argument.spread => format!("..{}", show(&argument.value)),
                None => show(&argument.value),
            });
            format!("{}({})", show(callee), arguments.collect::<Vec<_>>().join(" "))
        }
        ExprKind::Index { base, items } => {
            let items = items.iter().map(|item| match item {
                IndexItem::Value(value) => show(value),
                IndexItem::All(_) => ":".to_string(),
                IndexItem::Rest(_) => "...".to_string(),
                IndexItem::New(_) => "new".to_string(),
            });
            format!("{}[{}]", show(base), items.collect::<Vec<_>>().join(" "))
        }
        ExprKind::Field { base, name } => format!("{}.{}", show(base), name.text),
        ExprKind::Range { start, end, step } => {
            let end_of = |end: &Option<Box<Expr>>| end.as_ref().map_or(String::new(), |end| show(end));
            let step = step.as_ref().map_or(String::new(), |step| format!(" step {}", show(step)));
            format!("({}..{}{step})", end_of(start), end_of(end))
        }
        ExprKind::If { condition, then, otherwise } => {
            let otherwise = otherwise.as_ref().map_or("nothing".to_string(), |block| show_block(block));
            format!("(if {} {} {otherwise})", show(condition), show_block(then))
        }
        ExprKind::Paren(inner) => format!("({})", show(inner)),
        ExprKind::Error => "error".to_string(),
    }
}

fn show_pattern(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Name(name) => name.text.to_string(),
        Pattern::Record { fields, .. } => {
            format!(
                "{{{}}}",
                fields
                    .iter()
                    .map(|(field, bound)| format!("{}:{}", field.text, bound.text))
                    .collect::<Vec<_>>()
                    .join(" ")
            )
        }
        Pattern::List { items, .. } => format!("[{}]", items.iter().map(show_pattern).collect::<Vec<_>>().join(" ")),
    }
}

fn show_block(block: &Block) -> String {
    let statements = block.statements.iter().map(|statement| match &statement.kind {
        StatementKind::Expr(value) => show(value),
        StatementKind::Let { pattern, value, .. } => format!("let {}={}", show_pattern(pattern), show(value)),
        other => format!("{other:?}").split([' ', '(']).next().unwrap_or("").to_string(),
    });
    statements.collect::<Vec<_>>().join("; ")
}

#[test]
fn operators_bind_as_the_manual_lists_them() {
    assert_eq!(grouped("a |> f |> g(1)"), "(Pipe (Pipe a f) g(1))");
    assert_eq!(grouped("a or b and not c == d |> f"), "(Pipe (Or a (And b (Not (Equal c d)))) f)");
    assert_eq!(grouped("0..n + 1 < k"), "(Less (0..(Add n 1)) k)");
    assert_eq!(grouped("a - b - c * d / e"), "(Subtract (Subtract a b) (Divide (Multiply c d) e))");
    assert_eq!(grouped("a * x @ w // b % c"), "(Remainder (FloorDivide (Multiply a (MatMul x w)) b) c)");
    assert_eq!(grouped("-x^2 + 2^-1 * -y"), "(Add (Negate (Power x 2)) (Multiply (Power 2 (Negate 1)) (Negate y)))");
    assert_eq!(grouped("2^3^2"), "(Power 2 (Power 3 2))");
    assert_eq!(grouped("-a @ b"), "(MatMul (Negate a) b)");
    assert_eq!(grouped("path has \"adapter\" and i in [1, 3]"), "(And (Has path \"adapter\") (Has [1 3] i))");
}

#[test]
fn literals() {
    assert_eq!(grouped("[3, 1_000, 5e-3, 0.6, 1e3]"), "[3 1000 0.005 0.6 1000.0]");
    assert_eq!(grouped("[10 epochs, 500 steps, 2 min, 4 GiB, 1 h]"), "[10Epochs 500Steps 2Minutes 4GiB 1Hours]");
    assert_eq!(grouped(r##"["a \"b\" \\ \n", "# ünï"]"##), r##"["a \"b\" \\ \n" "# ünï"]"##);
    assert_eq!(grouped("0.6..1.0"), "(0.6..1.0)");
}

#[test]
fn calls_indices_and_fields() {
    assert_eq!(grouped("f(a, lr: 0.1,)(b).for.where(|r| r.x)[0]"), "f(a lr:0.1)(b).for.where((|r| r.x))[0]");
    assert_eq!(
        grouped("x[:, 0][-1][a..b, -k..][.., ..3][..., new]"),
        "x[: 0][(Negate 1)][(a..b) ((Negate k)..)][(..) (..3)][... new]"
    );
    assert_eq!(grouped("generate(300) |i| { i }.take(3)"), "generate(300 (|i| i)).take(3)");
    assert_eq!(grouped("(seed, 0.5) + pairs"), "(Add ([seed 0.5]) pairs)");
    assert_eq!(grouped("every 5 epochs"), "every(5Epochs)");
}

#[test]
fn functions_and_comprehensions() {
    assert_eq!(grouped("|x| x * 2 |> f"), "(|x| (Pipe (Multiply x 2) f))");
    assert_eq!(grouped("|c, x| { let y = c + x;  { carry: y, out: y } }"), "(|c x| let y=(Add c x); {carry:y out:y})");
    assert_eq!(grouped("|| error(model)"), "(|| error(model))");
    assert_eq!(grouped("[f(i) for i in 0..n if i != k]"), "[f(i) for i in (0..n) if (NotEqual i k)]");
    assert_eq!(grouped("[x * y for x, y in xs, ys]"), "[(Multiply x y) for [x y] in zip(xs ys)]");
    assert_eq!(grouped("[a for i in 0..3 for j in 0..i]"), "concat([[a for j in (0..i)] for i in (0..3)])");
    assert_eq!(grouped("[a for { a, b: c } in rows]"), "[a for {a:a b:c} in rows]");
}

#[test]
fn braces_are_a_block_or_a_record_by_place_and_contents() {
    assert_eq!(grouped("{ x }"), "{x}");
    assert_eq!(grouped("{}"), "{}");
    assert_eq!(grouped("{ a, b.c, d: 1, ..e }"), "{a b.c d:1 ..e}");
    assert_eq!(grouped("{ let a = 1;  a }"), "block(let a=1; a)");
    assert_eq!(grouped("if c { x } else if d { x, } else { y: 1 }"), "(if c x (if d {x} {y:1}))");
    assert_eq!(grouped("|x| { x.y }"), "(|x| x.y)");
    assert_eq!(grouped("|x| { x, y }"), "(|x| {x y})");
    assert_eq!(grouped("{ training: true, if: 1, where: 2 }"), "{training:true if:1 where:2}");
    assert!(matches!(
        statement("log { loss }"),
        StatementKind::Say { value: Expr { kind: ExprKind::Record(_), .. }, .. }
    ));
    assert!(matches!(statement("yield { a }"), StatementKind::Yield(Expr { kind: ExprKind::Record(_), .. })));
}

#[test]
fn words_are_keywords_only_where_they_begin_a_statement() {
    for text in [
        "log(x)",
        "step.count",
        "data[0]",
        "view |> f",
        "state + 1",
        "measure",
        "repeat(x, 3)",
        "where(a, b, c)",
        "test(1)",
        "var(x)",
    ] {
        assert!(matches!(statement(text), StatementKind::Expr(_)), "{text}: {:?}", statement(text));
    }
    assert!(matches!(statement("data = 3"), StatementKind::Rebind { .. }));
    assert!(matches!(statement("state <- 3"), StatementKind::Write { add: false, .. }));
    assert!(matches!(statement("memory[index] <+ u"), StatementKind::Write { add: true, .. }));
    assert!(matches!(
        statement("step step for step in step { step }"),
        StatementKind::Loop { word: LoopWord::Step, .. }
    ));
    assert!(matches!(statement("let over = using + where"), StatementKind::Let { .. }));
    assert!(matches!(statement("fn f(in: int, for: int) { in }"), StatementKind::Fn(_)));
}

#[test]
fn a_newline_ends_a_statement_unless_something_is_open() {
    let count = |text: &str| tree(text).statements.len();
    assert_eq!(count("a\nb\n\n\nc"), 3);
    assert_eq!(count("a;b;;c;"), 3);
    assert_eq!(count("f(\n  a,\n\n  b # c\n)\n"), 1);
    assert_eq!(count("a +\n  b\n"), 1);
    assert_eq!(count("a\n  # a comment between\n\n  |> f\n  .g\n  and b\n"), 1);
    assert_eq!(count("a\n-b\n"), 2);
    assert_eq!(count("let x =\n  3\n"), 1);
    assert_eq!(count("minimize a\n  over b\n  using c\n    where rank >= 2\n"), 1);
    assert_eq!(count("a\nwhere(b)\n"), 2);
    assert_eq!(count("if a { b }\nelse { c }\n"), 1);
    assert_eq!(count("type t = int<10>\nlet a = 1\n"), 2);
    assert_eq!(count("train t(steps: 3)\n  for x in y { z }\nfor x in y { z }\n"), 2);
    assert_eq!(count("\u{feff}a\r\nb\r\n"), 2);
    assert_eq!(count("x.over\ny.and\nz"), 3);
    assert_eq!(count("let { a,\n b } = c\nlet d = [x\n for x in y\n if x]\n"), 2);
}

#[test]
fn docs_belong_to_the_statement_below_and_other_comments_stand_beside() {
    let file = tree("# one\n\n## A doc\n##   of two lines.\nlet a = 1 # two\n## no doc\n\nlet b = 2\n  ## three\n");
    assert_eq!(file.statements[0].doc.as_deref(), Some("A doc\n  of two lines."));
    assert_eq!(file.statements[1].doc, None);
    let comments: Vec<(&str, bool)> = file.comments.iter().map(|comment| (&*comment.text, comment.own_line)).collect();
    assert_eq!(comments, [("# one", true), ("# two", false), ("## no doc", true), ("## three", true)]);
}

#[test]
fn spans_are_exact() {
    let text = "let a = f(x)  |> g   # why\nnet b  =  [ 1 ]\n";
    let file = tree(text);
    let source = |span: crate::source::Span| &text[span.range()];
    assert_eq!(source(file.statements[0].span), "let a = f(x)  |> g");
    let StatementKind::Net { name, value, .. } = &file.statements[1].kind else { panic!("a net") };
    assert_eq!((source(name.span), source(value.span)), ("b", "[ 1 ]"));
}

#[test]
fn every_part_of_a_step() {
    let StatementKind::Loop { clock, sources, options, body, .. } = statement(
        "train t(epochs: 3, keep: lowest(|| e)) as now for { a, b: c } in x, d in y { minimize a over b except c where rank > 1, d using e where f, g }",
    ) else {
        panic!("a loop")
    };
    assert_eq!(clock.map(|name| name.text.to_string()).as_deref(), Some("now"));
    assert_eq!((sources.len(), options.len()), (2, 2));
    let StatementKind::Minimize { over, using, .. } = &body.statements[0].kind else { panic!("a minimize") };
    assert!(over[0].except.is_some() && over[0].filter.is_some() && over[1].filter.is_none());
    assert!(using[0].filter.is_some() && using.len() == 2);
}

#[test]
fn types() {
    let ty = |text: &str| match statement(&format!("type t = {text}")) {
        StatementKind::Type { ty, .. } => ty.kind,
        other => panic!("{other:?}"),
    };
    assert!(matches!(ty("int"), TypeKind::Name(_)));
    assert!(matches!(ty("[..s, 2 * d]"), TypeKind::Tensor { element: None, .. }));
    assert!(matches!(ty("u8[1, 28]"), TypeKind::Tensor { element: Some(_), limit: None, .. }));
    assert!(matches!(ty("int<k + 1>[n]"), TypeKind::Tensor { limit: Some(_), .. }));
    assert!(matches!(ty("int<10>"), TypeKind::Bounded { .. }));
    assert!(matches!(ty("\"a\" | \"b\""), TypeKind::Words(words) if words.len() == 2));
    assert!(matches!(ty("{ a: [n], b: { c: int } }"), TypeKind::Record(fields) if fields.len() == 2));
    assert!(matches!(ty("{ ..base, c: int }"), TypeKind::Extended { .. }));
    assert!(matches!(ty("[n, d] -> [n, 10]"), TypeKind::Arrow(..)));
}

/// Each fault as `line:column "what is marked" headline; help`.
fn told(text: &str) -> String {
    let mut sources = SourceMap::default();
    let id = sources.add("a.ssl", None, text);
    let (_, faults) = parse(id, text);
    let lines = faults.iter().map(|fault| {
        let span = fault.labels[0].span;
        let (line, column) = sources.place(span);
        let help = fault.help.as_deref().unwrap_or("-");
        format!("{line}:{column} {:?} {}; {help}\n", sources.text(span), fault.headline)
    });
    lines.collect()
}

fn all_told(texts: &[&str]) -> String {
    texts.iter().map(|text| format!("{text}\n  {}", told(text).trim_end().replace('\n', "\n  ")) + "\n").collect()
}

#[test]
fn slips_from_other_languages() {
    insta::assert_snapshot!(all_told(&[
        "f(lr = 0.1)",
        "let a = b == c == d",
        "let a = 0 < b < 3",
        "import std.eval.knn",
        "from std.eval import knn",
        "def f(x) { x }",
        "let a = b && c || !d",
        "let a = b ** 2",
        "x += 1",
        "return x",
        "let a = 'text'",
        "let a = 10 epohcs",
        "let a = 3 apples",
        "let a := 3",
        "let a = x => x + 1",
        "let a = “text”",
        "let a = 99999999999999999999",
        "let a = \"\\q\"",
    ]), @r#"
    f(lr = 0.1)
      1:6 "=" a named argument is written with `:`; write `lr: …`
    let a = b == c == d
      1:16 "==" comparisons cannot be chained; write `… and c == …`
    let a = 0 < b < 3
      1:15 "<" comparisons cannot be chained; write `… and b < …`
    import std.eval.knn
      1:1 "import std.eval.knn" `import` is not a word of the language; write `use std.eval.{knn}` or `use "./my.ssl"`
    from std.eval import knn
      1:1 "from std.eval import knn" `import` is not a word of the language; write `use std.eval.{knn}` or `use "./my.ssl"`
    def f(x) { x }
      1:1 "def" `def` is not a word of the language; write `fn`
    let a = b && c || !d
      1:11 "&&" `&&` is not an operator of the language; write `and`
      1:16 "||" `||` is not an operator of the language; write `or`
      1:19 "!" `!` is not an operator of the language; write `not`
    let a = b ** 2
      1:11 "**" `**` is not an operator of the language; write `^`
    x += 1
      1:3 "+=" `+=` is not an operator of the language; write `x = x + …` for a `var`, `x <- x + …` for a `state`
    return x
      1:1 "return x" `return` is not a word of the language; the last expression of a body is its value
    let a = 'text'
      1:9 "'text'" a text stands in double quotes; write `"text"`
    let a = 10 epohcs
      1:12 "epohcs" `epohcs` is not a unit; did you mean `10 epochs`?
    let a = 3 apples
      1:11 "apples" `apples` is not a unit; the units are steps, epochs, rounds, s, min, h, KiB, MiB, GiB; or an operator or comma is missing
    let a := 3
      1:8 "=" expected a type, found `=`; a type is `int`, `float`, `bool`, `string`, `list`, or sizes such as `[n, d]`
    let a = x => x + 1
      1:11 "=>" expected an operator or the end of the statement, found `=>`; a function is written `|x| …`
    let a = “text”
      1:9 "“" `“` is not a quote of the language; a text stands in straight double quotes: `"…"`
    let a = 99999999999999999999
      1:9 "99999999999999999999" this whole number is too large; write it with a point or an exponent, such as `1e20`
    let a = "\q"
      1:10 "\\q" `\q` means nothing in a text; the escapes are `\n`, `\t`, `\"` and `\\`
    "#);
}

#[test]
fn what_is_missing() {
    insta::assert_snapshot!(all_told(&[
        "let a = ",
        "let a = b +",
        "let a = f(b c)",
        "let a = [1 2]",
        "let = 3",
        "let a b",
        "let if = 3",
        "param epochs int = 3",
        "fn f { x }",
        "fn f(x) -> { x }",
        "weight w: [n]",
        "state s",
        "for x xs { y }",
        "if a b",
        "if a = b { c }",
        "if a: b",
        "else { a }",
        "train t for x in y",
        "net.w = 3",
        "let a = 10epochs",
        "let a = b c",
        "use std.eval.{knn",
        "let a = \"text",
        "let a = 3 $ 4",
        "let a: = 3",
        "sweep s(lr) { a }",
        "test { a }",
        "log x + 1",
        "}",
    ]), @r#"
    let a = 
      1:7 "=" expected an expression, found the end of the file; something is missing behind `=`
    let a = b +
      1:11 "+" expected an expression, found the end of the file; something is missing behind `+`
    let a = f(b c)
      1:13 "c" expected `)` or `,`, found `c`; a comma is missing, or a bracket is not closed
    let a = [1 2]
      1:12 "2" expected `]`, `,` or `for`, found the number `2`; a comma is missing, or a bracket is not closed
    let = 3
      1:5 "=" expected a name or `{ … }`, found `=`; write `let name = value`
    let a b
      1:7 "b" expected `:`, `=` or `~`, found `b`; write `let name = value`
    let if = 3
      1:5 "if" expected a name or `{ … }`, found the word `if`; `if` is a word of the language; take another name
    param epochs int = 3
      1:14 "int" expected `:` or `=`, found `int`; write `param name: type = value`
    fn f { x }
      1:6 "{" expected `(`, found `{`; remove `{`, or write what is missing before it
    fn f(x) -> { x }
      1:16 "}" expected `:`, found `}`; remove `}`, or write what is missing before it
    weight w: [n]
      1:13 "]" expected `=` or `~`, found the end of the file; say how it begins: `weight name: [sizes] = value`, or `~ distribution`
    state s
      1:7 "s" expected `:`, `=` or `~`, found the end of the file; say how it begins: `state name: [sizes] = value`, or `~ distribution`
    for x xs { y }
      1:7 "xs" expected `,` or `in`, found `xs`; write `for x in xs { … }`
    if a b
      1:6 "b" expected `{`, found `b`; the body of `if` stands in braces: `if … { … }`
    if a = b { c }
      1:6 "=" expected `{`, found `=`; compare with `==`
    if a: b
      1:5 ":" expected `{`, found `:`; the body of `if` stands in braces: `if … { … }`
    else { a }
      1:1 "else" the word `else` does not belong here; `else` follows the `}` of its `if`
    train t for x in y
      1:18 "y" expected `,` or `{`, found the end of the file; the body of `train` stands in braces: `train … { … }`
    net.w = 3
      1:7 "=" expected an operator or the end of the statement, found `=`; a net, a state or a part of one is written with `<-`
    let a = 10epochs
      1:9 "10epochs" `10epochs` is neither a number nor a name; write `10 epochs` for a quantity, `10 * epochs` for a product; a name begins with a letter
    let a = b c
      1:11 "c" expected an operator or the end of the statement, found `c`; an operator is missing, or a new line: a statement ends with its line
    use std.eval.{knn
      1:14 "{" `{` is never closed; add `}`
    let a = "text
      1:9 "\"text" a text is not closed; close it with `"` on the same line; a quote inside is `\"`
    let a = 3 $ 4
      1:11 "$" `$` means nothing here; remove it; texts stand in double quotes, comments behind `#`
    let a: = 3
      1:8 "=" expected a type, found `=`; a type is `int`, `float`, `bool`, `string`, `list`, or sizes such as `[n, d]`
    sweep s(lr) { a }
      1:11 ")" expected `:` or `in`, found `)`; write `name in [values]`
    test { a }
      1:6 "{" expected `=` or a text in quotes, found `{`; write `test "name" { … }`
    log x + 1
      1:5 "x + 1" an entry of a record needs a name; write `name: value`; only `x` and `a.x` name themselves
    }
      1:1 "}" `}` closes nothing; remove it
    "#);
}

#[test]
fn blocks_and_records_that_are_neither() {
    insta::assert_snapshot!(all_told(&[
        "let a = { b, c + 1 }",
        "fn f() { yield a, b\n let c = 1 }",
        "fn f() { let c = 1\n a: 3 }",
        "fn f() { let c = 1\n ..c }",
    ]), @r#"
    let a = { b, c + 1 }
      1:14 "c + 1" an entry of a record needs a name; write `name: value`; only `x` and `a.x` name themselves
    fn f() { yield a, b
     let c = 1 }
      1:17 "," a comma does not end a statement; end each statement with a new line or `;`; several values stand in a record: `{ a, b }`
    fn f() { let c = 1
     a: 3 }
      2:2 "a: 3" an entry of a record stands among statements; for a record put braces around it; to name a value write `let a = …`
    fn f() { let c = 1
     ..c }
      2:2 "..c" an entry of a record stands among statements; put braces around the record: `{ ..base, name: value }`
    "#);
}

#[test]
fn several_faults_of_one_file_are_told_in_order_and_the_rest_is_read() {
    let text = "let a = = 1\nfn f(x) {\n  let b = x +* 2\n  let c = )\n  x\n}\nlet d = 4\nnet e 5\nlet g = 6\n";
    insta::assert_snapshot!(told(text), @r#"
    1:9 "=" expected an expression, found `=`; remove `=`, or write what is missing before it
    3:14 "*" expected an expression, found `*`; remove `*`, or write what is missing before it
    4:11 ")" `)` closes nothing; remove it
    8:7 "5" expected `:` or `=`, found the number `5`; remove `5`, or write what is missing before it
    "#);
    let (file, _) = parse(SourceId(0), text);
    let kinds = file.statements.iter().map(|statement| match &statement.kind {
        StatementKind::Error => "error",
        StatementKind::Fn(function) => match function.body.statements.last().map(|last| &last.kind) {
            Some(StatementKind::Expr(_)) => "fn with its value",
            _ => "fn",
        },
        StatementKind::Let { .. } => "let",
        _ => "other",
    });
    let kinds: Vec<&str> = kinds.collect();
    assert_eq!(kinds, ["error", "fn with its value", "let", "error", "let"]);
}

#[test]
fn an_unclosed_bracket_ends_before_the_next_statement() {
    let text = "let a = f(1, 2\nlet b = 3\nfn g(x) {\n  if x {\n    x\n\nlet c = 4\n";
    insta::assert_snapshot!(told(text), @r#"
    1:10 "(" `(` is never closed; add `)`
    3:9 "{" `{` is never closed; add `}`
    4:8 "{" `{` is never closed; add `}`
    "#);
    let (file, _) = parse(SourceId(0), text);
    let lets = file.statements.iter().filter(|statement| matches!(statement.kind, StatementKind::Let { .. })).count();
    assert_eq!(lets, 2);
}

#[test]
fn brackets_that_do_not_match() {
    insta::assert_snapshot!(all_told(&["let a = f(1]\nlet b = 2", "let a = [f(1, 2]\nlet b = 2", "fn f() {\n  g(1\n}\nlet b = 2"]), @r#"
    let a = f(1]
    let b = 2
      1:12 "]" `]` does not close `(`; write `)`, or close the inner bracket first
    let a = [f(1, 2]
    let b = 2
      1:11 "(" `(` is never closed; add `)`
    fn f() {
      g(1
    }
    let b = 2
      2:4 "(" `(` is never closed; add `)`
    "#);
}

#[test]
fn nesting_is_limited_before_anything_recurses() {
    let nested = |depth: usize| format!("let a = {}1{}\n", "(".repeat(depth), ")".repeat(depth));
    assert!(parse(SourceId(0), &nested(200)).1.is_empty());
    let too_deep = [
        nested(201),
        nested(100_000),
        format!("let a = {}x", "|x| ".repeat(50_000)),
        format!("let a = {}x", "-".repeat(50_000)),
        format!("let a = x{}", " + x".repeat(50_000)),
        format!("let a = x{}", "^x".repeat(50_000)),
        format!("let a = x{}", ".x".repeat(50_000)),
        format!("if a {{}} {}", "else if a {} ".repeat(50_000)),
        format!("net a: {}[n] = b", "[n] -> ".repeat(50_000)),
        format!("let a = {}", "{ a: ".repeat(50_000)),
    ];
    for text in too_deep {
        let (_, faults) = parse(SourceId(0), &text);
        let start: String = text.chars().take(20).collect();
        assert_eq!(faults.first().map(|fault| fault.code), Some(Code::Nesting), "{start}");
    }
}

#[test]
fn nothing_that_is_written_makes_the_parser_fail() {
    let text = include_str!("../../../tests/spec/syntax/stages.ssl");
    // Every prefix, and every text with one character gone.
    for at in (0..text.len()).step_by(29).filter(|at| text.is_char_boundary(*at)) {
        let _ = parse(SourceId(0), &text[..at]);
        let without = format!("{}{}", &text[..at], text[at..].chars().skip(1).collect::<String>());
        let (file, faults) = parse(SourceId(0), &without);
        assert!(!file.statements.is_empty());
        assert!(faults.len() <= super::MAX_RETRIES + 5);
        let inside = |span: crate::source::Span| span.start <= span.end && span.end as usize <= without.len();
        assert!(faults.iter().flat_map(|fault| &fault.labels).all(|label| inside(label.span)));
    }
    for odd in [
        "",
        "\n",
        "\u{1}",
        "\u{0}",
        "\\",
        "\"",
        "#",
        "ü",
        "{",
        "((((",
        "))))",
        "\"\\",
        "let a = \"ü",
        "a\u{1}b",
        "\u{feff}",
    ] {
        let _ = parse(SourceId(0), odd);
    }
}

#[test]
fn a_file_of_nothing_but_faults_is_given_up() {
    let (file, faults) = parse(SourceId(0), &"let = =\n".repeat(100));
    assert_eq!(file.statements.len(), 1);
    assert!(faults.len() <= 21, "{}", faults.len());
}
