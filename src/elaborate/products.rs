//! `@`: products of matrices and vectors, and the batches that they meet in.

use super::Elaborator;
use super::operators::Meeting;
use super::value::{Tensor, Value};
use crate::diagnostics::{Code, Diagnostic};
use crate::graph::{Attrs, Size, Type};
use crate::ops::{self};
use crate::source::Span;
use crate::syntax::BinaryOp;

impl Elaborator<'_> {
    /// `@`, NumPy's: vectors are rows on the left and columns on the right, leading sizes broadcast.
    pub(super) fn matmul(&mut self, left: Value, right: Value, spans: [Span; 2], span: Span) -> Value {
        let (Some(a), Some(b)) = (self.as_tensor(&left, spans[0]), self.as_tensor(&right, spans[1])) else {
            return self.no_such_operation(BinaryOp::MatMul, &left, &right, spans);
        };
        for (tensor, place) in [(a, spans[0]), (b, spans[1])] {
            if self.ty(tensor).rank() == 0 {
                let fact = self.ty(tensor).to_string();
                return self.fail_help(
                    Code::ShapeMismatch,
                    place,
                    "`@` needs a vector or a matrix on each side",
                    fact,
                    "multiply by a number with `*`",
                );
            }
        }
        let Some(dtype) = self.meeting_dtype(&[a, b], Meeting::Number, &spans, span) else { return Value::Error };
        let dtype = if dtype.is_float() { dtype } else { self.float };
        let (mut a, mut b) = (self.cast(a, dtype, span), self.cast(b, dtype, span));
        let (row, column) = (self.ty(a).rank() == 1, self.ty(b).rank() == 1);
        if row {
            a = self.insert_axis(a, 0, span);
        }
        if column {
            b = self.insert_axis(b, 1, span);
        }
        let (ta, tb) = (self.ty(a), self.ty(b));
        let (inner_a, inner_b) = (ta.shape[ta.rank() - 1].clone(), tb.shape[tb.rank() - 2].clone());
        if inner_a != inner_b {
            return self.inner_sizes_differ([(a, row), (b, column)], inner_a, inner_b, spans);
        }
        if tb.rank() == 2 && ta.rank() > 2 {
            return self.tall_product(a, b, column, spans, span);
        }
        let Some((a, b)) = self.broadcast_leading(a, b, spans, span) else { return Value::Error };
        let result = match self.apply(&ops::linalg::MATMUL, &[a, b], Attrs::none(), span) {
            Ok(tensor) => tensor,
            Err(mismatch) => return self.fail_mismatch(*mismatch, span, &spans),
        };
        let ty = self.ty(result);
        let mut shape = ty.shape.clone();
        if column {
            shape.pop();
        }
        if row {
            shape.remove(shape.len() - if column { 1 } else { 2 });
        }
        Value::Tensor(self.reshape_to(result, &shape, span))
    }

    /// A matrix on the right serves every leading index of the left: one tall product.
    pub(super) fn tall_product(&mut self, a: Tensor, b: Tensor, column: bool, spans: [Span; 2], span: Span) -> Value {
        let (ta, tb) = (self.ty(a), self.ty(b));
        let lead = &ta.shape[..ta.rank() - 1];
        let rows = lead.iter().try_fold(Size::known(1), |rows, size| rows.mul(size));
        let Ok(rows) = rows else {
            return self.fail(Code::SizeOverflow, spans[0], "a size overflows", format!("{ta}"));
        };
        let flat = self.reshape_to(a, &[rows, ta.shape[ta.rank() - 1].clone()], span);
        let mut shape = lead.to_vec();
        if !column {
            shape.push(tb.shape[1].clone());
        }
        match self.apply(&ops::linalg::MATMUL, &[flat, b], Attrs::none(), span) {
            Ok(result) => Value::Tensor(self.reshape_to(result, &shape, span)),
            Err(mismatch) => self.fail_mismatch(*mismatch, span, &spans),
        }
    }

    pub(super) fn inner_sizes_differ(
        &mut self,
        sides: [(Tensor, bool); 2],
        a: Size,
        b: Size,
        spans: [Span; 2],
    ) -> Value {
        let headline = format!("shapes do not fit, {a} and {b} must be equal");
        let mut ta = self.ty(sides[0].0);
        let mut tb = self.ty(sides[1].0);
        // Vectors are shown as they were written, without the axis added for the product.
        if sides[0].1 {
            ta.shape.remove(0);
        }
        if sides[1].1 {
            tb.shape.pop();
        }
        let first = if sides[1].1 { "size" } else { "second-to-last size" };
        let first = if tb.rank() == 2 && !sides[1].1 { "first size" } else { first };
        self.report(
            Diagnostic::error(Code::ShapeMismatch, headline)
                .label(spans[0], format!("{ta}: last size is {a}"))
                .label(spans[1], format!("{tb}: {first} is {b}"))
                .help(
                    "the last size of the left operand meets the second-to-last of the right; `.T` swaps the last two",
                ),
        );
        Value::Error
    }

    pub(super) fn broadcast_leading(
        &mut self,
        a: Tensor,
        b: Tensor,
        spans: [Span; 2],
        span: Span,
    ) -> Option<(Tensor, Tensor)> {
        let (ta, tb) = (self.ty(a), self.ty(b));
        if ta.rank() == tb.rank() && ta.shape[..ta.rank() - 2] == tb.shape[..tb.rank() - 2] {
            return Some((a, b));
        }
        let lead = |ty: &Type| ty.shape[..ty.rank() - 2].to_vec();
        let (mut la, mut lb) = (lead(&ta), lead(&tb));
        while la.len() < lb.len() {
            la.insert(0, Size::known(1));
        }
        while lb.len() < la.len() {
            lb.insert(0, Size::known(1));
        }
        let mut shape = Vec::new();
        for (axis, (x, y)) in la.iter().zip(&lb).enumerate() {
            if x != y && !x.is(1) && !y.is(1) {
                let back = la.len() - axis + 2;
                self.sizes_differ(&[a, b], &spans, [(0, x.clone()), (1, y.clone())], back);
                return None;
            }
            shape.push(if x.is(1) { y.clone() } else { x.clone() });
        }
        let full = |ty: &Type| shape.iter().chain(&ty.shape[ty.rank() - 2..]).cloned().collect::<Vec<_>>();
        let (fa, fb) = (full(&ta), full(&tb));
        Some((self.broadcast_to(a, &fa, span)?, self.broadcast_to(b, &fb, span)?))
    }
}
