//! Numbers and tables as text.

/// Four significant digits, without an exponent where a reader would not write one.
pub fn quantity(number: f64) -> String {
    if number == 0.0 || !number.is_finite() {
        return number.to_string();
    }
    let size = number.abs();
    if number.fract() == 0.0 && size < 1e9 {
        return format!("{number:.0}");
    }
    if !(1e-4..1e7).contains(&size) {
        return format!("{number:.3e}");
    }
    let digits = (3 - size.log10().floor() as i32).max(0) as usize;
    format!("{number:.digits$}")
}

/// `1_234_567`, in the notation of the language.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('_');
        }
        text.push(digit);
    }
    text
}

/// `12.3 s`, `4 min 05 s`, `2 h 03 min`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "?".into();
    }
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 if seconds < 10.0 => format!("{seconds:.1} s"),
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `1.2 GB`.
pub fn size(bytes: u64) -> String {
    let mut number = bytes as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB"] {
        if number < 1000.0 {
            break;
        }
        number /= 1000.0;
        unit = next;
    }
    if unit == "B" { format!("{bytes} B") } else { format!("{} {unit}", quantity_short(number)) }
}

fn quantity_short(number: f64) -> String {
    if number < 10.0 { format!("{number:.1}") } else { format!("{number:.0}") }
}

/// Rows of cells under their heads: the first column to the left, the others to the right.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).chain([head.len()]).max().unwrap_or(0);
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let head: Vec<String> = head.iter().map(|name| (*name).to_owned()).collect();
    let lines: Vec<&[String]> = if head.is_empty() { Vec::new() } else { vec![head.as_slice()] }
        .into_iter()
        .chain(rows.iter().map(Vec::as_slice))
        .collect();
    let widths: Vec<usize> =
        (0..columns).map(|at| lines.iter().map(|row| cell(row, at).chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in lines {
        let cells = (0..columns).map(|at| {
            let (cell, width) = (cell(row, at), widths[at]);
            if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        text += format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_readable() {
        let texts = [0.0, 3.0, 0.93456, 12.3456, 1234.56, 0.00001234, 1e12, f64::NAN].map(quantity);
        assert_eq!(texts, ["0", "3", "0.9346", "12.35", "1235", "1.234e-5", "1.000e12", "NaN"]);
        assert_eq!([1, 1234, 1234567].map(count), ["1", "1_234", "1_234_567"]);
        assert_eq!([1.25, 59.0, 245.0, 7380.0].map(duration), ["1.2 s", "59 s", "4 min 05 s", "2 h 03 min"]);
        assert_eq!([12, 1_500, 2_000_000_000].map(size), ["12 B", "1.5 kB", "2.0 GB"]);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = vec![vec!["matmul".into(), "12".into()], vec!["add".into(), "7".into()]];
        assert_eq!(table(&["op", "calls"], &rows), "  op      calls\n  matmul     12\n  add         7\n");
    }
}
