//! The syntax tree: what was written, nothing concluded from it.
//!
//! Every node has its span. Comments stand beside the tree, in order of place, so that the formatter keeps them.

use std::sync::Arc;

use crate::source::{SourceId, Span};

/// One parsed file.
#[derive(Clone, Debug)]
pub struct File {
    pub source: SourceId,
    pub statements: Vec<Statement>,
    /// Every comment that is not a doc comment, in order of place.
    pub comments: Vec<Comment>,
}

#[derive(Clone, Debug)]
pub struct Comment {
    /// From `#` to the end of the line, without the newline.
    pub span: Span,
    pub text: Arc<str>,
    /// Nothing but blanks stands before it on its line.
    pub own_line: bool,
}

/// A word with its place.
#[derive(Clone, Debug)]
pub struct Name {
    pub text: Arc<str>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Statement {
    pub kind: StatementKind,
    pub span: Span,
    /// The `##` lines above it, joined by newlines, without the marks.
    pub doc: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
pub enum StatementKind {
    /// `use std.view.{crop, blur as soften}`, `use "./my.ssl" as mine`
    Use { path: UsePath, names: Vec<Used>, alias: Option<Name> },
    /// `option precision: f64`
    Option { name: Name, value: Expr },
    /// `param epochs: int = 20`
    Param { name: Name, ty: Option<TypeExpr>, value: Option<Expr> },
    /// `type box = { lower: [..s] }`
    Type { name: Name, ty: TypeExpr },
    /// `data digits = mnist()`, `data noisy(sigma: float) = …`, `data pairs = generate(300) |i| { … }`
    Data { name: Name, params: Option<Vec<Param>>, value: Expr },
    /// `view strong = crop(28) |> blur(0.1..1.0)` or `view strong(image: [c, h, w]) { … }`
    View(Function, ViewForm),
    /// `net f: [n, 1, 28, 28] -> [n, 10] = conv_net([32])`
    Net { name: Name, ty: Option<TypeExpr>, value: Expr },
    /// `module linear(out: int) (x: [..s, d]) -> [..s, out] { … }`
    Module { name: Name, params: Vec<Param>, inputs: Vec<Param>, result: Option<TypeExpr>, body: Block },
    /// `fn f(x: [n]) -> [] { … }`
    Fn(Function),
    /// `flow pretrain(lambda: float) { … }`
    Flow(Function),
    /// `optimizer sgd(lr = 0.1) (w, g) as now { … }`
    Optimizer { name: Name, params: Vec<Param>, inputs: Vec<Param>, clock: Option<Name>, body: Block },
    /// `weight w: [out, d] ~ kaiming_uniform(fan: d)`, `weight b = 0`
    Weight(Cell),
    /// `state tau: [n] = 0.1`
    State(Cell),
    /// `pool pairs (role: training): { … }`
    Pool { name: Name, arguments: Vec<Argument>, schema: Option<TypeExpr> },
    /// `train name(options) as now for { image } in source, … { … }`, and likewise `pass` and `step`
    Loop {
        word: LoopWord,
        name: Name,
        options: Vec<Argument>,
        clock: Option<Name>,
        sources: Vec<LoopSource>,
        body: Block,
    },
    /// `sweep arm(lr in [0.1, 1.0], seed in 0..3) { … }`
    Sweep { name: Name, axes: Vec<Axis>, body: Block },
    /// `study (arm in ["plain", "sla"], seed in 0..5) as r { … }`
    Study { axes: Vec<Axis>, table: Option<Name>, body: Block },
    /// `test "name" { … }`
    Test { name: Text, body: Block },
    /// `let x = …`, `let e: [n] ~ normal()`; `var` when `mutable`
    Let { mutable: bool, pattern: Pattern, ty: Option<TypeExpr>, draw: bool, value: Expr },
    /// `best = now.spl`: binds a `var` again
    Rebind { name: Name, value: Expr },
    /// `target <- value`; `target <+ value` when `add`
    Write { target: Expr, add: bool, value: Expr },
    /// `for x in xs if cond { … }`, over static values
    For { pattern: Pattern, over: Expr, filter: Option<Expr>, body: Block },
    /// `repeat n as i { … }`
    Repeat { count: Option<Expr>, index: Option<Name>, body: Block },
    /// `flywheel name(rounds: 3) as round { … }`
    Flywheel { name: Name, options: Vec<Argument>, index: Option<Name>, body: Block },
    /// `until cond`
    Until(Expr),
    /// `run inner for 2 steps`
    Run { step: Expr, amount: Option<Expr> },
    /// `choose x in deck(list)`, `choose x = list[i]`
    Choose { name: Name, draw: bool, value: Expr },
    /// `yield value`
    Yield(Expr),
    /// `minimize loss over student, predictor using lars(…) where rank >= 2, sgd(…) where rank < 2`
    Minimize { loss: Expr, over: Vec<Selection>, using: Vec<Selection> },
    /// `emit pool { … } where cond`
    Emit { pool: Expr, value: Expr, filter: Option<Expr> },
    /// `log name = value`, `log { a, b }` or `log a, b = 2` (then `value` is a record without braces); likewise `measure`,
    /// `collect`; `report` takes any expression
    Say { word: SayWord, name: Option<Name>, value: Expr },
    /// `assert cond, "why"`
    Assert { condition: Expr, why: Option<Expr> },
    /// `save net to "file"`
    Save { value: Expr, path: Expr },
    /// `load net from "file"`
    Load { target: Expr, path: Expr },
    /// An expression for its effect or as the value of its block
    Expr(Expr),
    /// Something that could not be read; reported already
    Error,
}

#[derive(Clone, Debug)]
pub enum UsePath {
    /// `std.view`: the segments, `std` first; without braces the last segment is the name that is brought in
    Library(Vec<Name>),
    /// `"./my.ssl"`
    File(Text),
}

/// A name that a `use` brings in, and what it is called here.
#[derive(Clone, Debug)]
pub struct Used {
    pub name: Name,
    pub alias: Option<Name>,
}

impl Used {
    /// The name under which this file knows it.
    pub fn bound(&self) -> &Name {
        self.alias.as_ref().unwrap_or(&self.name)
    }
}

#[derive(Clone, Debug)]
pub struct Text {
    /// Escapes resolved, without quotes.
    pub text: Arc<str>,
    pub span: Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopWord {
    Train,
    Pass,
    Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SayWord {
    Log,
    Measure,
    Collect,
    Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ViewForm {
    /// `view strong = crop(28) |> blur(…)`: the body is a block of one expression, `inputs` is empty
    Value,
    /// `view jitter(amount) (image: [c, h, w]) { … }` or `view f(image: [c, h, w]) { … }`
    Body,
}

/// A named function, flow or view.
#[derive(Clone, Debug)]
pub struct Function {
    pub name: Name,
    pub params: Vec<Param>,
    /// Second parenthesis of a curried view; empty otherwise.
    pub inputs: Vec<Param>,
    pub result: Option<TypeExpr>,
    pub body: Arc<Block>,
}

#[derive(Clone, Debug)]
pub struct Param {
    /// As written where a pattern takes the argument apart.
    pub name: Name,
    /// Only in a lambda: `|{ a, b }| …`, `|(x, y)| …`
    pub pattern: Option<Pattern>,
    pub ty: Option<TypeExpr>,
    pub default: Option<Expr>,
    pub span: Span,
}

/// `weight` and `state`.
#[derive(Clone, Debug)]
pub struct Cell {
    pub name: Name,
    pub ty: Option<TypeExpr>,
    /// `~` instead of `=`
    pub draw: bool,
    pub value: Expr,
}

#[derive(Clone, Debug)]
pub struct LoopSource {
    pub pattern: Pattern,
    pub source: Expr,
}

/// `lr in [0.1, 1.0]`, or a fixed entry `noise: "redrawn"` (`fixed`).
#[derive(Clone, Debug)]
pub struct Axis {
    pub name: Name,
    pub fixed: bool,
    pub value: Expr,
}

/// An item of `over` or `using`: `student`, `net except net.gate`, `lars(lr: 0.2) where rank >= 2`.
#[derive(Clone, Debug)]
pub struct Selection {
    pub value: Expr,
    pub except: Option<Expr>,
    pub filter: Option<Expr>,
}

#[derive(Clone, Debug)]
pub enum Pattern {
    Name(Name),
    /// `{ u, v: w }`: field, bound name
    Record {
        fields: Vec<(Name, Name)>,
        span: Span,
    },
    /// `[a, b]` or `(a, b)`: by position
    List {
        items: Vec<Pattern>,
        span: Span,
    },
}

impl Pattern {
    pub fn span(&self) -> Span {
        match self {
            Pattern::Name(name) => name.span,
            Pattern::Record { span, .. } | Pattern::List { span, .. } => *span,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Block {
    pub statements: Vec<Statement>,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub struct Expr {
    pub kind: ExprKind,
    pub span: Span,
}

impl Expr {
    /// The name that an entry without one takes from its value: `x`, `a.x`, and the function of a call, `mean(x)`.
    pub fn own_name(&self) -> Option<&Arc<str>> {
        match &self.kind {
            ExprKind::Name(name) => Some(name),
            ExprKind::Field { name, .. } => Some(&name.text),
            ExprKind::Call { callee, .. } => callee.own_name(),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub enum ExprKind {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(Arc<str>),
    /// `10 epochs`, `2 min`: only directly behind a number literal
    Quantity(f64, Unit),
    Name(Arc<str>),
    List(Vec<Expr>),
    /// `[f(i) for i in 0..n if i != k]`
    Comprehension {
        item: Box<Expr>,
        pattern: Pattern,
        over: Box<Expr>,
        filter: Option<Box<Expr>>,
    },
    Record(Vec<RecordItem>),
    /// `{ let a = 1; a }` where a block may stand
    Block(Arc<Block>),
    /// `|x| x * 2`, `|carry, x| { … }`
    Lambda {
        params: Vec<Param>,
        body: Arc<Block>,
    },
    Unary(UnaryOp, Box<Expr>),
    Binary {
        op: BinaryOp,
        op_span: Span,
        left: Box<Expr>,
        right: Box<Expr>,
    },
    /// `left |> right`
    Pipe {
        left: Box<Expr>,
        right: Box<Expr>,
    },
    Call {
        callee: Box<Expr>,
        arguments: Vec<Argument>,
    },
    Index {
        base: Box<Expr>,
        items: Vec<IndexItem>,
    },
    Field {
        base: Box<Expr>,
        name: Name,
    },
    /// `a..b`, `a..b step c`; inside an index either end may be missing
    Range {
        start: Option<Box<Expr>>,
        end: Option<Box<Expr>>,
        step: Option<Box<Expr>>,
    },
    If {
        condition: Box<Expr>,
        then: Arc<Block>,
        otherwise: Option<Arc<Block>>,
    },
    /// A parenthesis that was written; kept for the formatter
    Paren(Box<Expr>),
    /// `net path has "adapter"` style tests are binary `Has`; this is what could not be read
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Steps,
    Epochs,
    Rounds,
    Seconds,
    Minutes,
    Hours,
    Bytes,
    KiB,
    MiB,
    GiB,
}

#[derive(Clone, Debug)]
pub enum RecordItem {
    /// `label: y`
    Field { name: Name, value: Expr },
    /// `image` (puns to `image: image`) or `a.b` (puns to `b: a.b`)
    Pun(Expr),
    /// `..base`
    Spread(Expr),
}

#[derive(Clone, Debug)]
pub struct Argument {
    pub name: Option<Name>,
    pub value: Expr,
    /// `..value`: each entry of a record under its name, each item of a list by position
    pub spread: bool,
}

impl Argument {
    /// An argument by position.
    pub fn plain(value: Expr) -> Argument {
        Argument { name: None, value, spread: false }
    }
}

#[derive(Clone, Debug)]
pub enum IndexItem {
    /// `i`, `index`, `-1`; a range `a..b` is an `Expr` of kind `Range`
    Value(Expr),
    /// `:`
    All(Span),
    /// `...`
    Rest(Span),
    /// `new`
    New(Span),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnaryOp {
    Negate,
    Not,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BinaryOp {
    Or,
    And,
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    /// `path has "adapter"`
    Has,
    Add,
    Subtract,
    Multiply,
    Divide,
    FloorDivide,
    Remainder,
    MatMul,
    Power,
}

#[derive(Clone, Debug)]
pub struct TypeExpr {
    pub kind: TypeKind,
    pub span: Span,
}

#[derive(Clone, Debug)]
pub enum TypeKind {
    /// `int`, `float`, `bool`, `string`, `list`, or the name of a `type`
    Name(Arc<str>),
    /// `[n, d]` (`element` is none), `f64[n]`, `int[n]`, `u8[1, 28, 28]`; `int<10>` has the bound as `limit`
    Tensor { element: Option<Name>, limit: Option<Box<Expr>>, sizes: Vec<SizeExpr> },
    /// `{ lower: [..s], upper: [..s] }`
    Record(Vec<(Name, TypeExpr)>),
    /// `{ ..paths, text: int[16] }`: the fields of a data set or a record type, and more
    Extended { base: Box<Expr>, fields: Vec<(Name, TypeExpr)> },
    /// `"stn" | "fixed"`
    Words(Vec<Text>),
    /// `[n, d] -> [n, 10]`, as in the type of a net
    Arrow(Box<TypeExpr>, Box<TypeExpr>),
    /// `int<10>` without sizes
    Bounded { element: Name, limit: Box<Expr> },
}

#[derive(Clone, Debug)]
pub enum SizeExpr {
    /// `n`, `784`, `sizes[-1]`, `2 * d`: any static expression; a bare name that is not bound yet is bound here
    Size(Expr),
    /// `..s`
    Rest(Name),
}
