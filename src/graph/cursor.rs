//! One printed line, taken apart from left to right.

use std::str::FromStr;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::ops::AttrKind;

use super::{Attr, DType, Size, Type};

pub(super) struct Cursor<'a> {
    rest: &'a str,
}

type Said<T> = Result<T, String>;

impl<'a> Cursor<'a> {
    pub fn new(line: &'a str) -> Cursor<'a> {
        Cursor { rest: line.trim() }
    }

    pub fn done(&self) -> bool {
        self.rest.is_empty()
    }

    pub fn at(&self, token: &str) -> bool {
        self.rest.starts_with(token)
    }

    fn advance(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest.trim_start();
        taken
    }

    pub fn eat(&mut self, token: &str) -> bool {
        let found = self.at(token);
        if found {
            self.advance(token.len());
        }
        found
    }

    pub fn expect(&mut self, token: &str) -> Said<()> {
        if self.eat(token) { Ok(()) } else { Err(format!("`{token}` is missing before `{}`", self.rest)) }
    }

    pub fn end(&self) -> Said<()> {
        if self.done() { Ok(()) } else { Err(format!("`{}` is too much", self.rest)) }
    }

    pub fn keyword(&mut self, word: &str) -> Said<()> {
        let found = self.word()?;
        if found == word { Ok(()) } else { Err(format!("`{word}` is missing before `{found}`")) }
    }

    /// Bytes of the plain word that the line begins with.
    fn plain(&self) -> usize {
        let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
        let starts = self.rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if !starts {
            return 0;
        }
        self.rest.find(|c| !plain(c)).unwrap_or(self.rest.len())
    }

    /// A name, plain or in quotes.
    pub fn word(&mut self) -> Said<String> {
        if self.at("\"") {
            return self.text();
        }
        match self.plain() {
            0 => Err(format!("a name is missing before `{}`", self.rest)),
            length => Ok(self.advance(length).to_string()),
        }
    }

    fn text(&mut self) -> Said<String> {
        let mut escaped = false;
        let end = self.rest.char_indices().skip(1).find(|(_, c)| {
            let closes = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            closes
        });
        let (end, _) = end.ok_or("a quote is not closed")?;
        let quoted = self.advance(end + 1);
        serde_json::from_str(quoted).map_err(|_| format!("{quoted} is no text"))
    }

    /// Whether `name=` comes next.
    pub fn at_attr(&self) -> bool {
        let length = self.plain();
        length > 0 && self.rest[length..].starts_with('=')
    }

    /// Everything up to a space.
    pub fn chunk(&mut self) -> Said<&'a str> {
        match self.rest.find(' ').unwrap_or(self.rest.len()) {
            0 => Err("a value is missing".into()),
            length => Ok(self.advance(length)),
        }
    }

    /// A number written with digits and a sign.
    pub fn number<T: FromStr>(&mut self) -> Said<T> {
        let digits = |c: char| c.is_ascii_digit() || c == '-';
        let length = self.rest.find(|c| !digits(c)).unwrap_or(self.rest.len());
        let number = self.rest[..length].parse().map_err(|_| format!("a number is missing before `{}`", self.rest))?;
        self.advance(length);
        Ok(number)
    }

    /// What stands between an opening bracket and the closing one that belongs to it.
    fn bracketed(&mut self, open: char, close: char) -> Said<&'a str> {
        let mut depth = 0;
        for (at, c) in self.rest.char_indices() {
            if c == open {
                depth += 1;
            } else if c == close {
                depth -= 1;
            }
            if depth == 0 {
                let all = self.advance(at + c.len_utf8());
                return match all.strip_prefix(open).and_then(|inner| inner.strip_suffix(close)) {
                    Some(inner) => Ok(inner),
                    None => Err(format!("`{open}` is missing before `{all}`")),
                };
            }
        }
        Err(format!("`{close}` is missing"))
    }

    /// `[a, b]`: its items. None if no list comes next.
    pub fn list(&mut self) -> Option<Said<Vec<&'a str>>> {
        if !self.at("[") {
            return None;
        }
        let items = |inner: &'a str| match inner.trim().is_empty() {
            true => Vec::new(),
            false => inner.split(',').map(str::trim).collect(),
        };
        Some(self.bracketed('[', ']').map(items))
    }

    fn items<T>(&mut self, each: impl Fn(&str) -> Option<T>) -> Said<Vec<T>> {
        let items = self.list().ok_or_else(|| format!("a list is missing before `{}`", self.rest))??;
        items
            .into_iter()
            .map(|item| each(item).ok_or_else(|| format!("`{item}` does not belong into this list")))
            .collect()
    }

    /// `f32[B, 128]`.
    pub fn ty(&mut self) -> Said<Type> {
        let name = self.word()?;
        let dtype = DType::from_name(&name).ok_or_else(|| format!("there is no element type `{name}`"))?;
        Ok(Type::new(dtype, self.items(Size::parse)?))
    }

    /// One type, or several in brackets.
    pub fn types(&mut self) -> Said<SmallVec<[Type; 1]>> {
        if !self.eat("(") {
            return Ok([self.ty()?].into_iter().collect());
        }
        let mut types = SmallVec::new();
        while !self.eat(")") {
            if !types.is_empty() {
                self.expect(",")?;
            }
            types.push(self.ty()?);
        }
        Ok(types)
    }

    pub fn attr(&mut self, kind: AttrKind) -> Said<Attr> {
        fn parsed<T: FromStr>(text: &str) -> Said<T> {
            text.parse().map_err(|_| format!("`{text}` is no value here"))
        }
        Ok(match kind {
            AttrKind::Int => Attr::Int(parsed(self.chunk()?)?),
            AttrKind::Float => Attr::Float(parsed(self.chunk()?)?),
            AttrKind::Bool => Attr::Bool(parsed(self.chunk()?)?),
            AttrKind::Text => Attr::Text(Arc::from(self.text()?)),
            AttrKind::Ints => Attr::Ints(self.items(|item| item.parse().ok())?),
            AttrKind::Floats => Attr::Floats(self.items(|item| item.parse().ok())?),
            AttrKind::Size => {
                let text = if self.at("(") { self.bracketed('(', ')')? } else { self.chunk()? };
                Attr::Size(Size::parse(text).ok_or_else(|| format!("`{text}` is no size"))?)
            }
            AttrKind::Sizes => Attr::Sizes(self.items(Size::parse)?),
            AttrKind::DType => {
                let name = self.chunk()?;
                Attr::DType(DType::from_name(name).ok_or_else(|| format!("there is no element type `{name}`"))?)
            }
        })
    }
}
