//! The formatter proves three things on every file: twice equals once, the tree is unchanged, no comment is lost.

use std::path::{Path, PathBuf};

use super::format;
use crate::source::{SourceId, library_files};
use crate::syntax::{File, parse};

/// The tree without its places.
fn shape(file: &File) -> String {
    let debug = format!("{:?}", file.statements);
    let mut shape = String::with_capacity(debug.len());
    let mut rest = debug.as_str();
    while let Some(at) = rest.find("0:") {
        shape += &rest[..at];
        rest = &rest[at..];
        let length = span_length(rest);
        shape += if length > 0 { "_" } else { &rest[..2] };
        rest = &rest[length.max(2)..];
    }
    shape + rest
}

/// The length of `0:12..34` at the start of a text, or 0.
fn span_length(text: &str) -> usize {
    let digits = |from: usize| text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let start = digits(2);
    if start == 0 || !text[2 + start..].starts_with("..") {
        return 0;
    }
    let end = digits(4 + start);
    if end == 0 { 0 } else { 4 + start + end }
}

fn comments(file: &File) -> Vec<String> {
    file.comments.iter().map(|comment| comment.text.trim_end().to_string()).collect()
}

fn holds(name: &str, text: &str) {
    let (tree, faults) = parse(SourceId(0), text);
    assert!(faults.is_empty(), "{name}: {faults:?}");
    let once = format(&tree, text);
    let (again, faults) = parse(SourceId(0), &once);
    assert!(faults.is_empty(), "{name}: {faults:?}\n{once}");
    assert_eq!(shape(&tree), shape(&again), "{name}: the tree is another\n{once}");
    assert_eq!(comments(&tree), comments(&again), "{name}: comments\n{once}");
    assert_eq!(once, format(&again, &once), "{name}: twice is not once");
}

fn files_below(folder: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "ssl") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found);
    found.sort();
    found
}

#[test]
fn every_construct_keeps_its_tree_and_its_comments() {
    let files = files_below("tests/spec/syntax");
    assert!(files.len() >= 4, "the inputs are missing");
    for path in files {
        let text = std::fs::read_to_string(&path).expect("the input is readable");
        holds(&path.to_string_lossy(), &text);
    }
}

#[test]
fn a_comment_may_stand_at_any_line() {
    for path in files_below("tests/spec/syntax") {
        let text = std::fs::read_to_string(&path).expect("the input is readable");
        let behind = text.lines().enumerate().map(|(at, line)| match line.contains('#') || line.trim().is_empty() {
            true => format!("{line}\n"),
            false => format!("{line} # c{at};\n"),
        });
        let above = text.lines().enumerate().map(|(at, line)| match line.trim_start().starts_with("##") {
            true => format!("{line}\n"),
            false => format!("  # c{at};\n{line}\n"),
        });
        for commented in [behind.collect::<String>(), above.collect()] {
            let (tree, faults) = parse(SourceId(0), &commented);
            assert!(faults.is_empty(), "{faults:?}\n{commented}");
            let once = format(&tree, &commented);
            let (again, faults) = parse(SourceId(0), &once);
            assert!(faults.is_empty(), "{faults:?}\n{once}");
            assert_eq!(shape(&tree), shape(&again), "the tree is another\n{once}");
            assert_eq!(once, format(&again, &once), "twice is not once");
            for comment in comments(&tree) {
                assert!(once.contains(&comment), "{comment} is lost\n{once}");
            }
        }
    }
}

#[test]
fn the_library_keeps_its_trees() {
    for (name, text) in library_files() {
        holds(&name, text);
    }
}

#[test]
fn the_pipelines_keep_their_trees() {
    for path in files_below("pipelines") {
        let text = std::fs::read_to_string(&path).expect("the pipeline is readable");
        holds(&path.to_string_lossy(), &text);
    }
}

fn formatted(text: &str) -> String {
    let (tree, faults) = parse(SourceId(0), text);
    assert!(faults.is_empty(), "{faults:?}");
    format(&tree, text)
}

#[test]
fn one_empty_line_is_kept_and_no_more() {
    insta::assert_snapshot!(formatted("\n\nlet a = 1\n\n\n\nlet b = 2\nlet c = 3\n\n"), @r#"
    let a = 1

    let b = 2
    let c = 3
    "#);
}

#[test]
fn what_fits_stands_on_one_line() {
    insta::assert_snapshot!(formatted("let a=f( x,\n y )\nlet b = {c:1,d}\nfn g(x){x}\n"), @r#"
    let a = f(x, y)
    let b = { c: 1, d }
    fn g(x) { x }
    "#);
}

#[test]
fn what_does_not_fit_is_broken_at_its_outermost_brackets() {
    insta::assert_snapshot!(formatted(
        "let result = some_function(first_argument_value, second: another_function(of, several), third: 3, fourth: \"a longer text\")\n"
    ), @r#"
    let result = some_function(
      first_argument_value,
      second: another_function(of, several),
      third: 3,
      fourth: "a longer text",
    )
    "#);
}

#[test]
fn a_step_reads_like_the_manual() {
    insta::assert_snapshot!(formatted(
        "train fits(epochs:100) for {image} in photos.train.batches(256) {\nlet a=strong(image)   # a new draw\nminimize some_difference(p[0], t[0]) + some_difference(p[1], t[1]) over student, predictor using lars(lr: 0.2, weight_decay: 1.5e-6)\nteacher<-ema(teacher,student)\n}\n"
    ), @r#"
    train fits(epochs: 100) for { image } in photos.train.batches(256) {
      let a = strong(image)  # a new draw
      minimize some_difference(p[0], t[0]) + some_difference(p[1], t[1])
        over student, predictor
        using lars(lr: 0.2, weight_decay: 1.5e-6)
      teacher <- ema(teacher, student)
    }
    "#);
}

#[test]
fn comments_stay_with_their_neighbours() {
    insta::assert_snapshot!(formatted(
        "let list = [\n  1, # one\n  # two\n  2,\n]\nlet sum = a # first\n  + b # second\nif a { b } # then\nelse { c }\n"
    ), @r#"
    let list = [
      1,  # one
      # two
      2,
    ]
    let sum = a  # first
      + b  # second
    if a {
      b
    }  # then
    else {
      c
    }
    "#);
}

#[test]
fn a_function_at_the_end_stays_on_the_line_of_the_call() {
    insta::assert_snapshot!(formatted("let s = scan(zeros([b, 64]), steps, |h, x| {\nlet y = f(h, x)\n{carry: y, out: y}\n}).out\n"), @r#"
    let s = scan(zeros([b, 64]), steps, |h, x| {
      let y = f(h, x)
      { carry: y, out: y }
    }).out
    "#);
}
