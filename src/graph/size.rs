//! Sizes: integer polynomials over named symbols, in normal form, so that equality is structural (`2*B` meets `B + B`).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

/// One size of a shape.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size(Form);

/// Nearly all sizes are numbers, and every node of a graph holds copies of some: a copy costs no allocation.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Form {
    Known(i64),
    /// With a symbol in it.
    Open(Arc<Terms>),
}

/// Product of atoms (with repetition, sorted) to its non-zero coefficient; the empty product is the constant.
type Terms = BTreeMap<Vec<Atom>, i64>;

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Atom {
    Symbol(Arc<str>),
    /// A division that normal form cannot carry out.
    FloorDiv(Box<Size>, Box<Size>),
}

/// The number behind each symbol.
pub type Bindings = HashMap<Arc<str>, i64>;

/// A size does not fit into 63 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

impl Size {
    pub fn known(n: i64) -> Size {
        Size(Form::Known(n))
    }

    pub fn symbol(name: impl Into<Arc<str>>) -> Size {
        Size::of(Terms::from([(vec![Atom::Symbol(name.into())], 1)]))
    }

    /// In the one form that such terms have.
    fn of(terms: Terms) -> Size {
        let known = match terms.len() {
            0 => Some(0),
            1 => terms.get(&Vec::new()).copied(),
            _ => None,
        };
        Size(known.map_or_else(|| Form::Open(Arc::new(terms)), Form::Known))
    }

    fn terms(&self) -> Cow<'_, Terms> {
        match &self.0 {
            Form::Known(0) => Cow::Owned(Terms::new()),
            Form::Known(n) => Cow::Owned(Terms::from([(Vec::new(), *n)])),
            Form::Open(terms) => Cow::Borrowed(terms),
        }
    }

    /// The number, if no symbol is in it.
    pub fn as_known(&self) -> Option<i64> {
        match self.0 {
            Form::Known(n) => Some(n),
            Form::Open(_) => None,
        }
    }

    pub fn is(&self, n: i64) -> bool {
        self.as_known() == Some(n)
    }

    pub fn add(&self, other: &Size) -> Result<Size, Overflow> {
        if let (Form::Known(a), Form::Known(b)) = (&self.0, &other.0) {
            return a.checked_add(*b).map(Size::known).ok_or(Overflow);
        }
        let mut terms = self.terms().into_owned();
        for (product, factor) in other.terms().iter() {
            let sum = terms.get(product).copied().unwrap_or(0).checked_add(*factor).ok_or(Overflow)?;
            if sum == 0 {
                terms.remove(product);
            } else {
                terms.insert(product.clone(), sum);
            }
        }
        Ok(Size::of(terms))
    }

    pub fn sub(&self, other: &Size) -> Result<Size, Overflow> {
        self.add(&other.mul(&Size::known(-1))?)
    }

    pub fn mul(&self, other: &Size) -> Result<Size, Overflow> {
        if let (Form::Known(a), Form::Known(b)) = (&self.0, &other.0) {
            return a.checked_mul(*b).map(Size::known).ok_or(Overflow);
        }
        let mut sum = Size::known(0);
        for (left, a) in self.terms().iter() {
            for (right, b) in other.terms().iter() {
                let mut product = [left.as_slice(), right.as_slice()].concat();
                product.sort();
                let term = Size::of(Terms::from([(product, a.checked_mul(*b).ok_or(Overflow)?)]));
                sum = sum.add(&term)?;
            }
        }
        Ok(sum)
    }

    /// The quotient, if the division is exact for every value of the symbols.
    pub fn div_exact(&self, divisor: &Size) -> Option<Size> {
        if let Some(d) = divisor.as_known() {
            if d == 0 || self.terms().values().any(|factor| factor % d != 0) {
                return None;
            }
            return Some(Size::of(self.terms().iter().map(|(product, n)| (product.clone(), n / d)).collect()));
        }
        // A single product divides term by term.
        let divisor = divisor.terms();
        let (by, factor) = divisor.iter().next().filter(|_| divisor.len() == 1)?;
        let mut terms = Terms::new();
        for (product, n) in self.terms().iter() {
            let mut rest = product.clone();
            for atom in by {
                rest.remove(rest.iter().position(|have| have == atom)?);
            }
            if n % factor != 0 {
                return None;
            }
            terms.insert(rest, n / factor);
        }
        Some(Size::of(terms))
    }

    /// The quotient rounded down; an opaque atom where normal form cannot carry it out. None for a zero divisor.
    pub fn div_floor(&self, divisor: &Size) -> Option<Size> {
        if let Some(exact) = self.div_exact(divisor) {
            return Some(exact);
        }
        match (self.as_known(), divisor.as_known()) {
            (_, Some(0)) => None,
            (Some(a), Some(b)) => Some(Size::known(a.div_euclid(b))),
            _ => {
                let atom = Atom::FloorDiv(Box::new(self.clone()), Box::new(divisor.clone()));
                Some(Size::of(Terms::from([(vec![atom], 1)])))
            }
        }
    }

    /// The number under `bindings`; none when a symbol is unbound or the number does not fit.
    pub fn bind(&self, bindings: &Bindings) -> Option<i64> {
        let Form::Open(terms) = &self.0 else { return self.as_known() };
        let mut sum = 0i64;
        for (product, factor) in terms.iter() {
            let mut term = *factor;
            for atom in product {
                let value = match atom {
                    Atom::Symbol(name) => *bindings.get(name)?,
                    Atom::FloorDiv(a, b) => {
                        let b = b.bind(bindings)?;
                        (b != 0).then_some(a.bind(bindings)?.div_euclid(b))?
                    }
                };
                term = term.checked_mul(value)?;
            }
            sum = sum.checked_add(term)?;
        }
        Some(sum)
    }

    /// The same polynomial with some symbols replaced.
    pub fn substitute(&self, of: &dyn Fn(&str) -> Option<Size>) -> Result<Size, Overflow> {
        let Form::Open(terms) = &self.0 else { return Ok(self.clone()) };
        let mut sum = Size::known(0);
        for (product, factor) in terms.iter() {
            let mut term = Size::known(*factor);
            for atom in product {
                let value = match atom {
                    Atom::Symbol(name) => of(name).unwrap_or_else(|| Size::symbol(name.clone())),
                    Atom::FloorDiv(a, b) => a.substitute(of)?.div_floor(&b.substitute(of)?).ok_or(Overflow)?,
                };
                term = term.mul(&value)?;
            }
            sum = sum.add(&term)?;
        }
        Ok(sum)
    }

    /// Every symbol in it, sorted, without repetition.
    pub fn symbols(&self) -> Vec<Arc<str>> {
        let Form::Open(terms) = &self.0 else { return Vec::new() };
        let mut found = Vec::new();
        for atom in terms.keys().flatten() {
            match atom {
                Atom::Symbol(name) => found.push(name.clone()),
                Atom::FloorDiv(a, b) => found.extend([a.symbols(), b.symbols()].concat()),
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Size> {
        let mut parser = SizeParser { rest: text.trim() };
        let size = parser.sum()?;
        parser.rest.trim().is_empty().then_some(size)
    }
}

impl From<i64> for Size {
    fn from(n: i64) -> Size {
        Size::known(n)
    }
}

/// `B`, `2*B + 1`, `floor(B / 2)`: products by descending degree, the constant last.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Form::Open(terms) = &self.0 else { return write!(f, "{}", self.as_known().unwrap_or(0)) };
        let mut terms: Vec<_> = terms.iter().collect();
        terms.sort_by_key(|(product, _)| std::cmp::Reverse(product.len()));
        for (at, (product, factor)) in terms.into_iter().enumerate() {
            match (at > 0, *factor < 0) {
                (true, false) => f.write_str(" + ")?,
                (true, true) => f.write_str(" - ")?,
                (false, true) => f.write_str("-")?,
                (false, false) => {}
            }
            let size = factor.unsigned_abs();
            if product.is_empty() || size != 1 {
                write!(f, "{size}")?;
                if !product.is_empty() {
                    f.write_str("*")?;
                }
            }
            for (at, atom) in product.iter().enumerate() {
                if at > 0 {
                    f.write_str("*")?;
                }
                match atom {
                    Atom::Symbol(name) => f.write_str(name)?,
                    Atom::FloorDiv(a, b) => write!(f, "floor({a} / {b})")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

struct SizeParser<'a> {
    rest: &'a str,
}

impl SizeParser<'_> {
    fn take(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.starts_with(token);
        if found {
            self.rest = &rest[token.len()..];
        }
        found
    }

    fn sum(&mut self) -> Option<Size> {
        let minus = self.take("-");
        let mut sum = self.product()?;
        if minus {
            sum = Size::known(0).sub(&sum).ok()?;
        }
        loop {
            if self.take("+") {
                sum = sum.add(&self.product()?).ok()?;
            } else if self.take("-") {
                sum = sum.sub(&self.product()?).ok()?;
            } else {
                return Some(sum);
            }
        }
    }

    fn product(&mut self) -> Option<Size> {
        let mut product = self.atom()?;
        while self.take("*") {
            product = product.mul(&self.atom()?).ok()?;
        }
        Some(product)
    }

    fn atom(&mut self) -> Option<Size> {
        if self.take("floor(") {
            let a = self.sum()?;
            let b = self.take("/").then(|| self.sum())??;
            return self.take(")").then(|| a.div_floor(&b))?;
        }
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        match word.chars().next()? {
            c if c.is_ascii_digit() => word.parse().ok().map(Size::known),
            _ => Some(Size::symbol(word)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn b() -> Size {
        Size::symbol("B")
    }

    #[test]
    fn equal_polynomials_are_equal() {
        assert_eq!(b().add(&b()).unwrap(), b().mul(&Size::known(2)).unwrap());
        assert_eq!(b().sub(&b()).unwrap(), Size::known(0));
    }

    #[test]
    fn division_is_exact_or_opaque() {
        let double = b().mul(&Size::known(2)).unwrap();
        assert_eq!(double.div_exact(&Size::known(2)), Some(b()));
        assert_eq!(double.div_exact(&b()), Some(Size::known(2)));
        assert_eq!(b().div_exact(&Size::known(2)), None);
        let half = b().div_floor(&Size::known(2)).unwrap();
        assert_eq!(half.bind(&Bindings::from([("B".into(), 7)])), Some(3));
        assert_eq!(b().div_floor(&Size::known(0)), None);
    }

    #[test]
    fn text_is_read_back() {
        let size = b().mul(&b()).unwrap().add(&Size::symbol("n").mul(&Size::known(-3)).unwrap()).unwrap();
        let size = size.add(&b().div_floor(&Size::known(2)).unwrap()).unwrap().sub(&Size::known(4)).unwrap();
        assert_eq!(Size::parse(&size.to_string()), Some(size));
        assert_eq!(Size::parse("2*"), None);
    }

    #[test]
    fn too_large_is_an_overflow() {
        assert_eq!(Size::known(i64::MAX).mul(&Size::known(2)), Err(Overflow));
    }
}
