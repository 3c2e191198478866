//! Gradients, copies of nets, random numbers, clocks: what needs to know the program.

use super::{Args, Builtin};
use crate::diagnostics::Code;
use crate::elaborate::Elaborator;
use crate::elaborate::value::{Leaf, Tensor, Tree, Value};
use crate::graph::{Attr, Attrs, DType, Value as GraphValue};
use crate::ops;
use crate::program::ClockField;
use crate::syntax::{BinaryOp, Unit};

pub const ROWS: &[Builtin] = &[
    Builtin { name: "stop", params: &["x"], doc: "the same value, through which no gradient flows", call: stop },
    Builtin {
        name: "grad",
        params: &["loss", "of"],
        doc: "the gradient of a scalar with respect to a tensor, a list or record of them, weights or a net",
        call: grad,
    },
    Builtin {
        name: "debug",
        params: &["x"],
        doc: "x; each time it is computed, its type, range and count of what is not finite go to standard error",
        call: debug,
    },
    Builtin {
        name: "scan",
        params: &["init", "over", "body", "until?"],
        doc: "a loop in the graph over the rows of a tensor, or a number of rounds: `|carry, x| { carry, out }` gives \
              `{ last, out }`; with `until: |carry| …`, asked before each round, also `count`",
        call: |this, args| this.scan(args),
    },
    Builtin {
        name: "copy",
        params: &["net"],
        doc: "a net with its own weights, equal at this moment",
        call: |this, args| this.duplicate(args.value(0), false, args.span),
    },
    Builtin {
        name: "fresh",
        params: &["net"],
        doc: "a net with its own weights, newly drawn",
        call: |this, args| this.duplicate(args.value(0), true, args.span),
    },
    Builtin {
        name: "freeze",
        params: &["net"],
        doc: "the same net, never trained and in inference mode",
        call: |this, args| this.freeze(args.value(0)),
    },
    Builtin {
        name: "random_uniform",
        params: &["sizes"],
        doc: "numbers in [0, 1), inside a distribution",
        call: |this, args| this.random(args, &ops::random::UNIFORM),
    },
    Builtin {
        name: "random_normal",
        params: &["sizes"],
        doc: "numbers of mean 0 and deviation 1, inside a distribution",
        call: |this, args| this.random(args, &ops::random::NORMAL),
    },
    Builtin {
        name: "random_permutation",
        params: &["n"],
        doc: "0 … n - 1 in random order, inside a distribution",
        call: permutation,
    },
    Builtin {
        name: "in_steps",
        params: &["amount", "now"],
        doc: "a number, or a quantity such as 5 epochs, in steps of the clock",
        call: in_steps,
    },
];

fn stop(this: &mut Elaborator<'_>, args: &Args) -> Value {
    this.stop_value(args.value(0), args)
}

fn debug(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(x) = this.tensor_arg(args, 0) else { return Value::Error };
    let text = this.sources.text(args.span_of(0));
    match this.apply(&ops::structure::DEBUG, &[x], Attrs::none().with("text", Attr::Text(text.into())), args.span) {
        Ok(shown) => {
            // Nobody need read it.
            this.scope(shown.scope).watched.push(shown.value);
            Value::Tensor(shown)
        }
        Err(mismatch) => this.fail_mismatch(*mismatch, args.span, &args.spans()),
    }
}

impl Elaborator<'_> {
    /// Through lists, records and trees.
    fn stop_value(&mut self, value: Value, args: &Args) -> Value {
        match value {
            Value::List(items) => Value::list(items.iter().map(|item| self.stop_value(item.clone(), args)).collect()),
            Value::Record(record) => {
                let fields: Vec<_> =
                    record.iter().map(|(key, item)| (key.clone(), self.stop_value(item.clone(), args))).collect();
                Value::record(fields)
            }
            Value::Tree(tree) => self.map_tree(&tree, |this, tensor| Value::Tensor(this.stop(tensor, args.span))),
            value if value.as_number().is_some() => value,
            value => match self.as_tensor(&value, args.span_of(0)) {
                Some(tensor) => Value::Tensor(self.stop(tensor, args.span)),
                None => self.wrong_kind(&value, "a tensor", args.span_of(0)),
            },
        }
    }

    fn random(&mut self, args: &Args, op: &'static ops::Op) -> Value {
        match self.sizes_of(&args.value(0), args.span_of(0)) {
            Some(sizes) => self.random_floats(op, sizes, args.span),
            None => Value::Error,
        }
    }

    /// The tensors that a gradient is asked for, in order, and the shape of the answer.
    fn grad_targets(&mut self, of: &Value, args: &Args, targets: &mut Vec<Tensor>) -> Option<Value> {
        let span = args.span_of(1);
        Some(match of {
            Value::Tree(tree) => {
                targets.extend(tree.leaves.values().map(|leaf| leaf.value));
                Value::Tree(tree.clone())
            }
            Value::Net(_) | Value::Chain(_) => {
                let leaves = self.weights_of(of);
                if leaves.is_empty() {
                    self.fail_help(
                        Code::EmptySelection,
                        span,
                        "the net has no weights yet",
                        "its weights are known after its first call",
                        "call it before this line",
                    );
                    return None;
                }
                let tree = self.tree(leaves, span);
                targets.extend(tree.leaves.values().map(|leaf| leaf.value));
                Value::Tree(std::rc::Rc::new(tree))
            }
            Value::List(items) => {
                Value::list(items.iter().map(|item| self.grad_targets(item, args, targets)).collect::<Option<_>>()?)
            }
            Value::Record(record) => {
                let mut fields = Vec::new();
                for (key, item) in record.iter() {
                    fields.push((key.clone(), self.grad_targets(item, args, targets)?));
                }
                Value::record(fields)
            }
            other => {
                let tensor = match self.settle(other.clone(), span) {
                    Value::Tensor(tensor) => tensor,
                    other => {
                        self.wrong_kind(&other, "a tensor, weights or a net", span);
                        return None;
                    }
                };
                targets.push(tensor);
                Value::Tensor(tensor)
            }
        })
    }

    fn grad_result(&self, shape: &Value, node: Tensor, next: &mut u16) -> Value {
        let mut take = || {
            let value = GraphValue { node: node.value.node, out: *next };
            *next += 1;
            Tensor { value, weak: false, ..node }
        };
        match shape {
            Value::Tree(tree) => {
                let leaves =
                    tree.leaves.iter().map(|(key, leaf)| (key.clone(), Leaf { slot: leaf.slot, value: take() }));
                Value::Tree(std::rc::Rc::new(Tree { leaves: leaves.collect() }))
            }
            Value::List(items) => Value::list(items.iter().map(|item| self.grad_result(item, node, next)).collect()),
            Value::Record(record) => {
                let fields: Vec<_> =
                    record.iter().map(|(key, item)| (key.clone(), self.grad_result(item, node, next))).collect();
                Value::record(fields)
            }
            _ => Value::Tensor(take()),
        }
    }
}

fn grad(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let Some(loss) = this.tensor_arg(args, 0) else { return Value::Error };
    let ty = this.ty(loss);
    if ty.rank() == 0 && !ty.dtype.is_float() {
        let headline = format!("`grad` is of a float, this is {ty}");
        return this.fail_help(
            Code::ElementType,
            args.span_of(0),
            headline,
            ty.to_string(),
            "make it a float: `float(x)`",
        );
    }
    if ty.rank() != 0 {
        return this.fail_help(
            Code::ShapeMismatch,
            args.span_of(0),
            format!("`grad` is of one number, this is {ty}"),
            ty.to_string(),
            "reduce it, such as `sum(x)`",
        );
    }
    let mut targets = Vec::new();
    let Some(shape) = this.grad_targets(&args.value(1), args, &mut targets) else { return Value::Error };
    for target in &targets {
        let ty = this.ty(*target);
        if !ty.dtype.is_float() {
            return this.fail(
                Code::ElementType,
                args.span_of(1),
                format!("a gradient is with respect to floats, this is {ty}"),
                ty.to_string(),
            );
        }
    }
    let here = this.here();
    if this.is_settled(loss, here) {
        return this.fail_help(
            Code::CannotReach,
            args.span_of(0),
            "`grad` of a number that an earlier stage computed",
            "no gradient reaches through a stage",
            "compute it beside the `grad`",
        );
    }
    let operands: Vec<Tensor> = std::iter::once(loss).chain(targets).collect();
    match this.apply(&ops::structure::GRAD, &operands, Attrs::none(), args.span) {
        Ok(node) => this.grad_result(&shape, node, &mut 0),
        Err(mismatch) => this.fail_mismatch(*mismatch, args.span, &args.spans()),
    }
}

fn permutation(this: &mut Elaborator<'_>, args: &Args) -> Value {
    let value = match args.value(0) {
        Value::List(items) if items.len() == 1 => items[0].clone(),
        other => other,
    };
    match value.as_size() {
        Some(size) => this.random_permutation(size, args.span),
        None => this.wrong_kind(&value, "a size", args.span_of(0)),
    }
}

fn in_steps(this: &mut Elaborator<'_>, args: &Args) -> Value {
    match args.value(0) {
        Value::Quantity(n, Unit::Steps) => Value::Float(n),
        Value::Quantity(n, Unit::Epochs) => {
            let Some(per_epoch) = this.clock(ClockField::StepsPerEpoch, "steps_per_epoch") else {
                return this.fail(
                    Code::WrongTime,
                    args.span,
                    "there is no clock here",
                    "a clock runs only in a `train`",
                );
            };
            this.binary(BinaryOp::Multiply, Value::Float(n), Value::Tensor(per_epoch), [args.span_of(0); 2], args.span)
        }
        Value::Quantity(..) => this.fail_help(
            Code::BadValue,
            args.span_of(0),
            "this quantity is no number of steps",
            "neither steps nor epochs",
            "write `500 steps` or `5 epochs`",
        ),
        value if value.as_number().is_some() => value,
        other => match this.settle(other, args.span_of(0)) {
            Value::Tensor(tensor) if this.ty(tensor).rank() == 0 && this.ty(tensor).dtype != DType::Bool => {
                Value::Tensor(tensor)
            }
            other => this.wrong_kind(&other, "a number of steps or a quantity such as `5 epochs`", args.span_of(0)),
        },
    }
}
