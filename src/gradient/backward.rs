//! One reverse walk: from a loss to the values that it is differentiated by.

use std::collections::{HashMap, HashSet};

use smallvec::SmallVec;

use crate::graph::{Attr, Attrs, Builder, Node, NodeId, OriginId, Section, Type, Value};
use crate::ops::reduce::ACCUMULATE;
use crate::ops::scan::SCAN;
use crate::ops::structure::CONSTANT;
use crate::ops::{Gradient, Mismatch, Op, Vjp};

use super::reach::{Flow, Reason, blind, flow, reach};
use super::{GradientError, scan};

/// What a loss changes by when a value changes.
#[derive(Clone, Debug, PartialEq)]
pub enum Cotangent {
    /// Nothing, and why. No node is made unless somebody needs the zeros.
    Zero(Reason),
    Dense(Value),
}

impl Cotangent {
    /// The cotangent as a tensor of the type of `of`.
    pub(super) fn dense(&self, builder: &mut Builder, of: Value, origin: OriginId) -> Result<Value, GradientError> {
        if let Cotangent::Dense(value) = self {
            return Ok(*value);
        }
        let ty = builder.ty(of).clone();
        let name = format!("d_{}", builder.graph().name(of));
        let before = (builder.origin, builder.section);
        (builder.origin, builder.section) = (origin, Section::Backward);
        let zeros = splat(builder, &name, 0.0, &ty).map_err(|fault| misfit(&CONSTANT, fault, origin));
        (builder.origin, builder.section) = before;
        zeros
    }
}

fn misfit(op: &'static Op, fault: Mismatch, origin: OriginId) -> GradientError {
    GradientError::Rule { op, operand: 0, fault: fault.headline, origin }
}

fn splat(builder: &mut Builder, name: &str, value: f64, ty: &Type) -> Result<Value, Mismatch> {
    let attrs = Attrs::none()
        .with("values", Attr::Floats(vec![value]))
        .with("dtype", Attr::DType(ty.dtype))
        .with("shape", Attr::Sizes(ty.shape.to_vec()));
    builder.named(name).apply(&CONSTANT, &[], attrs)
}

/// Appends the backward graph of `loss` to the builder: one cotangent for each value of `of`, which may be inputs,
/// results of nodes, or both. Equal values of different nodes are different variables.
pub fn cotangents(
    builder: &mut Builder,
    loss: Value,
    of: &[Value],
    origin: OriginId,
) -> Result<Vec<Cotangent>, GradientError> {
    let ty = builder.ty(loss).clone();
    if !ty.dtype.is_float() || ty.rank() != 0 {
        return Err(GradientError::Loss { ty, origin });
    }
    let found = walk(builder, &[loss], of, |walk| walk.seed_loss(loss))?;
    let mut why = None;
    let result = of.iter().map(|value| match found.get(value) {
        Some(cotangent) => Cotangent::Dense(*cotangent),
        None => {
            let reach = why.get_or_insert_with(|| reach(builder.graph(), loss));
            Cotangent::Zero(reach.reason(*value).unwrap_or(Reason::NotUsed))
        }
    });
    Ok(result.collect())
}

/// The same from several results at once, the cotangent of each given.
pub(super) fn cotangents_from(
    builder: &mut Builder,
    seeds: &[(Value, Value)],
    of: &[Value],
    origin: OriginId,
) -> Result<Vec<Cotangent>, GradientError> {
    let before = std::mem::replace(&mut builder.origin, origin);
    let results: Vec<Value> = seeds.iter().map(|(result, _)| *result).collect();
    let found = walk(builder, &results, of, |walk| {
        for (result, cotangent) in seeds.iter().rev() {
            walk.pending.entry(*result).or_default().push(*cotangent);
        }
        Ok(())
    })?;
    builder.origin = before;
    Ok(of
        .iter()
        .map(|value| found.get(value).map_or(Cotangent::Zero(Reason::NotUsed), |d| Cotangent::Dense(*d)))
        .collect())
}

/// Walks back from some results, of which `seed` makes the cotangents.
fn walk<'a>(
    builder: &'a mut Builder,
    results: &[Value],
    of: &[Value],
    seed: impl FnOnce(&mut Walk<'a>) -> Result<(), GradientError>,
) -> Result<HashMap<Value, Value>, GradientError> {
    let before = (builder.origin, builder.section);
    builder.section = Section::Backward;
    let mut walk = Walk::new(builder, results, of);
    let done = match results.iter().any(|result| walk.varies(*result)) {
        true => seed(&mut walk).and_then(|()| walk.run()),
        false => Ok(()),
    };
    let Walk { builder, found, .. } = walk;
    (builder.origin, builder.section) = before;
    done.map(|()| found)
}

struct Walk<'a> {
    builder: &'a mut Builder,
    /// The walk covers the nodes from the lowest of `of` to the loss.
    lowest: usize,
    /// By node from `lowest`: the loss needs it, and some value of `of` flows through it.
    between: Vec<bool>,
    of: HashSet<Value>,
    /// Contributions of users not yet summed, last user first.
    pending: HashMap<Value, SmallVec<[Value; 2]>>,
    found: HashMap<Value, Value>,
    /// Nodes from here on are the walk's own.
    first_new: usize,
    named: HashSet<NodeId>,
}

impl<'a> Walk<'a> {
    fn new(builder: &'a mut Builder, results: &[Value], of: &[Value]) -> Walk<'a> {
        let end = results.iter().map(|result| result.node.index() + 1).max().unwrap_or(0);
        let lowest = of.iter().map(|value| value.node.index()).min().unwrap_or(end).min(end);
        let first_new = builder.graph().len();
        let mut walk = Walk {
            builder,
            lowest,
            between: vec![false; end - lowest],
            of: of.iter().copied().collect(),
            pending: HashMap::new(),
            found: HashMap::new(),
            first_new,
            named: HashSet::new(),
        };
        walk.mark(results);
        walk
    }

    fn mark(&mut self, results: &[Value]) {
        let mut needed = vec![false; self.between.len()];
        for result in results.iter().filter_map(|result| self.offset(*result)) {
            needed[result] = true;
        }
        for at in (0..needed.len()).rev() {
            if needed[at] {
                let below = self.node(at).operands.iter().filter_map(|value| self.offset(*value));
                below.for_each(|below| needed[below] = true);
            }
        }
        for at in (0..needed.len()).filter(|at| needed[*at]) {
            let node = self.node(at);
            let passes = !matches!(flow(node), Flow::Cut(_));
            let mut operands = node.operands.iter().enumerate();
            self.between[at] =
                passes && operands.any(|(place, operand)| blind(node, place).is_none() && self.varies(*operand));
        }
    }

    fn node(&self, at: usize) -> &Node {
        self.builder.graph().node(NodeId::new(self.lowest + at))
    }

    fn offset(&self, value: Value) -> Option<usize> {
        value.node.index().checked_sub(self.lowest)
    }

    /// Whether a value of `of` flows into this one, or it is one.
    fn varies(&self, value: Value) -> bool {
        let between = self.offset(value).and_then(|at| self.between.get(at)).copied().unwrap_or(false);
        self.builder.ty(value).dtype.is_float() && (between || self.of.contains(&value))
    }

    fn seed_loss(&mut self, loss: Value) -> Result<(), GradientError> {
        let (ty, origin) = (self.builder.ty(loss).clone(), self.builder.graph().node(loss.node).origin);
        self.builder.origin = origin;
        let name = format!("d_{}", self.builder.graph().name(loss));
        let seed = splat(self.builder, &name, 1.0, &ty).map_err(|fault| misfit(&CONSTANT, fault, origin))?;
        self.named.insert(seed.node);
        self.pending.insert(loss, [seed].into_iter().collect());
        Ok(())
    }

    fn run(&mut self) -> Result<(), GradientError> {
        // Reverse order, so a value's cotangent is complete before it is passed to the operands behind it.
        for at in (0..self.between.len()).rev() {
            self.step(NodeId::new(self.lowest + at), self.between[at])?;
        }
        Ok(())
    }

    fn step(&mut self, id: NodeId, between: bool) -> Result<(), GradientError> {
        let results = self.builder.graph().node(id).types.len();
        self.builder.origin = self.builder.graph().node(id).origin;
        let mut arrived: SmallVec<[Option<Value>; 2]> = SmallVec::new();
        for out in 0..results {
            let value = Value { node: id, out: out as u16 };
            let sum = match self.pending.remove(&value) {
                Some(parts) => Some(self.sum(value, parts)?),
                None => None,
            };
            if let Some(sum) = sum.filter(|_| self.of.contains(&value)) {
                self.found.insert(value, sum);
            }
            arrived.push(sum);
        }
        if !between || arrived.iter().all(Option::is_none) {
            return Ok(());
        }
        let parts = self.pull(id, &arrived)?;
        let operands = self.builder.graph().node(id).operands.clone();
        for (operand, part) in operands.iter().zip(parts).rev() {
            if let Some(part) = part.filter(|_| self.varies(*operand)) {
                self.pending.entry(*operand).or_default().push(part);
            }
        }
        Ok(())
    }

    /// The cotangents of a node's operands from those of its results.
    fn pull(&mut self, id: NodeId, arrived: &[Option<Value>]) -> Result<Vec<Option<Value>>, GradientError> {
        let node = self.builder.graph().node(id);
        let (op, origin, name) = (node.op, node.origin, node.name.clone());
        let no_rule = |why| Err(GradientError::NoRule { op, why, node: name.clone(), origin });
        let parts = match &op.gradient {
            Gradient::Rule(pull) | Gradient::Except(_, _, pull) => {
                pull(&mut Vjp { builder: self.builder, node: id, cotangents: arrived })
            }
            Gradient::Structural if op == &SCAN => {
                let operands = node.operands.clone();
                let wanted: Vec<bool> = operands.iter().map(|operand| self.varies(*operand)).collect();
                scan::pull(self.builder, id, arrived, &wanted)?
            }
            Gradient::Structural if op.name == "gradient" => arrived.to_vec(),
            Gradient::Structural => return no_rule("it is not lifted or expanded yet"),
            Gradient::Zero(why) | Gradient::None(why) => return no_rule(why),
        };
        self.check(id, &parts)?;
        Ok(parts)
    }

    fn check(&self, id: NodeId, parts: &[Option<Value>]) -> Result<(), GradientError> {
        let node = self.builder.graph().node(id);
        let (op, origin) = (node.op, node.origin);
        if parts.len() != node.operands.len() {
            let fault = format!("{} cotangents for {} operands", parts.len(), node.operands.len());
            return Err(GradientError::Rule { op, operand: parts.len(), fault, origin });
        }
        for (at, (operand, part)) in node.operands.iter().zip(parts).enumerate() {
            let Some(part) = part else { continue };
            let (wanted, have) = (self.builder.ty(*operand), self.builder.ty(*part));
            if wanted.dtype.is_float() && wanted != have {
                let fault = format!("the operand is {wanted}, its cotangent {have}");
                return Err(GradientError::Rule { op, operand: at, fault, origin });
            }
        }
        Ok(())
    }

    /// One value for all that arrived, in order of uses, under the name of what it is the cotangent of.
    fn sum(&mut self, of: Value, mut parts: SmallVec<[Value; 2]>) -> Result<Value, GradientError> {
        parts.reverse();
        let name = format!("d_{}", self.builder.graph().name(of));
        if let [only] = parts.as_slice() {
            let own = only.node.index() >= self.first_new;
            if self.named.insert(only.node) && own {
                self.builder.rename(*only, &name);
            }
            return Ok(*only);
        }
        let origin = self.builder.origin;
        let sum = self.builder.named(name).apply(&ACCUMULATE, &parts, Attrs::none());
        let sum = sum.map_err(|fault| misfit(&ACCUMULATE, fault, origin))?;
        self.named.insert(sum.node);
        Ok(sum)
    }
}
