//! A layout document: text with places where a line may break, after Wadler's "A prettier printer".
//!
//! A group is written on one line if it fits, else each of its own lines breaks; groups inside it decide for themselves.

/// A piece of layout.
#[derive(Clone, Debug)]
pub struct Doc {
    kind: Kind,
    /// A line of this piece, outside its groups, must break.
    forced: bool,
    /// A line anywhere inside must break.
    deep: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Text(String),
    /// A newline, or this text where the group is on one line.
    Line(&'static str),
    /// An empty line, between two newlines.
    Blank,
    /// The first where the group is broken, the second on one line.
    Either(&'static str, &'static str),
    /// Text that waits for the end of the line: a comment behind code.
    Suffix(String),
    Nest(usize, Box<Doc>),
    Group(Box<Doc>),
    All(Vec<Doc>),
    /// Items with the separators between them; a separator breaks only where the next item does not fit.
    Fill(Vec<(Doc, Doc)>),
}

impl Doc {
    fn plain(kind: Kind) -> Doc {
        Doc { kind, forced: false, deep: false }
    }

    pub fn nothing() -> Doc {
        Doc::plain(Kind::All(Vec::new()))
    }

    pub fn text(text: impl Into<String>) -> Doc {
        Doc::plain(Kind::Text(text.into()))
    }

    /// A blank, or a newline.
    pub fn line() -> Doc {
        Doc::plain(Kind::Line(" "))
    }

    /// Nothing, or a newline.
    pub fn soft() -> Doc {
        Doc::plain(Kind::Line(""))
    }

    /// Two blanks, or a newline: between the statements of a block on one line.
    pub fn wide() -> Doc {
        Doc::plain(Kind::Line("  "))
    }

    /// A newline.
    pub fn hard() -> Doc {
        Doc { kind: Kind::Line(""), forced: true, deep: true }
    }

    pub fn blank() -> Doc {
        Doc { kind: Kind::Blank, forced: true, deep: true }
    }

    pub fn either(broken: &'static str, flat: &'static str) -> Doc {
        Doc::plain(Kind::Either(broken, flat))
    }

    /// A comment at the end of the line; the line has to end behind it.
    pub fn suffix(text: impl Into<String>) -> Doc {
        Doc { kind: Kind::Suffix(text.into()), forced: true, deep: true }
    }

    pub fn all(docs: impl IntoIterator<Item = Doc>) -> Doc {
        let docs: Vec<Doc> = docs.into_iter().collect();
        let (forced, deep) = (docs.iter().any(|doc| doc.forced), docs.iter().any(|doc| doc.deep));
        Doc { kind: Kind::All(docs), forced, deep }
    }

    pub fn fill(items: Vec<(Doc, Doc)>) -> Doc {
        let deep = items.iter().any(|(separator, item)| separator.deep || item.deep);
        Doc { kind: Kind::Fill(items), forced: deep, deep }
    }

    /// Newlines inside go `by` further to the right.
    pub fn nest(self, by: usize) -> Doc {
        let (forced, deep) = (self.forced, self.deep);
        Doc { kind: Kind::Nest(by, Box::new(self)), forced, deep }
    }

    /// Decides its lines together. What must break inside breaks it, and nothing around it.
    pub fn group(self) -> Doc {
        let deep = self.deep;
        Doc { kind: Kind::Group(Box::new(self)), forced: false, deep }
    }

    /// Breaks the group around if anything inside must break.
    pub fn rigid(self) -> Doc {
        let deep = self.deep;
        Doc { forced: deep, ..self }
    }

    /// A group whose own lines break whether it fits or not.
    pub fn break_open(self) -> Doc {
        match self.kind {
            Kind::Group(inner) => Doc { kind: Kind::Group(Box::new(inner.broken())), forced: false, deep: true },
            kind => Doc { kind, ..self },
        }
    }

    /// Breaks the group around.
    pub fn broken(self) -> Doc {
        Doc { forced: true, deep: true, ..self }
    }

    pub fn must_break(&self) -> bool {
        self.deep
    }

    /// The text of the document, its lines at most `width` wide where that is possible.
    pub fn print(&self, width: usize) -> String {
        let mut printer = Printer { width, out: String::new(), column: 0, indent: None, suffix: String::new() };
        printer.run(self);
        printer.end_line();
        printer.out
    }
}

/// One document to be written: at this indentation, broken or not.
type Command<'a> = (usize, bool, &'a Doc);

struct Printer {
    width: usize,
    out: String,
    column: usize,
    /// The indentation of the line that begins, until its first text.
    indent: Option<usize>,
    suffix: String,
}

impl Printer {
    fn run(&mut self, doc: &Doc) {
        let mut work: Vec<Command> = vec![(0, true, doc)];
        while let Some((indent, broken, doc)) = work.pop() {
            match &doc.kind {
                Kind::Text(text) => self.text(text),
                Kind::Line(flat) if !broken => self.text(flat),
                Kind::Line(_) => self.newline(indent),
                Kind::Blank => {
                    self.end_line();
                    self.out.push('\n');
                    self.column = 0;
                    self.indent = Some(indent);
                }
                Kind::Either(yes, no) => self.text(if broken { yes } else { no }),
                Kind::Suffix(text) => self.suffix += text,
                Kind::Nest(by, inner) => work.push((indent + by, broken, inner)),
                Kind::All(docs) => work.extend(docs.iter().rev().map(|doc| (indent, broken, doc))),
                Kind::Group(inner) => {
                    let breaks = inner.forced || !self.fits(inner, &work);
                    work.push((indent, breaks, inner));
                }
                Kind::Fill(items) => self.fill(items, indent, &work),
            }
        }
    }

    /// Each item on the line of the one before if it fits there.
    fn fill(&mut self, items: &[(Doc, Doc)], indent: usize, rest: &[Command]) {
        for (at, (separator, item)) in items.iter().enumerate() {
            let last = at + 1 == items.len();
            let both = Doc::all([separator.clone(), item.clone()]);
            let fits = !separator.forced && self.fits(&both, if last { rest } else { &[] });
            let mut inner: Vec<Command> = vec![(indent, !fits && at > 0, separator)];
            while let Some((indent, broken, doc)) = inner.pop() {
                match &doc.kind {
                    Kind::All(docs) => inner.extend(docs.iter().rev().map(|doc| (indent, broken, doc))),
                    Kind::Text(text) => self.text(text),
                    Kind::Line(_) if broken => self.newline(indent),
                    Kind::Line(flat) => self.text(flat),
                    Kind::Suffix(text) => self.suffix += text,
                    _ => {}
                }
            }
            let mut nested =
                Printer { out: std::mem::take(&mut self.out), suffix: std::mem::take(&mut self.suffix), ..*self };
            nested.run_at(indent, &item.clone().group());
            *self = nested;
        }
    }

    fn run_at(&mut self, indent: usize, doc: &Doc) {
        let nested = doc.clone().nest(indent);
        self.run(&nested);
    }

    fn text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if let Some(indent) = self.indent.take() {
            self.out.extend(std::iter::repeat_n(' ', indent));
            self.column = indent;
        }
        self.out += text;
        self.column += text.chars().count();
    }

    fn end_line(&mut self) {
        if !self.suffix.is_empty() {
            let suffix = std::mem::take(&mut self.suffix);
            self.text(if self.indent.is_some() { suffix.trim_start() } else { &suffix });
        }
        let kept = self.out.trim_end_matches(' ').len();
        self.out.truncate(kept);
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    fn newline(&mut self, indent: usize) {
        self.end_line();
        self.column = 0;
        self.indent = Some(indent);
    }

    /// Whether `doc` fits on the rest of this line, with what follows it up to the next possible newline.
    fn fits(&self, doc: &Doc, rest: &[Command]) -> bool {
        let used = self.indent.unwrap_or(self.column);
        let mut left = self.width.saturating_sub(used) as isize;
        let mut rest = rest.iter().rev();
        let mut work: Vec<(bool, &Doc)> = vec![(false, doc)];
        loop {
            let Some((broken, doc)) = work.pop() else {
                match rest.next() {
                    Some((_, broken, doc)) => {
                        work.push((*broken, doc));
                        continue;
                    }
                    None => return true,
                }
            };
            match &doc.kind {
                Kind::Text(text) => left -= text.chars().count() as isize,
                Kind::Line(_) | Kind::Blank if broken || doc.forced => return true,
                Kind::Line(flat) => left -= flat.len() as isize,
                Kind::Blank | Kind::Suffix(_) => {}
                Kind::Either(yes, no) => left -= if broken { yes.len() } else { no.len() } as isize,
                Kind::Nest(_, inner) => work.push((broken, inner)),
                Kind::Group(inner) => work.push((broken || inner.forced, inner)),
                Kind::All(docs) => work.extend(docs.iter().rev().map(|doc| (broken, doc))),
                Kind::Fill(items) => {
                    work.extend(items.iter().rev().flat_map(|(separator, item)| [(broken, item), (broken, separator)]));
                }
            }
            if left < 0 {
                return false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(width: usize) -> String {
        let arguments =
            Doc::all([Doc::soft(), Doc::text("first,"), Doc::line(), Doc::text("second"), Doc::either(",", "")]);
        Doc::all([Doc::text("f("), arguments.nest(2), Doc::soft(), Doc::text(")")]).group().print(width)
    }

    #[test]
    fn a_group_that_fits_stays_on_its_line() {
        assert_eq!(call(16), "f(first, second)\n");
    }

    #[test]
    fn a_group_that_does_not_fit_breaks_all_its_lines() {
        assert_eq!(call(15), "f(\n  first,\n  second,\n)\n");
    }

    #[test]
    fn a_comment_waits_for_the_end_of_the_line() {
        let doc =
            Doc::all([Doc::text("a"), Doc::suffix("  # why"), Doc::text(","), Doc::line(), Doc::text("b")]).group();
        assert_eq!(doc.print(80), "a,  # why\nb\n");
    }

    #[test]
    fn a_fill_breaks_only_where_it_must() {
        let item = |at: usize| {
            (if at == 0 { Doc::nothing() } else { Doc::all([Doc::text(","), Doc::line()]) }, Doc::text("100"))
        };
        let doc = Doc::all([Doc::text("["), Doc::fill((0..5).map(item).collect()).nest(1), Doc::text("]")]);
        assert_eq!(doc.print(15), "[100, 100, 100,\n 100, 100]\n");
    }

    #[test]
    fn an_inner_newline_does_not_break_the_outer_group() {
        let inner =
            Doc::all([Doc::text("{"), Doc::all([Doc::hard(), Doc::text("x")]).nest(2), Doc::hard(), Doc::text("}")]);
        let doc = Doc::all([Doc::text("a"), Doc::line(), Doc::text("b"), Doc::line(), inner.group()]).group();
        assert_eq!(doc.print(80), "a b {\n  x\n}\n");
    }
}
