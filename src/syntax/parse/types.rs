//! Types and sizes.

use pest::iterators::Pair;

use super::{Builder, Parts, Rule};
use crate::syntax::tree::*;

impl Builder<'_> {
    pub(super) fn type_expr(&self, pair: Pair<'_, Rule>) -> TypeExpr {
        let span = self.span(&pair);
        let kind = self.type_kind(pair).unwrap_or(TypeKind::Record(Vec::new()));
        TypeExpr { kind, span }
    }

    fn type_kind(&self, pair: Pair<'_, Rule>) -> Option<TypeKind> {
        let rule = pair.as_rule();
        if rule == Rule::sizes {
            return Some(TypeKind::Tensor { element: None, limit: None, sizes: self.sizes(pair) });
        }
        let mut parts = Parts::of(pair);
        match rule {
            Rule::type_expr => {
                let from = self.type_expr(parts.next()?);
                match parts.next() {
                    Some(to) => Some(TypeKind::Arrow(Box::new(from), Box::new(self.type_expr(to)))),
                    None => Some(from.kind),
                }
            }
            Rule::words => {
                Some(TypeKind::Words(parts.take_all(Rule::text).into_iter().map(|word| self.text(word)).collect()))
            }
            Rule::record_type => self.record_type(parts),
            Rule::named_type => self.named_type(parts),
            _ => self.type_kind(parts.next()?),
        }
    }

    fn record_type(&self, mut parts: Parts<'_>) -> Option<TypeKind> {
        let mut base = None;
        let mut fields = Vec::new();
        while let Some(part) = parts.next() {
            match part.as_rule() {
                Rule::spread => base = Parts::of(part).next().map(|p| self.expr(p)),
                Rule::type_field => {
                    let mut field = Parts::of(part);
                    fields.push((self.name(&field.next()?), self.type_expr(field.next()?)));
                }
                _ => {}
            }
        }
        Some(match base {
            Some(base) => TypeKind::Extended { base: Box::new(base), fields },
            None => TypeKind::Record(fields),
        })
    }

    fn named_type(&self, mut parts: Parts<'_>) -> Option<TypeKind> {
        let name = self.name(&parts.next()?);
        let limit = parts.take(Rule::limit).and_then(|p| Parts::of(p).next()).map(|p| Box::new(self.expr(p)));
        let sizes = parts.take(Rule::sizes).map(|p| self.sizes(p));
        Some(match (limit, sizes) {
            (limit, Some(sizes)) => TypeKind::Tensor { element: Some(name), limit, sizes },
            (Some(limit), None) => TypeKind::Bounded { element: name, limit },
            (None, None) => TypeKind::Name(name.text),
        })
    }

    fn sizes(&self, pair: Pair<'_, Rule>) -> Vec<SizeExpr> {
        let mut parts = Parts::of(pair);
        let sizes = std::iter::from_fn(|| parts.next()).filter_map(|size| match size.as_rule() {
            Rule::size_rest => Parts::of(size).next().map(|name| SizeExpr::Rest(self.name(&name))),
            _ => Some(SizeExpr::Size(self.expr(size))),
        });
        sizes.collect()
    }
}
